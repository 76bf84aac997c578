"""What a rollout asks the shell to do. Values only; each is carried out after its state is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wherry_protocol.messages.desired import Mode, SwapWindow, TrialLimits


@dataclass(frozen=True, slots=True)
class Assign:
    """Give the unit an assignment, by compare-and-swap; answer with Assigned or PassedOver."""

    rollout_id: str
    unit: str
    model: str
    digest: bytes
    mode: Mode
    trial: TrialLimits
    attempt: int
    deadline_us: int
    sampling_bp: int = 10_000  # of the inputs, where it runs as a shadow
    window: SwapWindow | None = None  # when it may begin to serve


@dataclass(frozen=True, slots=True)
class SendBack:
    """Assign what the unit ran before, under a higher revision; answer as to Assign.

    `to_digest` None: it ran nothing, so the assignment is taken out of its desired state.
    `is_failure`: the bundle that it leaves is bad, remember that; an abort says nothing of it.
    `expected_id` is this rollout's assignment; if another is in force, somebody preempted it.
    """

    rollout_id: str
    unit: str
    model: str
    to_digest: bytes | None
    expected_id: bytes | None
    trial: TrialLimits
    reason: str
    is_failure: bool


@dataclass(frozen=True, slots=True)
class Release:
    """The unit may unload this bundle, which does not serve; `is_purged`: its bytes too."""

    rollout_id: str
    unit: str
    model: str
    digest: bytes
    is_purged: bool


@dataclass(frozen=True, slots=True)
class Audit:
    """One row of the audit log: who, what, why, and the figures behind it (JSON values)."""

    rollout_id: str
    who: str
    action: str
    why: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell people. `severity` is info, warning or critical; `key` is one matter, told once."""

    rollout_id: str
    severity: str
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The rollout ended as `state`; `report` holds counts and the names that matter."""

    rollout_id: str
    state: str
    report: Mapping[str, Any]


Effect = Assign | SendBack | Release | Audit | Notify | Finished
Effects = list[Effect]
