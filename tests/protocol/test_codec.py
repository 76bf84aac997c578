"""Strictness: one item, one encoding, every bound named."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_protocol.codec import (
    Int,
    Octets,
    Real,
    Text,
    Uint,
    decode,
    dumps,
    encode,
    field,
    instruction,
    loads,
)
from wherry_protocol.errors import Code, DecodeError
from wherry_protocol.messages.observed import Ack

ACK = Ack(org="acme", connection="d1", boot_id=bytes(16), sequence=5)


@instruction("test-bounds")
class Bounds:
    small: int = field(1, Int(-2, 2))
    text: str = field(2, Text(3))
    octets: bytes = field(3, Octets(4, 1))
    real: float = field(4, Real(0.0, 1.0))
    count: int = field(5, Uint(9), default=3)


@pytest.mark.parametrize(
    ("wire", "says"),
    [
        (b"", "well-formed"),
        (b"\xff", "well-formed"),
        (bytes.fromhex("a201010102"), "well-formed"),  # a key twice
        (bytes.fromhex("9f01ff"), "well-formed"),  # indefinite length
        (bytes.fromhex("1801"), "deterministic"),  # a long integer
        (bytes.fromhex("fb3ff0000000000000"), "deterministic"),  # a long float
        (bytes.fromhex("a202010101"), "deterministic"),  # keys out of order
        (bytes.fromhex("0101"), "deterministic"),  # a byte too many
        (b"\x81" * 40 + b"\x01", "well-formed"),  # too deep
        (bytes.fromhex("c074323031332d30332d3231543230"), "well-formed"),  # a tag's own error
    ],
)
def test_bytes_that_are_not_one_deterministic_item_are_refused(wire: bytes, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        loads(wire, what="item")


def test_an_item_over_its_size_is_refused_unread() -> None:
    with pytest.raises(DecodeError, match="5 bytes, at most 4") as caught:
        loads(dumps("aaaa"), what="item", size_max=4)
    assert caught.value.code is Code.OUT_OF_BOUNDS


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({1: 3, 2: "", 3: b"a", 4: 0}, r"Bounds.small: 3, must be in -2..2"),
        ({1: True, 2: "", 3: b"a", 4: 0}, r"Bounds.small: bool, must be an integer"),
        ({1: 0, 2: "long", 3: b"a", 4: 0}, r"Bounds.text: 4 characters, at most 3"),
        ({1: 0, 2: "", 3: b"", 4: 0}, r"Bounds.octets: 0 bytes, must be 1..4"),
        ({1: 0, 2: "", 3: b"a", 4: float("nan")}, r"Bounds.real: nan, must be finite"),
        ({1: 0, 2: "", 3: b"a", 4: float("inf")}, r"Bounds.real: inf, must be finite"),
        ({1: 0, 2: "", 3: b"a", 4: 0, 5: 3}, r"Bounds.count: its default must be left out"),
        ([], r"Bounds: list, must be a map"),
        ({2: "", 3: b"a", 4: 0}, r"Bounds.small: missing \(key 1\)"),
    ],
)
def test_a_value_out_of_bounds_is_named_with_place_and_limit(raw: object, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        decode(Bounds, dumps(raw))


def test_our_own_value_out_of_bounds_is_a_programmers_mistake() -> None:
    with pytest.raises(ValueError, match=r"Bounds.small: 5, must be in -2..2"):
        encode(Bounds(small=5, text="", octets=b"a", real=0.0))


def test_a_class_that_uses_a_key_twice_cannot_be_declared() -> None:
    with pytest.raises(RuntimeError, match="uses a key twice"):

        @instruction("test-twice")
        class Twice:
            a: int = field(1, Uint())
            b: int = field(1, Uint())


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_with_a_decode_error_or_are_a_message(data: bytes) -> None:
    try:
        message = decode(Ack, data)
    except DecodeError:
        return
    assert encode(message) == data


@given(st.integers(0, len(encode(ACK)) - 1), st.integers(1, 255))
def test_a_flipped_byte_gives_another_message_or_an_error(place: int, mask: int) -> None:
    data = bytearray(encode(ACK))
    data[place] ^= mask
    with contextlib.suppress(DecodeError):
        assert decode(Ack, bytes(data)) != ACK
