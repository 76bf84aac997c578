"""What the core asks of its shell. Effects are executed in order; see `shell.runtime`.

Rules for whoever executes them:
1. In order: what follows a `Persist` happens only after the record is durable. If it cannot be
   made durable, `agent.roll_back` says what of the rest is done, and `inputs.PersistFailed` tells
   the core.
2. Effects on a unit (`LoadCandidate` … `Isolate`) may run elsewhere and answer with an input.
3. No effect may be executed that the core did not return.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wherry_protocol.errors import Code
from wherry_protocol.frozen import quick
from wherry_protocol.manifest import Manifest
from wherry_protocol.messages.desired import Assignment, TelemetryConfig
from wherry_protocol.messages.observed import Kind, Severity

from wherry_agent.core.record import AgentRecord, Slot

if TYPE_CHECKING:
    from wherry_agent.core.state import Agent


class Effect:
    """Something the shell does."""

    __slots__ = ()


# --- the disk


@quick
@dataclass(frozen=True, slots=True)
class Persist(Effect):
    """Replace the agent record, durably, before anything that follows.

    `agent` is the state that the record tells of: where a later `Persist` of the same step fails,
    the agent goes back to it and no further.
    """

    record: AgentRecord
    agent: "Agent | None" = field(default=None, compare=False, repr=False)


@quick
@dataclass(frozen=True, slots=True)
class Wanted:
    """One blob that an install needs: digest and exact size."""

    digest: bytes
    size_bytes: int


@quick
@dataclass(frozen=True, slots=True)
class Survey(Effect):
    """Look what of these blobs is on disk already; answered by `inputs.Surveyed`.

    `is_content_wanted` asks for the content of the (small) blobs that are whole: manifests.
    """

    blobs: tuple[Wanted, ...]
    is_content_wanted: bool = False


@quick
@dataclass(frozen=True, slots=True)
class KeepChunk(Effect):
    """Write a verified chunk of a blob of `size_bytes` to its place."""

    digest: bytes
    size_bytes: int
    index: int
    data: bytes


@quick
@dataclass(frozen=True, slots=True)
class KeepBlob(Effect):
    """Write a whole small blob durably (a manifest whose signatures held)."""

    digest: bytes
    data: bytes


@quick
@dataclass(frozen=True, slots=True)
class FinishBlob(Effect):
    """Every chunk is there: hash the whole, make it durable; answered by `BlobFinished`."""

    digest: bytes
    size_bytes: int


@quick
@dataclass(frozen=True, slots=True)
class Collect(Effect):
    """Remove every blob and image that none of these manifests needs."""

    manifests: frozenset[bytes]


# --- units


@dataclass(frozen=True, slots=True)
class OnUnit(Effect):
    """An effect on one model of one unit."""

    unit: str
    model: str


@quick
@dataclass(frozen=True, slots=True)
class Assemble(OnUnit):
    """Join the program, hash it; answered by `Assembled` or `StepFailed`."""

    manifest_digest: bytes
    manifest: Manifest


@quick
@dataclass(frozen=True, slots=True)
class LoadCandidate(OnUnit):
    """Map and load a bundle beside the one that serves; answered by `Loaded` or `StepFailed`."""

    slot: Slot
    manifest: Manifest
    assignment: Assignment | None  # its image signatures, for a microcontroller


@quick
@dataclass(frozen=True, slots=True)
class SelfTest(OnUnit):
    """Run the golden vectors on a loaded bundle; answered by `SelfTested` or `StepFailed`."""

    manifest_digest: bytes


@quick
@dataclass(frozen=True, slots=True)
class Swap(OnUnit):
    """One pointer: let this loaded bundle serve (None: nothing); between two inferences."""

    manifest_digest: bytes | None


@quick
@dataclass(frozen=True, slots=True)
class WatchTrial(OnUnit):
    """Count from now on; the shell answers with `Figures` until `UnwatchTrial`."""

    manifest_digest: bytes


@dataclass(frozen=True, slots=True)
class UnwatchTrial(OnUnit):
    """The trial has ended."""


@dataclass(frozen=True, slots=True)
class MakePermanent(OnUnit):
    """The trial was confirmed: let go of everything but the active bundle and the one kept.

    `kept`: the way back stays loaded, one pointer away.
    """

    manifest_digest: bytes
    kept: bytes | None = None


@dataclass(frozen=True, slots=True)
class Release(OnUnit):
    """Unload a bundle that does not serve."""

    manifest_digest: bytes


@dataclass(frozen=True, slots=True)
class Shadow(OnUnit):
    """Run a loaded bundle after the active one on so many of 10,000 inputs; None: no longer."""

    manifest_digest: bytes | None
    sample_bp: int = 0


@dataclass(frozen=True, slots=True)
class Divert(OnUnit):
    """Let another bundle answer for the active one, or end that; answered by `Diverted`.

    `fallback` is loaded (or tried to be) by then; None: the safe output or an error answers.
    """

    manifest_digest: bytes  # of the active bundle; about another one this is late
    is_diverted: bool
    fallback: bytes | None


@dataclass(frozen=True, slots=True)
class Isolate(Effect):
    """Serve safe outputs only, or let the models serve again."""

    unit: str
    is_isolated: bool


@dataclass(frozen=True, slots=True)
class Configure(Effect):
    """How often the unit's figures are sampled and sent."""

    unit: str
    telemetry: TelemetryConfig


@dataclass(frozen=True, slots=True)
class Ask(Effect):
    """An rpc that a unit must answer (infer, verify, status, logs); answered by `Answered`."""

    unit: str
    request_id: bytes
    verb: int
    body: bytes


@quick
@dataclass(frozen=True, slots=True)
class Say(Effect):
    """A line for the local log."""

    severity: Severity
    text: str
    unit: str


# --- the network


@quick
@dataclass(frozen=True, slots=True)
class Publish(Effect):
    """Send now, QoS 1; dropped when not connected, since the core sends again on `Connected`."""

    topic: str
    payload: bytes
    is_retained: bool = False


@dataclass(frozen=True, slots=True)
class PublishOnce(Effect):
    """Send now, QoS 0: nobody waits for it, nobody sends it again."""

    topic: str
    payload: bytes


@quick
@dataclass(frozen=True, slots=True)
class Subscribe(Effect):
    """Subscribe with QoS 1; retained messages come again each time."""

    topics: tuple[str, ...]


@quick
@dataclass(frozen=True, slots=True)
class Unsubscribe(Effect):
    topics: tuple[str, ...]


# --- the report spool


@dataclass(frozen=True, slots=True)
class SpoolWrite(Effect):
    """Make a segment of unacknowledged reports durable."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class SpoolRead(Effect):
    """Read a segment again, to send it; answered by `inputs.SegmentRead`."""

    name: str


@dataclass(frozen=True, slots=True)
class SpoolDrop(Effect):
    name: str


# --- intents: what a small machine asks of the agent around it; never reach the shell


class Intent(Effect):
    """Resolved inside the core."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Remember(Intent):
    """Persist the agent as it is after this transition."""


@quick
@dataclass(frozen=True, slots=True)
class Fetch(Intent):
    """Get these blobs for the model; `is_manifest` keeps the one blob in memory."""

    model: str
    blobs: tuple[Wanted, ...]
    is_manifest: bool


@dataclass(frozen=True, slots=True)
class StopFetching(Intent):
    model: str


@dataclass(frozen=True, slots=True)
class Punish(Intent):
    """A bundle failed: its next try has to wait."""

    manifest_digest: bytes


@dataclass(frozen=True, slots=True)
class Forgive(Intent):
    """A bundle was confirmed: its failures are forgotten."""

    manifest_digest: bytes


@quick
@dataclass(frozen=True, slots=True)
class Tell(Intent):
    """Queue an event for the controller and the local log."""

    kind: Kind
    severity: Severity
    text: str
    code: Code = Code.OK
    model: str | None = None
    manifest_digest: bytes | None = None
