"""How long the encoding of a message is, without encoding it.

A function per class, built from its field table at its first use, as `codec.decoding` builds its
readers. Heads and numbers have the size that RFC 8949 gives their shortest form.
"""

from collections.abc import Callable
from functools import lru_cache
from struct import error, pack, unpack
from typing import Any

from wherry_protocol.codec import Bool, Closed, Mapping, Nested, Octets, Open, Real, Sequence, Text
from wherry_protocol.codec.fields import FieldType, Int
from wherry_protocol.codec.table import MISSING, columns

Size = Callable[[Any], int]
_SIZES: dict[type[Any], Size] = {}


def size_of(message: Any) -> int:
    """Bytes of `encode(message)`."""
    return of_class(type(message))(message)


def head(argument: int) -> int:
    """Bytes of a head with this argument: an integer, or the length of what follows."""
    if argument < 24:
        return 1
    if argument < 1 << 8:
        return 2
    if argument < 1 << 16:
        return 3
    return 5 if argument < 1 << 32 else 9


def of_integer(value: int) -> int:
    return head(value if value >= 0 else -1 - value)


def of_octets(value: bytes) -> int:
    return head(len(value)) + len(value)


def of_text(value: str) -> int:
    size = len(value) if value.isascii() else len(value.encode())
    return head(size) + size


@lru_cache(maxsize=1 << 16)
def of_real(value: float) -> int:
    """A half, single or double float, whichever is the first to hold the value."""
    for form, size in (("<e", 3), ("<f", 5)):
        try:
            if unpack(form, pack(form, value))[0] == value:
                return size
        except (OverflowError, error):
            continue
    return 9


def of_class(cls: type[Any]) -> Size:
    """The size of a declared class's messages."""
    found = _SIZES.get(cls)
    if found is None:
        found = _SIZES[cls] = _made(cls)
    return found


def _made(cls: type[Any]) -> Size:
    fields = [(c.attribute, of_integer(c.key), _of_type(c.type), c.default) for c in columns(cls)]

    def size(message: Any) -> int:
        total, count = 0, 0
        for attribute, key_size, of_value, default in fields:
            value = getattr(message, attribute)
            if value is default or (default is not MISSING and value == default):
                continue
            total += key_size + of_value(value)
            count += 1
        return total + head(count)

    return size


def _of_type(kind: FieldType) -> Size:
    match kind:
        case Int() | Closed() | Open():
            return _of_number
        case Real():
            return of_real
        case Bool():
            return _of_bool
        case Text():
            return of_text
        case Octets():
            return of_octets
        case Nested(part=part):
            return lambda value: of_class(part)(value)  # not before it is declared
        case Sequence(of=of):
            one = _of_type(of)
            return lambda values: head(len(values)) + sum(map(one, values))
        case Mapping(key=key, of=of):
            return _of_mapping(_of_type(key), _of_type(of))
    raise NotImplementedError(f"the size of {kind}")


def _of_number(value: Any) -> int:
    return of_integer(getattr(value, "value", value))


def _of_bool(value: bool) -> int:
    del value
    return 1


def _of_mapping(of_key: Size, of_value: Size) -> Size:
    def size(values: dict[Any, Any]) -> int:
        inner = sum(of_key(key) + of_value(value) for key, value in values.items())
        return head(len(values)) + inner

    return size
