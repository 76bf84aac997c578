"""What a unit says it is: retained, signed by the device, sent on change."""

from enum import IntEnum

from wherry_protocol.codec import (
    Bool,
    Int,
    Nested,
    Open,
    Sequence,
    Text,
    Uint,
    field,
    observation,
    part,
)
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import Mode
from wherry_protocol.messages.limits import (
    ASSIGNMENTS_MAX,
    BootId,
    Digest,
    Micros,
    Nonce,
    Reason,
    UnixSeconds,
)
from wherry_protocol.names import (
    ClassName,
    ConnectionName,
    ModelName,
    OrgName,
    SemverText,
    UnitName,
)

MISSING_CHUNKS_MAX = 64  # per blob and report; the next report names the next ones


class Phase(IntEnum):
    """Where a model stands on its way (DESIGN §6)."""

    IDLE = 0
    FETCHING = 1
    VERIFYING = 2
    STAGED = 3
    SELF_TESTING = 4
    TRIAL = 5


class Outcome(IntEnum):
    """How the last assignment ended; NONE while it has not."""

    NONE = 0
    CONFIRMED = 1
    REJECTED = 2
    REVERTED = 3
    READY = 4  # a warm or shadow candidate stands


@part
class SlotReport:
    """One occupied slot."""

    manifest_digest: bytes = field(1, Digest)
    version: str = field(2, SemverText)


@part
class ModelReport:
    """One model on the unit. `assignment_id` is what `phase`, `outcome` and `code` speak of.

    `candidate_mode` is there with a candidate that is ready: warm or shadow.
    `is_previous_loaded`: one pointer leads back.
    """

    model: str = field(1, ModelName)
    phase: Phase = field(2, Open(Phase))
    outcome: Outcome = field(3, Open(Outcome))
    assignment_id: bytes | None = field(4, Digest, default=None)
    active: SlotReport | None = field(5, Nested(SlotReport), default=None)
    previous: SlotReport | None = field(6, Nested(SlotReport), default=None)
    candidate: SlotReport | None = field(7, Nested(SlotReport), default=None)
    code: Code = field(8, Open(Code), default=Code.OK)
    reason: str = field(9, Reason, default="")
    progress_permille: int = field(10, Uint(1000), default=0)
    good_inferences: int = field(11, Uint(), default=0)
    start_count: int = field(12, Uint(), default=0)
    candidate_mode: Mode | None = field(13, Open(Mode), default=None)
    is_previous_loaded: bool = field(14, Bool(), default=False)


@part
class MissingChunks:
    """What a stalled unit lacks of one blob (manifests are blobs too)."""

    digest: bytes = field(1, Digest)
    chunks: tuple[int, ...] = field(2, Sequence(Uint(1 << 20), MISSING_CHUNKS_MAX))


@observation("wherry-reported")
class Reported:
    """One unit's state. (`boot_count`, `sequence`) only rises, so that an old one is known as old.

    `nonce` is there until the director has answered it with the time; `time_s` after that.
    `refusal_code` tells why the last desired document (`refused_revision`) was refused whole.
    """

    org: str = field(1, OrgName)
    connection: str = field(2, ConnectionName)
    unit: str = field(3, UnitName)
    boot_id: bytes = field(4, BootId)
    boot_count: int = field(5, Uint())
    sequence: int = field(6, Uint())
    monotonic_us: int = field(7, Micros)
    time_s: int | None = field(8, UnixSeconds, default=None)
    epoch: int = field(9, Uint())
    revision: int = field(10, Uint())
    root_number: int = field(11, Uint())
    models: tuple[ModelReport, ...] = field(12, Sequence(Nested(ModelReport), ASSIGNMENTS_MAX))
    missing: tuple[MissingChunks, ...] = field(13, Sequence(Nested(MissingChunks), 16), default=())
    nonce: bytes | None = field(14, Nonce, default=None)
    agent_version: str = field(15, Text(32))
    engine_abi_min: int = field(16, Uint(65535))
    engine_abi_max: int = field(17, Uint(65535))
    protocol_min: int = field(18, Int(1, 65535))
    protocol_max: int = field(19, Int(1, 65535))
    hardware_class: str = field(20, ClassName)
    refusal_code: Code = field(21, Open(Code), default=Code.OK)
    refusal: str = field(22, Reason, default="")
    refused_revision: int = field(23, Uint(), default=0)
    storage_free_bytes: int | None = field(24, Uint(), default=None)
    is_isolated: bool = field(25, Bool(), default=False)
    stop_sequence: int = field(26, Uint(), default=0)
    is_trust_stale: bool = field(27, Bool(), default=False)
    reports_dropped: int = field(28, Uint(), default=0)
