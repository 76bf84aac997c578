"""SMP messages: an eight-byte header and a CBOR map with text keys.

Rules, in order:
1. The header's length is exactly the body's; the body is one map, with nothing behind it.
2. Encodings need not be deterministic (firmware writes what is small for it), but a key may come
   only once.
3. Both protocol versions are understood; requests are made as version 2.

Source: Zephyr, "SMP protocol specification". All header fields are big-endian.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from io import BytesIO
from typing import Any, Final

import cbor2

from wherry_protocol.errors import Code, DecodeError

HEADER_BYTES: Final = 8
VERSION_1: Final = 0
VERSION_2: Final = 1
DEPTH_MAX: Final = 8
_HEADER: Final = struct.Struct(">BBHHBB")


class Op(IntEnum):
    """What a message is; a response is its request's operation plus one."""

    READ = 0
    READ_RESPONSE = 1
    WRITE = 2
    WRITE_RESPONSE = 3


@dataclass(frozen=True, slots=True)
class Message:
    """One request or response. `body` has text keys; `sequence` is 0 to 255."""

    op: Op
    group: int
    command: int
    sequence: int
    body: Mapping[str, Any]
    version: int = VERSION_2


def encode_message(message: Message) -> bytes:
    """Header and body."""
    body = cbor2.dumps(dict(message.body))
    first = message.version << 3 | message.op
    header = _HEADER.pack(first, 0, len(body), message.group, message.sequence, message.command)
    return header + body


def decode_message(packet: bytes) -> Message:
    """The message in a packet. Raises DecodeError for anything else."""
    if len(packet) < HEADER_BYTES:
        raise DecodeError(f"SMP packet: {len(packet)} bytes, its header alone has {HEADER_BYTES}")
    first, _flags, length, group, sequence, command = _HEADER.unpack_from(packet)
    version, op = first >> 3 & 3, first & 7
    if version > VERSION_2 or op > Op.WRITE_RESPONSE:
        raise DecodeError(
            f"SMP packet: version {version}, operation {op}; versions 0 to 1 and operations 0 to 3"
            " are known",
            Code.UNSUPPORTED_FORMAT,
        )
    if length != len(packet) - HEADER_BYTES:
        raise DecodeError(
            f"SMP packet: its header announces {length} bytes, {len(packet) - HEADER_BYTES} follow"
        )
    return Message(Op(op), group, command, sequence, _body(packet[HEADER_BYTES:]), version)


def _body(data: bytes) -> Mapping[str, Any]:
    stream = BytesIO(data)
    try:
        body = cbor2.CBORDecoder(stream, max_depth=DEPTH_MAX, allow_duplicate_keys=False).decode()
    # A hostile item can make a tag's own constructor raise anything: all of it is the peer's.
    except Exception as error:
        raise DecodeError(f"SMP body: not one well-formed CBOR item ({error})") from error
    if not isinstance(body, Mapping) or not all(isinstance(key, str) for key in body):
        raise DecodeError("SMP body: must be a CBOR map with text keys")
    if stream.read(1):
        raise DecodeError("SMP body: bytes follow its CBOR map")
    return body
