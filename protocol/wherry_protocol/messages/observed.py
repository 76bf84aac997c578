"""Telemetry, events and presence: authenticated by the device's MAC key; acknowledged in order.

All reports of a connection share one sequence per boot. `oldest` is the lowest sequence that the
device still holds: whatever is lower was acknowledged or dropped, and the controller does not
wait for it.
"""

from enum import IntEnum

from wherry_protocol.codec import (
    Bool,
    Mapping,
    Nested,
    Open,
    Sequence,
    Text,
    Uint,
    field,
    instruction,
    observation,
    part,
)
from wherry_protocol.errors import Code
from wherry_protocol.messages.limits import BootId, Digest, Micros, UnixSeconds
from wherry_protocol.names import ConnectionName, ModelName, OrgName, UnitName
from wherry_protocol.senml import Record

RECORDS_MAX = 512  # per pack


@part
class Origin:
    """Who reports, when, and where in its sequence. `time_s` is None while the clock is unknown."""

    org: str = field(1, OrgName)
    connection: str = field(2, ConnectionName)
    unit: str = field(3, UnitName)
    boot_id: bytes = field(4, BootId)
    sequence: int = field(5, Uint())
    oldest: int = field(6, Uint())
    monotonic_us: int = field(7, Micros)
    time_s: int | None = field(8, UnixSeconds, default=None)


@observation("wherry-telemetry")
class Telemetry:
    """A SenML pack with its origin."""

    origin: Origin = field(1, Nested(Origin))
    pack: tuple[Record, ...] = field(2, Sequence(Nested(Record), RECORDS_MAX))


class Severity(IntEnum):
    DEBUG = 0
    INFO = 1
    WARNING = 2
    ERROR = 3
    CRITICAL = 4


class Kind(IntEnum):
    """What an event tells."""

    LOG = 0
    STARTED = 1
    STOPPING = 2
    ASSIGNED = 3
    FETCHED = 4
    REJECTED = 5
    SWAPPED = 6
    CONFIRMED = 7
    REVERTED = 8
    REFUSED = 9  # a message that was not believed or not allowed
    BREAKER = 10
    STORAGE = 11
    TRUST = 12
    UNIT = 13  # a unit behind a gateway came or went


@observation("wherry-event")
class Event:
    """One structured event or log record. `suppressed` counts like ones that were not sent."""

    origin: Origin = field(1, Nested(Origin))
    kind: Kind = field(2, Open(Kind))
    severity: Severity = field(3, Open(Severity))
    code: Code = field(4, Open(Code), default=Code.OK)
    text: str = field(5, Text(512), default="")
    model: str | None = field(6, ModelName, default=None)
    manifest_digest: bytes | None = field(7, Digest, default=None)
    suppressed: int = field(8, Uint(), default=0)
    fields: dict[str, str] = field(9, Mapping(Text(32), Text(128), 16), default={})


@observation("wherry-presence")
class Presence:
    """Online or offline. A will of an older connection number is ignored."""

    org: str = field(1, OrgName)
    connection: str = field(2, ConnectionName)
    connection_number: int = field(3, Uint())
    is_online: bool = field(4, Bool())


@instruction("wherry-ack")
class Ack:
    """Everything of `boot_id` up to `sequence` is committed: the spool may let it go."""

    org: str = field(1, OrgName)
    connection: str = field(2, ConnectionName)
    boot_id: bytes = field(3, BootId)
    sequence: int = field(4, Uint())
