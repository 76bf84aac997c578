"""The quick routes of decoding accept exactly what the plain ones do."""

import struct
from io import BytesIO
from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wherry_protocol.codec import dumps, loads
from wherry_protocol.codec.decoding import reader
from wherry_protocol.codec.shortest import is_shortest
from wherry_protocol.codec.table import from_map, to_map
from wherry_protocol.errors import DecodeError
from wherry_protocol.messages.desired import Desired
from wherry_protocol.messages.observed import Ack, Event, Telemetry
from wherry_protocol.messages.reported import Reported
from wherry_protocol.sketch import BUCKETS, Sketch, from_bytes

from tests.protocol.strategies import of_class

KEYS = st.one_of(st.integers(-300, 300), st.text(max_size=3), st.booleans(), st.floats())
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(),
    st.binary(max_size=30), st.text(max_size=30),
)  # fmt: skip
ITEMS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(KEYS, inner, max_size=4),
        st.builds(lambda tag, value: cbor2.CBORTag(tag, [value]), st.integers(6, 20), inner),
    ),
    max_leaves=12,
)


def is_deterministic(data: bytes) -> bool:
    """The plain way: encode again and compare."""
    decoder = cbor2.CBORDecoder(BytesIO(data), allow_indefinite=False)
    return cbor2.dumps(decoder.decode(), canonical=True) == data


def accepted(data: bytes) -> bool:
    try:
        loads(data, what="item")
    except DecodeError:
        return False
    return True


def long_forms(item: Any) -> bytes:
    """The item with long heads, long floats and keys as they come: legal CBOR."""
    if isinstance(item, dict):
        parts = b"".join(long_forms(k) + long_forms(v) for k, v in item.items())
        return bytes([0xB8, len(item)]) + parts
    if isinstance(item, list):
        return bytes([0x98, len(item)]) + b"".join(map(long_forms, item))
    if isinstance(item, float):
        return b"\xfb" + struct.pack(">d", item)
    return bytes(cbor2.dumps(item))


@given(ITEMS)
def test_what_is_encoded_deterministically_is_accepted_whatever_the_route(item: Any) -> None:
    assert accepted(dumps(item))


@given(ITEMS, st.booleans())
def test_other_encodings_of_an_item_are_accepted_only_where_they_are_the_one(
    item: Any, is_long: bool
) -> None:
    data = long_forms(item) if is_long else cbor2.dumps(item)
    assert accepted(data) == is_deterministic(data)


@given(ITEMS, st.data())
def test_the_size_never_proves_what_comparing_the_bytes_would_refuse(
    item: Any, draw: st.DataObject
) -> None:
    data = bytearray(dumps(item))
    for _ in range(draw.draw(st.integers(0, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        other = cbor2.CBORDecoder(BytesIO(bytes(data))).decode()
    except Exception:
        return
    if is_shortest(other, len(data)) and accepted(bytes(data)):
        assert cbor2.dumps(other, canonical=True) == bytes(data)


@pytest.mark.parametrize(
    "wire",
    [
        "d90100826461616161d81900",  # a reference saves what its namespace costs
        "d81c82016161",  # shareable
        "f97e01", "fa7fc00000", "fb7ff8000000000001",  # other encodings of NaN
        "a2f5010201", "a1f93c0001",  # 1 as true and as a float, as keys
        "c249000000000000000001",  # a big number that is small
        "a220010001", "a2200124 01".replace(" ", ""), "a218180120 01".replace(" ", ""),
    ],
)  # fmt: skip
def test_an_encoding_that_only_looks_like_the_shortest_is_judged_by_its_bytes(wire: str) -> None:
    data = bytes.fromhex(wire)
    try:
        expected = is_deterministic(data)
    except cbor2.CBORDecodeError:
        expected = False
    assert accepted(data) == expected


def read(cls: type[Any], raw: Any, strict: bool) -> Any:
    try:
        return reader(cls, strict)(raw, "")
    except DecodeError:
        return None


def walk(cls: type[Any], raw: Any, strict: bool) -> Any:
    try:
        return from_map(cls, raw, "x", strict)
    except DecodeError:
        return None


@pytest.mark.parametrize("cls", [Telemetry, Event, Reported, Desired, Ack])
@given(st.data(), st.booleans())
def test_a_reader_gives_what_the_walk_gives_for_any_change_of_any_message(
    cls: type[Any], draw: st.DataObject, strict: bool
) -> None:
    raw = to_map(draw.draw(of_class(cls)), "x")
    place: Any = raw
    while isinstance(place, dict) and place:
        key = draw.draw(st.sampled_from(list(place)))
        if not isinstance(place[key], dict) or draw.draw(st.booleans()):
            change = draw.draw(st.sampled_from(("none", "value", "gone", "more", "true")))
            if change == "value":
                place[key] = draw.draw(st.one_of(LEAVES, st.lists(LEAVES, max_size=2)))
            elif change == "gone":
                del place[key]
            elif change == "more":
                place[draw.draw(KEYS)] = draw.draw(LEAVES)
            elif change == "true" and key == 1:
                place[True] = place.pop(1)
            break
        place = place[key]
    assert read(cls, raw, strict) == walk(cls, raw, strict)


def test_a_key_that_equals_an_integer_but_is_none_is_another_key() -> None:
    whole = to_map(Ack(org="acme", connection="d1", boot_id=bytes(16), sequence=5), "x")
    swapped = {True if key == 1 else key: value for key, value in whole.items()}
    for route in (read, walk):
        assert route(Ack, whole, True) is not None
        assert route(Ack, swapped, True) is None
        assert route(Ack, swapped, False) is None


@given(st.dictionaries(st.integers(0, BUCKETS - 1), st.integers(1, 1 << 50), max_size=40),
       st.integers(0, (1 << 64) - 1))  # fmt: skip
@example({}, 0)
@example({0: 127, 127: 128, 255: 16384}, 1)
def test_a_sketch_survives_its_bytes_whatever_the_lengths_of_its_numbers(
    buckets: dict[int, int], total: int
) -> None:
    one = Sketch(sum(buckets.values()), total, total, buckets)
    assert from_bytes(one.to_bytes()) == one
    for cut in range(1, min(12, len(one.to_bytes()))):
        with pytest.raises(DecodeError):
            from_bytes(one.to_bytes()[:-cut])


@given(st.binary(max_size=60))
def test_bytes_that_are_a_sketch_are_the_only_ones_of_it(data: bytes) -> None:
    try:
        found = from_bytes(b"\x01" + data)
    except DecodeError:
        return
    assert found.to_bytes() == b"\x01" + data
