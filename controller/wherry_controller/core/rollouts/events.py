"""What a rollout is told. Commands name their operator and reason; times come with `decide`."""

from dataclasses import dataclass
from typing import Final

from wherry_protocol.codec import Unknown
from wherry_protocol.errors import Code
from wherry_protocol.frozen import quick
from wherry_protocol.messages.reported import Outcome, Phase

from wherry_controller.core.gates.pools import Figures
from wherry_controller.core.gates.shadowing import ShadowFigures


@dataclass(frozen=True, slots=True)
class Approve:
    operator: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    operator: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """By an operator, by an emergency stop, or by the standing guard (`operator` says who)."""

    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on; silence that is known by now is accepted and pauses no more."""

    operator: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Abort:
    """Stop the spread: what has swapped stays."""

    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class Revert:
    """Send every touched device back to what it ran before."""

    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class Widen:
    """Raise the subset to `share_bp` basis points and go on."""

    operator: str
    share_bp: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Advance:
    """Open the next stage without waiting for soak and gate; a known breach still reverts."""

    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class Switch:
    """Let `to_slot` serve where `from_slot` does, by compare-and-swap on `from_slot`."""

    operator: str
    from_slot: str
    to_slot: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Decommission:
    """Unload what does not serve any more; `is_purged`: its bytes too."""

    operator: str
    reason: str = ""
    is_purged: bool = False


@dataclass(frozen=True, slots=True)
class Assigned:
    """An Assign or SendBack effect was carried out and persisted.

    `before` is the digest of what the unit serves at that moment (None: nothing), `history` its
    own figures on that version, the comparison of last resort.
    """

    unit: str
    assignment_id: bytes
    before: bytes | None = None
    history: Figures | None = None


@dataclass(frozen=True, slots=True)
class PassedOver:
    """An Assign or SendBack was not, or no longer, in force: preempted, isolated, unfit.

    `is_failure`: the new version was taken off because it was bad there (the standing guard's
    rollback); the member counts as reverted and not as skipped. `is_taken`: another assignment has
    replaced ours.
    """

    unit: str
    reason: str
    is_failure: bool = False
    is_isolated: bool = False  # what it was assigned stays, and waits for its release
    is_taken: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """Before the start: a unit is brought these bundles first, one after the other."""

    unit: str
    first: tuple[bytes, ...]


@quick
@dataclass(frozen=True, slots=True)
class Observed:
    """What a unit's `reported` says of this model."""

    unit: str
    assignment_id: bytes | None
    phase: Phase | Unknown
    outcome: Outcome | Unknown
    running: bytes | None  # manifest digest of the active slot
    good_inferences: int = 0
    code: Code | Unknown = Code.OK
    reason: str = ""
    candidate: bytes | None = None  # manifest digest of the candidate that stands


@dataclass(frozen=True, slots=True)
class Presence:
    unit: str
    is_online: bool


@dataclass(frozen=True, slots=True)
class Performance:
    """One window of figures of one unit on one version of this model (any unit: also controls)."""

    unit: str
    hardware_class: str
    digest: bytes
    figures: Figures
    ended_s: float  # fleet time of the window's end


@dataclass(frozen=True, slots=True)
class Crashed:
    """The agent's process or the engine died while `digest` served."""

    unit: str
    hardware_class: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Memory:
    """Used and allowed bytes of a unit."""

    unit: str
    used_bytes: int
    budget_bytes: int


@dataclass(frozen=True, slots=True)
class Shadowed:
    """What a unit's shadow showed in one interval."""

    unit: str
    digest: bytes
    figures: ShadowFigures


@dataclass(frozen=True, slots=True)
class Metric:
    """Somebody pushed a custom figure, for these units (None: for all that the rollout is)."""

    name: str
    value: float
    units: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """The controller's own link to its broker; while it is down nobody is silent."""

    is_up: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passes. The control group (same classes, not on the new version): its size, and how
    many of it were not heard of within `silent_after_s`."""

    control_units: int = 0
    control_silent: int = 0


Command = (
    Approve | Start | Pause | Resume | Abort | Revert | Widen | Advance | Switch | Decommission
)
Observation = (
    Assigned
    | PassedOver
    | Prepared
    | Observed
    | Presence
    | Performance
    | Crashed
    | Memory
    | Metric
    | Shadowed
    | LinkChanged
    | Tick
)
Event = Command | Observation

COMMANDS: Final[tuple[type, ...]] = (
    Approve, Start, Pause, Resume, Abort, Revert, Widen, Advance, Switch, Decommission,
)  # fmt: skip
OBSERVATIONS: Final[tuple[type, ...]] = (
    Assigned,
    PassedOver,
    Prepared,
    Observed,
    Presence,
    Performance,
    Crashed,
    Memory,
    Metric,
    Shadowed,
    LinkChanged,
    Tick,
)
EVENTS: Final[tuple[type, ...]] = (*COMMANDS, *OBSERVATIONS)
