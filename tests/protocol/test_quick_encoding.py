"""The quick route of encoding gives the table's bytes, or leaves the message to the table."""

import math
import struct
from dataclasses import replace
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wherry_protocol.codec import Unknown, dumps, encode
from wherry_protocol.codec._quick import Kind
from wherry_protocol.codec.encoding import by_the_table
from wherry_protocol.codec.kinds import kind_of_class
from wherry_protocol.codec.table import columns, is_strict
from wherry_protocol.errors import Code
from wherry_protocol.messages.observed import Ack
from wherry_protocol.messages.reported import Reported

from tests.protocol import examples
from tests.protocol.strategies import of_class

CLASSES = [type(message) for message in examples.messages()]
WRONG = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(),
    st.binary(max_size=70), st.text(max_size=30), st.just("\ud800"),
    st.lists(st.integers(), max_size=3), st.tuples(st.integers()),
    st.dictionaries(st.integers(-3, 300), st.text(max_size=3), max_size=3),
    st.builds(Unknown, st.integers(0, 300)), st.sampled_from(list(Code)),
)  # fmt: skip


def outcome(make: Any) -> bytes | str:
    """The bytes, or why there are none."""
    try:
        return bytes(make())
    except ValueError as error:
        return f"ValueError: {error}"
    except (TypeError, AttributeError) as error:  # nobody promises anything for those
        return type(error).__name__


@pytest.mark.parametrize("cls", CLASSES)
@given(st.data())
def test_every_message_is_written_at_speed_and_as_the_table_writes_it(
    cls: type[Any], draw: st.DataObject
) -> None:
    message = draw.draw(of_class(cls))
    assert kind_of_class(cls, is_strict(cls)).write(message) == by_the_table(message)


@pytest.mark.parametrize("cls", CLASSES)
@given(st.data())
def test_a_value_that_does_not_belong_there_ends_as_the_table_ends_it(
    cls: type[Any], draw: st.DataObject
) -> None:
    message = draw.draw(of_class(cls))
    place = draw.draw(st.sampled_from([column.attribute for column in columns(cls)]))
    changed = replace(message, **{place: draw.draw(WRONG)})
    assert outcome(lambda: encode(changed)) == outcome(lambda: by_the_table(changed))


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(-0.0)
@example(65504.0)
@example(65520.0)
@example(2.0**-24)
@example(2.0**-25)
@example(3.4028234663852886e38)
@example(5e-324)
def test_a_float_is_written_in_its_shortest_form(value: float) -> None:
    assert Kind.real(-math.inf, math.inf).write(value) == dumps(value)


@given(st.integers(-(1 << 53), 1 << 53))
def test_a_whole_number_is_written_as_the_float_that_it_is(value: int) -> None:
    written = Kind.real(-1e9, 1e9).write(value)
    assert written == (dumps(float(value)) if abs(value) <= 1e9 else None)
    assert Kind.real(-math.inf, math.inf).write(1 << 2000) is None


@given(st.integers(0, (1 << 16) - 1))
def test_every_half_is_written_as_itself(bits: int) -> None:
    (value,) = struct.unpack(">e", struct.pack(">H", bits))
    if math.isfinite(value):
        written = Kind.real(-math.inf, math.inf).write(value)
        assert written == b"\xf9" + struct.pack(">H", bits)


@given(st.integers(-(1 << 65), 1 << 65), st.integers(-(1 << 63), 0), st.integers(0, (1 << 64) - 1))
def test_an_integer_is_written_within_its_bounds(value: int, low: int, high: int) -> None:
    written = Kind.int(low, high).write(value)
    assert written == (dumps(value) if low <= value <= high else None)


@given(st.dictionaries(st.integers(-300, 70_000), st.text(max_size=2), max_size=40))
def test_a_map_is_written_in_the_order_of_its_keys_or_left_to_the_table(
    entries: dict[int, str],
) -> None:
    kind = Kind.map(Kind.int(-1000, 1 << 20), Kind.text(9, None), 40)
    written = kind.write(entries)
    has_both_signs = len({key < 0 for key in entries}) == 2
    assert written == (None if has_both_signs else dumps(entries))


class Other(IntEnum):
    """A number of another meaning."""

    SAME = 100


def test_an_enum_s_members_are_written_and_nothing_that_only_equals_them() -> None:
    kind = Kind.enum({int(code): code for code in Code})
    assert kind.write(Code.MALFORMED) == dumps(100)
    for value in (100, 100.0, False, Other.SAME, Unknown(100), None):
        assert kind.write(value) is None


def test_a_message_of_another_class_is_left_to_the_table() -> None:
    ack = next(message for message in examples.messages() if type(message) is Ack)
    assert kind_of_class(Reported, False).write(ack) is None
    assert kind_of_class(Reported, False).write(None) is None
