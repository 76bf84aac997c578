"""From a dataclass to a map with integer keys and back.

Rules:
1. Every field names its key and its type: `revision: int = field(5, Uint())`.
2. A field with a default is left out of the map while it has that default, so that one message
   has one encoding.
3. An unknown key is an error in an instruction, and ignored in an observation.

    @instruction("wherry-ack")
    class Ack:
        boot_id: bytes = field(1, Octets(16))
"""

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, dataclass
from typing import Any, Final, TypeVar, dataclass_transform

from wherry_protocol.codec.fields import FieldType, wrong
from wherry_protocol.errors import Code, DecodeError
from wherry_protocol.frozen import quick

T = TypeVar("T")
Message = Any  # a class made by `instruction`, `observation` or `part`

_TABLE: Final = "__wherry_table__"
_CONTENT_TYPE: Final = "__wherry_content_type__"
_STRICT: Final = "__wherry_strict__"


@dataclass(frozen=True, slots=True)
class Column:
    """One row of a class's field table."""

    attribute: str
    key: int
    type: FieldType
    default: Any  # MISSING where the field must be there


def field(key: int, type: FieldType, *, default: Any = MISSING) -> Any:
    """A dataclass field with its wire key and type; a dict as default is copied per message."""
    metadata = {"key": key, "type": type, "default": default}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def _table_of(cls: type[Any]) -> tuple[Column, ...]:
    columns = tuple(
        Column(f.name, f.metadata["key"], f.metadata["type"], f.metadata["default"])
        for f in dataclasses.fields(cls)
    )
    keys = [column.key for column in columns]
    if len(set(keys)) != len(keys):
        raise RuntimeError(f"{cls.__name__} uses a key twice: {keys}")
    return columns


def _declare(cls: type[T], content_type: str | None, strict: bool | None) -> type[T]:
    made = quick(dataclass(frozen=True, slots=True, kw_only=True)(cls))
    setattr(made, _TABLE, _table_of(made))
    setattr(made, _CONTENT_TYPE, content_type)
    setattr(made, _STRICT, strict)
    return made


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def instruction(name: str) -> Callable[[type[T]], type[T]]:
    """Declare a message that tells somebody what to do: unknown keys and values are errors."""
    return lambda cls: _declare(cls, f"application/{name}+cbor", True)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def observation(name: str) -> Callable[[type[T]], type[T]]:
    """Declare a message that tells what is: unknown keys are ignored, unknown values kept."""
    return lambda cls: _declare(cls, f"application/{name}+cbor", False)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def part(cls: type[T]) -> type[T]:
    """Declare a piece of a message; it is as strict as what holds it."""
    return _declare(cls, None, None)


def content_type(cls: type[Any]) -> str:
    """The content type that a signature over this message carries. RuntimeError for a part."""
    name: str | None = getattr(cls, _CONTENT_TYPE)
    if name is None:
        raise RuntimeError(f"{cls.__name__} is a part: it is never signed alone")
    return name


def is_strict(cls: type[Any]) -> bool:
    """Whether unknown keys and values are errors; a part by itself is strict."""
    strict: bool | None = getattr(cls, _STRICT)
    return strict is not False


def columns(cls: type[Any]) -> tuple[Column, ...]:
    """The field table of a declared class, for documentation and tests."""
    table: tuple[Column, ...] = getattr(cls, _TABLE)
    return table


def to_map(message: Message, where: str) -> dict[int, Any]:
    wire = {}
    for column in columns(type(message)):
        value = getattr(message, column.attribute)
        if column.default is not MISSING and value == column.default:
            continue
        place = f"{where}.{column.attribute}" if where else ""
        wire[column.key] = column.type.to_wire(value, place)
    return wire


def from_map(cls: type[T], raw: Any, where: str, strict: bool) -> T:
    if type(raw) is not dict:
        raise wrong(where, f"{type(raw).__name__}, must be a map")
    # True and 1.0 equal 1 in Python; on the wire they are other keys.
    known = {key: item for key, item in raw.items() if type(key) is int}
    values = {}
    for column in columns(cls):
        place = f"{where}.{column.attribute}"
        if column.key in known:
            values[column.attribute] = _value(column, known[column.key], place, strict)
        elif column.default is MISSING:
            raise wrong(place, f"missing (key {column.key})")
    if strict and len(values) != len(raw):
        expected = {(int, column.key) for column in columns(cls)}
        extra = sorted(str(key) for key in raw if (type(key), key) not in expected)
        raise DecodeError(f"{where}: unknown keys {', '.join(extra)}", Code.UNKNOWN_FIELD)
    return cls(**values)


def _value(column: Column, raw: Any, where: str, strict: bool) -> Any:
    value = column.type.from_wire(raw, where, strict)
    if strict and column.default is not MISSING and value == column.default:
        raise DecodeError(f"{where}: its default must be left out", Code.NOT_DETERMINISTIC)
    return value


@dataclass(frozen=True, slots=True)
class Nested:
    """Another message's table, as a map inside this one."""

    part: type[Any]

    def to_wire(self, value: Any, where: str) -> Any:
        if type(value) is not self.part:
            raise ValueError(f"{where}: {type(value).__name__} is not a {self.part.__name__}")
        return to_map(value, where)

    def from_wire(self, raw: Any, where: str, strict: bool) -> Any:
        return from_map(self.part, raw, where, strict)
