"""The latency sketch: within 1/64, mergeable, and in agreement with HdrHistogram."""

from math import ceil

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st
from wherry_protocol.errors import DecodeError
from wherry_protocol.sketch import (
    BUCKETS,
    DURATION_NS_MAX,
    EMPTY,
    bucket_of,
    from_bytes,
    merge,
    since,
    sketch_of,
    upper_edge_ns,
)

DURATIONS = st.lists(st.integers(0, 10**10), max_size=60)


def test_every_bucket_s_upper_edge_falls_into_it_and_the_next_nanosecond_does_not() -> None:
    occupied = {bucket_of(d) for d in range(1, 5000)}
    for bucket in (*occupied, *range(700, BUCKETS)):
        edge = upper_edge_ns(bucket)
        assert bucket_of(edge) == bucket
        assert bucket_of(edge + 1) == bucket + 1 or edge == DURATION_NS_MAX or edge < 128


@given(st.integers(1, DURATION_NS_MAX))
def test_a_bucket_is_at_most_one_part_in_64_wide(duration: int) -> None:
    edge = upper_edge_ns(bucket_of(duration))
    assert duration <= edge <= duration + duration / 64


@given(DURATIONS, DURATIONS)
def test_merging_is_the_sketch_of_everything(first: list[int], second: list[int]) -> None:
    merged = merge([sketch_of(first), sketch_of(second)])
    assert merged == sketch_of(first + second)
    assert merged == merge([sketch_of(second), sketch_of(first), EMPTY])


@given(DURATIONS, DURATIONS)
def test_since_is_what_came_later(first: list[int], second: list[int]) -> None:
    grown = since(sketch_of(first + second), sketch_of(first))
    later = sketch_of(second)
    assert (grown.count, grown.sum_ns, grown.buckets) == (later.count, later.sum_ns, later.buckets)
    assert grown.max_ns >= min(later.max_ns, DURATION_NS_MAX)


@given(DURATIONS)
def test_a_sketch_survives_the_wire(durations: list[int]) -> None:
    sketch = sketch_of(durations)
    assert from_bytes(sketch.to_bytes()) == sketch


@given(st.lists(st.integers(1, DURATION_NS_MAX), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_is_within_one_part_in_64_of_the_true_one(
    durations: list[int], q: float
) -> None:
    true = sorted(durations)[ceil(len(durations) * q) - 1]
    found = sketch_of(durations).quantile_ns(q)
    assert found is not None
    assert true <= found <= true * (1 + 1 / 64)


@given(st.lists(st.integers(1, DURATION_NS_MAX), min_size=100, max_size=100))
def test_quantiles_agree_with_hdr_histogram(durations: list[int]) -> None:
    oracle = HdrHistogram(1, DURATION_NS_MAX, 3)
    for duration in durations:
        oracle.record_value(duration)
    sketch = sketch_of(durations)
    for percentile in (50, 95, 99):
        ours = sketch.quantile_ns(percentile / 100)
        assert ours == pytest.approx(oracle.get_value_at_percentile(percentile), rel=1 / 60)


def test_an_empty_sketch_has_no_quantile_and_no_mean() -> None:
    assert EMPTY.quantile_ns(0.95) is None
    assert EMPTY.mean_ns is None
    with pytest.raises(ValueError, match="must be in"):
        EMPTY.quantile_ns(0.0)


@pytest.mark.parametrize(
    ("wire", "says"),
    [
        (b"", "format"),
        (b"\x02\0\0\0\0", "format"),
        (b"\x01\x05", "ends too early"),
        (b"\x01\x05\x05\x05\x01", "ends too early"),
        (b"\x01\x00\x00\x00\x00\x00", "after its end"),
        (b"\x01\x05\x05\x05\x01\x00\x04", "4 samples in buckets, says 5"),
        (b"\x01\x01\x05\x05\x01\xff\x0f\x01\x80", "ends inside|after its end"),
        (b"\x01\x01\x01\x01\x01\x80\x10\x01", "bucket 2048"),
        (b"\x01\x01\x01\x01\x01\x00\x00", "no sample"),
        (b"\x01\x80\x00", "needless"),
        (b"\x01" + b"\xff" * 11, "64 bits"),
    ],
)
def test_hostile_telemetry_attack_a_broken_sketch_is_refused(wire: bytes, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        from_bytes(wire)


@given(st.binary(max_size=100))
def test_random_bytes_are_a_sketch_or_a_decode_error(data: bytes) -> None:
    try:
        sketch = from_bytes(data)
    except DecodeError:
        return
    assert sketch.to_bytes() == data
