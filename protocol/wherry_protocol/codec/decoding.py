"""Decoding at speed: a reader per class, built once from its field table.

Rules:
1. A reader accepts exactly what `table.from_map` accepts, and gives the same message. It looks
   only at the keys that are there, and keeps no account of where it is.
2. What a reader refuses, `from_map` reads again: it is the specification, and names the place.
"""

from collections.abc import Callable
from dataclasses import MISSING
from functools import partial
from typing import Any, Final, TypeVar

from wherry_protocol.codec.cbor import SIZE_BYTES_MAX, loads
from wherry_protocol.codec.fields import Bounded, FieldType, Sequence
from wherry_protocol.codec.table import Nested, columns, from_map, is_strict
from wherry_protocol.errors import Code, DecodeError

T = TypeVar("T")
Reader = Callable[[Any, str], Any]  # (CBOR value, what to call it) -> Python value or DecodeError

_READERS: Final[dict[tuple[type[Any], bool], Reader]] = {}


def decode(cls: type[T], data: bytes, *, size_max: int = SIZE_BYTES_MAX) -> T:
    """The message in `data`. Raises DecodeError with the path of the field that is wrong."""
    item = loads(data, what=cls.__name__, size_max=size_max)
    strict = is_strict(cls)
    try:
        message: T = reader(cls, strict)(item, "")
    except DecodeError:
        return from_map(cls, item, cls.__name__, strict)
    return message


def reader(cls: type[Any], strict: bool) -> Reader:
    """The reader of a declared class, built at its first use."""
    found = _READERS.get((cls, strict))
    if found is None:
        found = _READERS[cls, strict] = _of_class(cls, strict)
    return found


def _of_class(cls: type[Any], strict: bool) -> Reader:
    table = {c.key: (c.attribute, _of_type(c.type, strict)) for c in columns(cls)}
    needed = {c.attribute for c in columns(cls) if c.default is MISSING}
    defaults = {c.attribute: c.default for c in columns(cls) if c.default is not MISSING}

    def read(raw: Any, where: str) -> Any:
        if type(raw) is not dict:
            raise _refused()
        values = {}
        for key, item in raw.items():
            if key in table and type(key) is int:
                attribute, of_type = table[key]
                values[attribute] = of_type(item, where)
            elif strict:
                raise _refused()
        if needed and not needed <= values.keys():
            raise _refused()
        if strict and any(name in defaults and values[name] == defaults[name] for name in values):
            raise _refused()
        return cls(**values)

    return read


def _of_type(kind: FieldType, strict: bool) -> Reader:
    match kind:
        case Bounded():
            return kind.check
        case Nested(part=part):
            return reader(part, strict)
        case Sequence(of=of, count_max=count_max):
            return _of_items(_of_type(of, strict), count_max)
    return partial(kind.from_wire, strict=strict)


def _of_items(of: Reader, count_max: int) -> Reader:
    def read(raw: Any, where: str) -> Any:
        if type(raw) is not list or len(raw) > count_max:
            raise _refused()
        return tuple([of(item, where) for item in raw])

    return read


def _refused() -> DecodeError:
    """Seen by nobody: `from_map` says it better."""
    return DecodeError("refused", Code.MALFORMED)
