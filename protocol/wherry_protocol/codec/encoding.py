"""From a message to bytes: at speed where its values are as expected, by the table where not.

`table.to_map` and `dumps` are the specification, and name the place that is wrong.
"""

from wherry_protocol.codec.cbor import dumps
from wherry_protocol.codec.kinds import kind_of_class
from wherry_protocol.codec.table import Message, is_strict, to_map


def encode(message: Message) -> bytes:
    """The message's one encoding. Raises ValueError where a value breaks its own bounds."""
    cls = type(message)
    data: bytes | None = kind_of_class(cls, is_strict(cls)).write(message)
    return by_the_table(message) if data is None else data


def by_the_table(message: Message) -> bytes:
    """The same, the plain way."""
    try:
        wire = to_map(message, "")
    except ValueError:  # once more, to say where
        wire = to_map(message, type(message).__name__)
    return dumps(wire)
