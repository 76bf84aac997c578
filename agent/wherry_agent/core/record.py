"""What the agent remembers across power cuts: one small CBOR file, the agent record.

Rules:
1. A slot names its bundle by manifest digest; the bytes lie in the blob store and are hashed
   again before they are mapped, so that a record alone never makes anything run.
2. A revision, stop sequence and time floor in here were accepted under the newest root's
   director epoch; a root with a new epoch resets them.
3. The format has a number; a program refuses a newer one by name instead of guessing.

    encode_record(AgentRecord(format_version=2, boot_count=1, roots=(root,)))
"""

from hashlib import sha256
from typing import Final

from wherry_protocol.codec import (
    Bool,
    Closed,
    Int,
    Nested,
    Octets,
    Sequence,
    Uint,
    decode,
    encode,
    field,
    instruction,
    loads,
    part,
)
from wherry_protocol.errors import Code, DecodeError
from wherry_protocol.messages.desired import SAMPLES_ALL_BP, Mode, TrialLimits
from wherry_protocol.messages.limits import ASSIGNMENTS_MAX, Digest, Reason, UnixSeconds
from wherry_protocol.messages.reported import Outcome
from wherry_protocol.names import ModelName, SemverText, UnitName

FORMAT_VERSION: Final = 2
FORMAT_VERSION_OLDEST: Final = 1  # what it lacks has its default
PENALTIES_MAX: Final = 64
UNITS_MAX: Final = 32
CHECKSUM_BYTES: Final = 32


@part
class Slot:
    """A bundle that has its place on the device. `deadline_us` 0: no deadline.

    `good_inferences` is what it had proven when its trial confirmed it; 0: not confirmed yet.
    """

    manifest_digest: bytes = field(1, Digest)
    version: str = field(2, SemverText)
    deadline_us: int = field(3, Uint(), default=0)
    good_inferences: int = field(4, Uint(), default=0)


@part
class TrialRecord:
    """A trial that has not ended: its limits, and how many starts it has outlived."""

    limits: TrialLimits = field(1, Nested(TrialLimits))
    start_count: int = field(2, Uint(), default=0)


@part
class ModelRecord:
    """One model's slots, and how the assignment `assignment_id` ended (NONE: not yet).

    `is_previous_released`: it is not kept in memory. `shadow_start_count`: starts with a shadow
    that has not run on one input yet.
    """

    model: str = field(1, ModelName)
    active: Slot | None = field(2, Nested(Slot), default=None)
    previous: Slot | None = field(3, Nested(Slot), default=None)
    candidate: Slot | None = field(4, Nested(Slot), default=None)
    assignment_id: bytes | None = field(5, Digest, default=None)
    outcome: Outcome = field(6, Closed(Outcome), default=Outcome.NONE)
    code: Code = field(7, Closed(Code), default=Code.OK)
    reason: str = field(8, Reason, default="")
    trial: TrialRecord | None = field(9, Nested(TrialRecord), default=None)
    floor: str = field(10, SemverText, default="0.0.0")
    mode: Mode = field(11, Closed(Mode), default=Mode.ACTIVE)
    is_previous_released: bool = field(12, Bool(), default=False)
    shadow_sample_bp: int = field(13, Uint(SAMPLES_ALL_BP), default=SAMPLES_ALL_BP)
    shadow_start_count: int = field(14, Uint(), default=0)


@part
class Penalty:
    """A bundle that failed `failure_count` times and may be tried again at `until_s`."""

    manifest_digest: bytes = field(1, Digest)
    failure_count: int = field(2, Uint(1 << 16))
    until_s: int = field(3, UnixSeconds)


@part
class UnitRecord:
    """One unit: the last accepted desired document, its models and its penalties.

    Until `deferred_s` its owner has put swaps off.
    """

    unit: str = field(1, UnitName)
    revision: int = field(2, Uint(), default=0)
    desired_digest: bytes | None = field(3, Digest, default=None)
    is_isolated: bool = field(4, Bool(), default=False)
    models: tuple[ModelRecord, ...] = field(
        5, Sequence(Nested(ModelRecord), ASSIGNMENTS_MAX), default=()
    )
    penalties: tuple[Penalty, ...] = field(6, Sequence(Nested(Penalty), PENALTIES_MAX), default=())
    deferred_s: int = field(7, UnixSeconds, default=0)


@instruction("wherry-agent-record")
class AgentRecord:
    """The whole memory of one agent."""

    format_version: int = field(1, Int(FORMAT_VERSION_OLDEST, FORMAT_VERSION))
    boot_count: int = field(2, Uint())
    roots: tuple[bytes, ...] = field(3, Sequence(Octets(65536, 1), 64))
    stop_sequence: int = field(4, Uint(), default=0)
    is_stopped: bool = field(5, Bool(), default=False)
    time_floor_s: int = field(6, UnixSeconds, default=0)
    units: tuple[UnitRecord, ...] = field(7, Sequence(Nested(UnitRecord), UNITS_MAX), default=())


def first_record(roots: tuple[bytes, ...]) -> AgentRecord:
    """What a device that was just enrolled remembers."""
    return AgentRecord(format_version=FORMAT_VERSION, boot_count=0, roots=roots)


def encode_record(record: AgentRecord) -> bytes:
    """SHA-256 of the body, then the body: a damaged file is known as damaged."""
    body = encode(record)
    return sha256(body).digest() + body


def decode_record(data: bytes) -> AgentRecord:
    """Raises DecodeError(UNSUPPORTED_FORMAT) for a newer format, DecodeError for damage."""
    checksum, body = data[:CHECKSUM_BYTES], data[CHECKSUM_BYTES:]
    if sha256(body).digest() != checksum:
        raise DecodeError("agent record: its checksum does not fit its content")
    raw = loads(body, what="agent record")
    found = raw.get(1) if isinstance(raw, dict) else None
    if isinstance(found, int) and found > FORMAT_VERSION:
        raise DecodeError(
            f"agent record: format {found}, this agent reads up to {FORMAT_VERSION}; "
            "install the newer agent again",
            Code.UNSUPPORTED_FORMAT,
        )
    return decode(AgentRecord, body)


def unit_record(record: AgentRecord, unit: str) -> UnitRecord:
    """The unit's record, or a fresh one."""
    found = [one for one in record.units if one.unit == unit]
    return found[0] if found else UnitRecord(unit=unit)


def kept_manifests(record: AgentRecord) -> frozenset[bytes]:
    """The manifest digests of all occupied slots: what must stay on disk."""
    slots = (
        slot
        for unit in record.units
        for model in unit.models
        for slot in (model.active, model.previous, model.candidate)
    )
    return frozenset(slot.manifest_digest for slot in slots if slot is not None)
