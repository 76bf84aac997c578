"""How each declared class stands on the wire, told to `_quick` (protocol/csrc) once.

What `_quick` reads and writes is what the field table reads and writes; where it is not sure it
gives nothing, and refuses nothing.
"""

from dataclasses import MISSING
from typing import Any, Final

from wherry_protocol.codec._quick import Kind
from wherry_protocol.codec.fields import (
    Bool,
    Closed,
    FieldType,
    Int,
    Mapping,
    Octets,
    Open,
    Real,
    Sequence,
    Text,
)
from wherry_protocol.codec.table import Column, Nested, columns

_KINDS: Final[dict[tuple[type[Any], bool], Kind]] = {}


def kind_of_class(cls: type[Any], strict: bool) -> Kind:
    """How the declared class stands on the wire, for `_quick`; made at its first use."""
    found = _KINDS.get((cls, strict))
    if found is None:
        found = _KINDS[cls, strict] = _record(cls, strict)
    return found


def _record(cls: type[Any], strict: bool) -> Kind:
    if hasattr(cls, "__post_init__"):
        raise RuntimeError(f"{cls.__name__}: a message has no __post_init__, its table checks it")
    ordered = sorted(columns(cls), key=_encoded_key)
    return Kind.record(cls, tuple(_column(cls, column, strict) for column in ordered), strict)


def _encoded_key(column: Column) -> int:
    if not -24 <= column.key < 256:
        raise RuntimeError(f"{column.attribute}: key {column.key} takes more than two bytes")
    if column.key >= 24:
        return 0x1800 | column.key
    return column.key if column.key >= 0 else 0x20 - 1 - column.key


def _column(cls: type[Any], column: Column, strict: bool) -> tuple[Any, ...]:
    row = (_encoded_key(column), getattr(cls, column.attribute), _kind(column.type, strict))
    return row if column.default is MISSING else (*row, column.default)


def _kind(field: FieldType, strict: bool) -> Kind:
    match field:
        case Int(low=low, high=high):
            return Kind.int(low, high)
        case Real(low=low, high=high):
            return Kind.real(low, high)
        case Bool():
            return Kind.bool()
        case Text(size_max=size_max, pattern=pattern):
            return Kind.text(size_max, None if pattern is None else pattern.fullmatch)
        case Octets(size_max=size_max, size_min=size_min):
            return Kind.octets(size_max if size_min is None else size_min, size_max)
        case Closed(enum=enum) | Open(enum=enum):
            return Kind.enum({int(member): member for member in enum})
        case Sequence(of=of, count_max=count_max):
            return Kind.list(_kind(of, strict), count_max)
        case Mapping(key=key, of=of, count_max=count_max):
            return Kind.map(_kind(key, strict), _kind(of, strict), count_max)
        case Nested(part=part):
            return kind_of_class(part, strict)
    raise RuntimeError(f"{type(field).__name__} is no field type of the table")
