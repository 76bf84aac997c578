"""Signed requests to one unit and their replies.

Every request carries an id, which is also its nonce: a unit answers an id once. TIME is the one
verb that a unit without time accepts; its nonce is the unit's own.
"""

from enum import IntEnum

from wherry_protocol.codec import (
    Bool,
    Closed,
    Mapping,
    Octets,
    Open,
    Sequence,
    Text,
    Uint,
    field,
    instruction,
    observation,
)
from wherry_protocol.errors import Code
from wherry_protocol.messages.limits import Digest, Nonce, UnixSeconds
from wherry_protocol.names import ConnectionName, ModelName, OrgName, SemverText, UnitName


class Verb(IntEnum):
    """What can be asked of a unit."""

    TIME = 1
    STATUS = 2
    INFER = 3
    VERIFY = 4
    LOGS = 5
    PROFILE = 6
    EVALUATE = 7
    RESET_BREAKER = 8


@instruction("wherry-rpc")
class Request:
    """One request; `body` is the encoding of the verb's body message."""

    org: str = field(1, OrgName)
    connection: str = field(2, ConnectionName)
    unit: str = field(3, UnitName)
    id: bytes = field(4, Nonce)
    issued_s: int = field(5, UnixSeconds)
    expires_s: int = field(6, UnixSeconds)
    verb: Verb = field(7, Closed(Verb))
    body: bytes = field(8, Octets(65536, 0), default=b"")


@observation("wherry-reply")
class Reply:
    """The answer to the request with the same id; MACed by the device."""

    org: str = field(1, OrgName)
    connection: str = field(2, ConnectionName)
    unit: str = field(3, UnitName)
    id: bytes = field(4, Nonce)
    code: Code = field(5, Open(Code))
    text: str = field(6, Text(512), default="")
    body: bytes = field(7, Octets(65536, 0), default=b"")


@instruction("wherry-time-answer")
class TimeAnswer:
    """Body of TIME: the director's clock for one boot nonce."""

    nonce: bytes = field(1, Nonce)
    time_s: int = field(2, UnixSeconds)
    epoch: int = field(3, Uint())
    root_number: int = field(4, Uint())


@instruction("wherry-infer-request")
class InferRequest:
    """Body of INFER: quantized input bytes for one model."""

    model: str = field(1, ModelName)
    input: bytes = field(2, Octets(60_000, 1))


@observation("wherry-infer-reply")
class InferReply:
    """Body of INFER's reply: quantized output and who made it."""

    output: bytes = field(1, Octets(60_000, 0))
    manifest_digest: bytes = field(2, Digest)
    version: str = field(3, SemverText)
    slot: str = field(4, Text(16))
    latency_us: int = field(5, Uint())


@instruction("wherry-verify-request")
class VerifyRequest:
    """Body of VERIFY: hash a loaded bundle's bytes and run its golden vectors again.

    Without a digest the active one is meant; with it, a candidate can be looked at.
    """

    model: str = field(1, ModelName)
    manifest_digest: bytes | None = field(2, Digest, default=None)


@observation("wherry-verify-reply")
class VerifyReply:
    """Body of VERIFY's reply: of which bundle, and what was found."""

    is_intact: bool = field(1, Bool())
    golden_passed: int = field(2, Uint())
    golden_count: int = field(3, Uint())
    manifest_digest: bytes | None = field(4, Digest, default=None)
    latency_us_p95: int | None = field(5, Uint(), default=None)


@instruction("wherry-reset-breaker-request")
class ResetBreakerRequest:
    """Body of RESET_BREAKER: the model's bundle answers again; the reply's text says what was."""

    model: str = field(1, ModelName)


@instruction("wherry-logs-request")
class LogsRequest:
    """Body of LOGS: the newest `count` records of the unit's ring."""

    count: int = field(1, Uint(200))


@observation("wherry-logs-reply")
class LogsReply:
    lines: tuple[str, ...] = field(1, Sequence(Text(512), 200))


@observation("wherry-status-reply")
class StatusReply:
    """Body of STATUS's reply: what GET /status answers on the device, as text pairs."""

    fields: dict[str, str] = field(1, Mapping(Text(64), Text(256), 256))
