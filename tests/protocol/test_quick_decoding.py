"""The quick route of decoding gives what the field table gives, or leaves it to the table."""

import math
import os
import struct
import subprocess
import sys
import sysconfig
from io import BytesIO
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wherry_protocol.codec import dumps, encode, loads
from wherry_protocol.codec._quick import Kind
from wherry_protocol.codec.kinds import kind_of_class
from wherry_protocol.codec.table import from_map, is_strict, to_map
from wherry_protocol.errors import DecodeError
from wherry_protocol.manifest import Manifest
from wherry_protocol.messages.desired import Desired
from wherry_protocol.messages.observed import Ack, Event, Telemetry
from wherry_protocol.messages.reported import Reported
from wherry_protocol.sketch import BUCKETS, Sketch, from_bytes

from tests.protocol import examples
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


CLASSES = [type(message) for message in examples.messages()]


def by_the_table(cls: type[Any], data: bytes, strict: bool) -> Any:
    """What the specification says: the message, or None."""
    try:
        return from_map(cls, loads(data, what="x"), "x", strict)
    except DecodeError:
        return None


def agrees(cls: type[Any], data: bytes) -> None:
    """The quick route gives what the table gives, or leaves it to the table."""
    for strict in (True, False):
        found = kind_of_class(cls, strict).read(data)
        assert found is None or found == by_the_table(cls, data, strict)


@pytest.mark.parametrize("cls", CLASSES)
@given(st.data())
def test_every_message_is_read_at_speed_and_as_the_table_reads_it(
    cls: type[Any], draw: st.DataObject
) -> None:
    message = draw.draw(of_class(cls))
    data = encode(message)
    assert kind_of_class(cls, is_strict(cls)).read(data) == message
    agrees(cls, data)


@pytest.mark.parametrize("cls", [Telemetry, Event, Reported, Desired, Ack, Manifest])
@given(st.data())
def test_any_change_of_a_value_or_a_key_is_read_as_the_table_reads_it(
    cls: type[Any], draw: st.DataObject
) -> None:
    raw = to_map(draw.draw(of_class(cls)), "x")
    place: Any = raw
    while isinstance(place, dict) and place:
        key = draw.draw(st.sampled_from(list(place)))
        if not isinstance(place[key], dict) or draw.draw(st.booleans()):
            change = draw.draw(st.sampled_from(("value", "gone", "more", "true")))
            if change == "value":
                place[key] = draw.draw(st.one_of(LEAVES, st.lists(LEAVES, max_size=2)))
            elif change == "gone":
                del place[key]
            elif change == "more":
                place[draw.draw(KEYS)] = draw.draw(LEAVES)
            elif key == 1:
                place[True] = place.pop(1)
            break
        place = place[key]
    agrees(cls, dumps(raw))
    if isinstance(raw, dict):
        agrees(cls, long_forms(raw))


@pytest.mark.parametrize("cls", [Telemetry, Event, Reported, Desired, Ack, Manifest])
@given(st.data())
def test_any_change_of_bytes_is_read_as_the_table_reads_it(
    cls: type[Any], draw: st.DataObject
) -> None:
    data = bytearray(encode(draw.draw(of_class(cls))))
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.integers(0, len(data)))
        match draw.draw(st.sampled_from(("set", "insert", "cut", "swap"))):
            case "set" if place < len(data):
                data[place] = draw.draw(st.integers(0, 255))
            case "insert":
                data.insert(place, draw.draw(st.integers(0, 255)))
            case "swap":
                data[place:] = data[place + 4 :] + data[place : place + 4]
            case _:
                del data[place:]
    agrees(cls, bytes(data))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_in_another_length_than_its_shortest_is_left_to_the_table(value: float) -> None:
    kind = Kind.real(-math.inf, math.inf)
    shortest = dumps(value)
    assert kind.read(shortest) == value
    for head, form in ((b"\xf9", ">e"), (b"\xfa", ">f"), (b"\xfb", ">d")):
        try:
            data = head + struct.pack(form, value)
        except OverflowError:
            continue
        assert (kind.read(data) is None) == (data != shortest) or struct.unpack(form, data[1:]) != (
            value,
        )


def test_hostile_bytes_touch_no_memory_but_their_own(root: Path, tmp_path: Path) -> None:
    """The golden messages with every byte changed, under ASan and UBSan."""
    sanitizer = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    names = ("module", "reading", "writing", "wire")
    sources = [str(root / "protocol/csrc" / f"{name}.c") for name in names]
    include = sysconfig.get_path("include")
    subprocess.run(
        ["gcc", "-std=c11", "-O1", "-g1", "-shared", "-fPIC", f"-I{include}",
         "-fsanitize=address,undefined", "-fno-sanitize-recover=all", *sources, "-lm",
         "-o", str(tmp_path / "_quick.abi3.so")],
        check=True,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("quick_fuzz.py")), str(tmp_path)],
        env={**os.environ, "LD_PRELOAD": sanitizer, "ASAN_OPTIONS": "detect_leaks=0",
             "PYTHONMALLOC": "malloc", "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 20_000


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
