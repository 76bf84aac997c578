"""The histogram of durations: one bucket function in C, in the specification and in Python."""

import random

from hypothesis import given
from hypothesis import strategies as st
from wherry_native._engine import ffi, lib
from wherry_native.latency import BUCKET_COUNT, LatencyHistogram, bucket_of, from_c, upper_edge_ns
from wherry_protocol import sketch

DURATIONS = st.one_of(st.integers(0, 2**33), st.integers(0, 300), st.integers(2**32 - 9, 2**40))


def _specified_bucket(duration_ns: int) -> int:
    """docs/SPEC-program.md, in its words."""
    d = min(max(duration_ns, 1), 2**32 - 1)
    e = d.bit_length() - 1
    return 64 * e + ((d * 64) >> e) - 64


def _filled(durations: list[int]) -> LatencyHistogram:
    histogram = ffi.new("wh_histogram *")
    for duration in durations:
        lib.wh_histogram_add(histogram, duration)
    return from_c(histogram)


@given(DURATIONS)
def test_bucket_is_the_specified_one(duration_ns: int) -> None:
    assert bucket_of(duration_ns) == _specified_bucket(duration_ns) < BUCKET_COUNT


@given(DURATIONS)
def test_upper_edge_is_the_longest_duration_of_its_bucket(duration_ns: int) -> None:
    bucket = bucket_of(duration_ns)
    edge = upper_edge_ns(bucket)
    assert bucket_of(edge) == bucket
    assert edge >= min(max(duration_ns, 1), 2**32 - 1)
    assert bucket_of(edge + 1) > bucket or edge == 2**32 - 1


@given(st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=200), st.integers(1, 65536))
def test_quantile_errs_by_less_than_one_part_in_64(durations: list[int], q: int) -> None:
    histogram = _filled(durations)
    exact = sorted(durations)[-(-len(durations) * q // 65536) - 1]
    assert exact <= histogram.quantile_ns(q / 65536) <= exact + exact // 64


@given(st.lists(DURATIONS, min_size=1, max_size=50), st.integers(1, 65536))
def test_quantile_is_the_same_in_c_and_in_python(durations: list[int], q: int) -> None:
    histogram = ffi.new("wh_histogram *")
    for duration in durations:
        lib.wh_histogram_add(histogram, duration)
    quantile = ffi.new("uint64_t *")
    assert lib.wh_histogram_quantile(histogram, q, quantile) == 0
    assert from_c(histogram).quantile_ns(q / 65536) == quantile[0]


def test_sketch_of_the_protocol_has_the_same_edges() -> None:
    edges = [upper_edge_ns(bucket) for bucket in range(BUCKET_COUNT)]
    assert edges == [sketch.upper_edge_ns(bucket) for bucket in range(sketch.BUCKETS)]


def test_merging_is_counting_both() -> None:
    source = random.Random(3)
    first, second = ([source.randrange(1, 10**9) for _ in range(300)] for _ in range(2))
    into, other = ffi.new("wh_histogram *"), ffi.new("wh_histogram *")
    for duration in first:
        lib.wh_histogram_add(into, duration)
    for duration in second:
        lib.wh_histogram_add(other, duration)
    lib.wh_histogram_merge(into, other)
    assert from_c(into) == _filled(first + second)


def test_buckets_saturate_and_never_wrap() -> None:
    histogram = ffi.new("wh_histogram *")
    histogram.buckets[bucket_of(1000)] = 2**32 - 1
    lib.wh_histogram_add(histogram, 1000)
    assert histogram.buckets[bucket_of(1000)] == 2**32 - 1


def test_empty_histogram_has_no_quantile() -> None:
    quantile = ffi.new("uint64_t *")
    histogram = ffi.new("wh_histogram *")
    assert lib.wh_histogram_quantile(histogram, 32768, quantile) == lib.WH_ERR_EMPTY
    assert from_c(histogram).quantile_ns(0.5) == 0
