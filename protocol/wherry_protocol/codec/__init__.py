"""Strict, deterministic CBOR for typed messages.

A message is a frozen dataclass whose fields name their integer key and their bounds; `encode`
and `decode` follow that table. `docs/SPEC.md` and `wherry.cddl` describe the same bytes.
"""

from wherry_protocol.codec.cbor import dumps, loads
from wherry_protocol.codec.decoding import decode
from wherry_protocol.codec.encoding import encode
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
    Uint,
    Unknown,
)
from wherry_protocol.codec.plain import from_plain, to_plain
from wherry_protocol.codec.table import (
    Message,
    Nested,
    content_type,
    field,
    instruction,
    observation,
    part,
)

__all__ = [
    "Bool",
    "Closed",
    "FieldType",
    "Int",
    "Mapping",
    "Message",
    "Nested",
    "Octets",
    "Open",
    "Real",
    "Sequence",
    "Text",
    "Uint",
    "Unknown",
    "content_type",
    "decode",
    "dumps",
    "encode",
    "field",
    "from_plain",
    "instruction",
    "loads",
    "observation",
    "part",
    "to_plain",
]
