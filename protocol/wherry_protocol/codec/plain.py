"""Messages as plain values (JSON, TOML): attributes by name, bytes as hex, enums by name.

For people and for REST; what is signed is always the CBOR. Bounds are those of the field table.

    >>> to_plain(Ack(org="acme", connection="d1", boot_id=bytes(16), sequence=5))["sequence"]
    5
"""

from dataclasses import MISSING
from enum import IntEnum
from typing import Any, TypeVar

from wherry_protocol.codec.fields import (
    Closed,
    FieldType,
    Mapping,
    Octets,
    Open,
    Sequence,
    Unknown,
    wrong,
)
from wherry_protocol.codec.table import Nested, columns
from wherry_protocol.errors import Code, DecodeError

T = TypeVar("T")
Plain = Any  # None, bool, int, float, str, list and dict


def to_plain(message: Any) -> dict[str, Plain]:
    """Every field, defaults too, as JSON can carry it."""
    return {
        column.attribute: _plain_value(getattr(message, column.attribute))
        for column in columns(type(message))
    }


def _plain_value(value: Any) -> Plain:
    match value:
        case bytes():
            return value.hex()
        case IntEnum() | Unknown():
            return value.name.lower()
        case tuple():
            return [_plain_value(item) for item in value]
        case dict():
            return {_plain_value(key): _plain_value(item) for key, item in value.items()}
        case None | bool() | int() | float() | str():
            return value
    return to_plain(value)


def from_plain(cls: type[T], plain: Plain, where: str) -> T:
    """The message that `plain` describes; fields with defaults may be missing.

    Raises DecodeError that names the place: an unknown key, a missing one, a value out of bounds.
    """
    if type(plain) is not dict:
        raise wrong(where, f"{type(plain).__name__}, must be a table")
    table = columns(cls)
    unknown = plain.keys() - {column.attribute for column in table}
    if unknown:
        known = ", ".join(sorted(column.attribute for column in table))
        raise DecodeError(
            f"{where}: unknown key {min(unknown)!r}, known are {known}", Code.UNKNOWN_FIELD
        )
    values = {}
    for column in table:
        place = f"{where}.{column.attribute}"
        if column.attribute in plain and plain[column.attribute] is not None:
            values[column.attribute] = _value(column.type, plain[column.attribute], place)
        elif column.default is MISSING:
            raise wrong(place, "missing")
    return cls(**values)


def _value(kind: FieldType, plain: Plain, where: str) -> Any:
    match kind:
        case Octets():
            return kind.from_wire(_bytes(plain, where), where, True)
        case Closed(enum=enum) | Open(enum=enum):
            return _member(enum, plain, where)
        case Nested(part=part):
            return from_plain(part, plain, where)
        case Sequence(of=of, count_max=count_max):
            if type(plain) is not list or len(plain) > count_max:
                raise wrong(where, f"must be a list of at most {count_max}")
            return tuple(_value(of, item, f"{where}[{i}]") for i, item in enumerate(plain))
        case Mapping(key=key, of=of, count_max=count_max):
            if type(plain) is not dict or len(plain) > count_max:
                raise wrong(where, f"must be a table of at most {count_max} entries")
            return {
                _value(key, name, where): _value(of, item, f"{where}.{name}")
                for name, item in plain.items()
            }
    return kind.from_wire(plain, where, True)


def _bytes(plain: Plain, where: str) -> bytes:
    try:
        return bytes.fromhex(plain)
    except (TypeError, ValueError) as error:
        raise wrong(where, "must be hexadecimal text") from error


def _member(enum: type[IntEnum], plain: Plain, where: str) -> IntEnum:
    names = {member.name.lower(): member for member in enum}
    if plain not in names:
        raise wrong(where, f"{plain!r}, must be one of {', '.join(names)}")
    return names[plain]
