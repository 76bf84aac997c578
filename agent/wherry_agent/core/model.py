"""One model on one unit: its state, what may happen to it, and what must be there in a phase.

The rules that lead from state to state are in `update`.
"""

from dataclasses import dataclass
from typing import Final

from wherry_protocol.errors import Code
from wherry_protocol.frozen import quick
from wherry_protocol.manifest import Manifest
from wherry_protocol.messages.desired import Assignment
from wherry_protocol.messages.observed import Kind, Severity
from wherry_protocol.messages.reported import Phase
from wherry_protocol.names import SELF
from wherry_protocol.trust import TrustState

from wherry_agent.core.acceptance import Fit
from wherry_agent.core.effects import (
    Effect,
    Tell,
)
from wherry_agent.core.inputs import (
    Input,
)
from wherry_agent.core.record import ModelRecord, Slot
from wherry_agent.core.trial import Trial
from wherry_agent.core.window import UNKNOWN, When

UNDER_WAY: Final = (Phase.FETCHING, Phase.VERIFYING, Phase.STAGED, Phase.SELF_TESTING)
REASON_MAX: Final = 256
NOT_THE_BUNDLE: Final = frozenset({Code.STORAGE, Code.DEVICE_LINK, Code.OVERLOADED})


# --- inputs that only the agent's own core makes


@quick
@dataclass(frozen=True, slots=True)
class Assigned(Input):
    """A desired document names this assignment, and nothing forbids starting it now."""

    assignment: Assignment


@dataclass(frozen=True, slots=True)
class Dropped(Input):
    """What was under way is not wanted any more (a newer assignment, a stop, isolation)."""

    code: Code
    text: str


@quick
@dataclass(frozen=True, slots=True)
class Released(Input):
    """The controller needs this bundle here no more; `is_purged`: nor its bytes."""

    bundle: bytes
    is_purged: bool


@quick
@dataclass(frozen=True, slots=True)
class MemoryNeeded(Input):
    """The memory that this way back holds is needed for what serves (core/memory.py)."""

    bundle: bytes


@dataclass(frozen=True, slots=True)
class ManifestArrived(Input):
    """The manifest's bytes, whole; `lacking_bytes` and `free_bytes` come with the next survey."""

    digest: bytes
    data: bytes


@quick
@dataclass(frozen=True, slots=True)
class BlobsSurveyed(Input):
    """What of the bundle lies on disk already, before the rest is fetched."""

    digest: bytes
    lacking_bytes: int
    free_bytes: int


@quick
@dataclass(frozen=True, slots=True)
class BlobsArrived(Input):
    """Every chunk of every blob was received and verified."""

    digest: bytes


@quick
@dataclass(frozen=True, slots=True)
class BlobsFinished(Input):
    """Every blob was hashed on disk and is durable."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class TransferFailed(Input):
    """The transfer ended without the bytes; the bundle itself is not to blame."""

    code: Code
    text: str


@quick
@dataclass(frozen=True, slots=True)
class Failing(Input):
    """The confirmed bundle has failed for too long (core/sustained.py)."""

    bundle: bytes
    text: str


@quick
@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a transition may know beside its state."""

    unit: str
    trust: TrustState
    fit: Fit
    now_us: int
    serving: Manifest | None  # the manifest of the active bundle
    previous: Manifest | None = None  # and of the one before it
    candidate: Manifest | None = None  # and of the one that stands ready
    when: When = UNKNOWN

    @property
    def has_two_slots(self) -> bool:
        """A microcontroller: it holds one image beside the one that runs, and runs no two."""
        return self.unit != SELF


@quick
@dataclass(frozen=True, slots=True)
class ModelState:
    """One model on one unit. `record` is what is (or is about to be) on disk."""

    record: ModelRecord
    phase: Phase = Phase.IDLE
    assignment: Assignment | None = None  # under way, or in trial
    manifest: Manifest | None = None  # of what is under way
    trial: Trial | None = None
    waits_for_window: bool = False  # staged, and all but the swap is done
    gives_back: Failing | None = None  # once its way back, which is being loaded, could be

    @property
    def model(self) -> str:
        return self.record.model

    @property
    def digest(self) -> bytes | None:
        """The manifest digest of what is under way; of what serves if nothing is."""
        if self.assignment is None or self.phase is Phase.TRIAL:
            return self.record.active.manifest_digest if self.record.active else None
        return self.assignment.manifest_digest


Result = tuple[ModelState, tuple[Effect, ...]]


# --- what must be there in a phase


def assignment_of(state: ModelState) -> Assignment:
    if state.assignment is None:
        raise RuntimeError(f"{state.model}: no assignment in phase {state.phase.name}")
    return state.assignment


def manifest_of(state: ModelState) -> Manifest:
    if state.manifest is None:
        raise RuntimeError(f"{state.model}: no manifest in phase {state.phase.name}")
    return state.manifest


def trial_of(state: ModelState) -> Trial:
    if state.trial is None:
        raise RuntimeError(f"{state.model}: no trial in phase {state.phase.name}")
    return state.trial


def active_of(state: ModelState) -> Slot:
    if state.record.active is None:
        raise RuntimeError(f"{state.model}: no active slot in phase {state.phase.name}")
    return state.record.active


def slot_of(state: ModelState) -> Slot:
    """The slot that the assignment fills."""
    assignment = assignment_of(state)
    return Slot(
        manifest_digest=assignment.manifest_digest,
        version=manifest_of(state).version,
        deadline_us=assignment.deadline_us,
    )


def tell_of(
    state: ModelState, kind: Kind, severity: Severity, text: str, code: Code = Code.OK
) -> Tell:
    return Tell(kind, severity, text, code, state.model, state.digest)
