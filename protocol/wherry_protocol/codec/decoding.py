"""From bytes to a message: at speed where the bytes are as expected, by the table where not.

`loads` and `table.from_map` are the specification, and name the place that is wrong.
"""

from typing import TypeVar

from wherry_protocol.codec.cbor import SIZE_BYTES_MAX, loads
from wherry_protocol.codec.kinds import kind_of_class
from wherry_protocol.codec.table import from_map, is_strict

T = TypeVar("T")


def decode(cls: type[T], data: bytes, *, size_max: int = SIZE_BYTES_MAX) -> T:
    """The message in `data`. Raises DecodeError with the path of the field that is wrong."""
    strict = is_strict(cls)
    if len(data) <= size_max:
        message: T | None = kind_of_class(cls, strict).read(data)
        if message is not None:
            return message
    item = loads(data, what=cls.__name__, size_max=size_max)
    return from_map(cls, item, cls.__name__, strict)
