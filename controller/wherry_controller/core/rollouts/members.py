"""One device in a rollout: the table of its phases, and of its way back.

Rules:
1. A phase that has ended never changes, whatever arrives later; it is only recorded as late.
2. While in flight a device may be seen in any order (reports are lost, power is cut).
3. Success is proved (`decide` checks running digest and good inferences before PROVED).
4. The way back is a second table, so that what happened in the rollout stays on record. Whoever
   was named as not back and proves that it is counts as back, as long as others are waited for.
5. HELD is no end: what failed for a passing reason is offered again, and so is what is brought
   after what had to be run first.
6. READY is no end: the candidate stands, and a later stage may offer again.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from wherry_controller.core.plans.stages import Action


class _Named(Enum):
    """Its members stand in tables that every event is looked up in: by identity, not by name."""

    __hash__ = object.__hash__


class MemberPhase(_Named):
    """Where a device stands in the rollout."""

    PENDING = "pending"
    OFFERED = "offered"
    FETCHING = "fetching"
    STAGED = "staged"
    TRIAL = "trial"
    HELD = "held"  # it is offered again: it failed for a passing reason, or has more to run
    READY = "ready"  # a warm or shadow candidate stands
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    REVERTED = "reverted"
    SILENT = "silent"
    SKIPPED = "skipped"


class Signal(_Named):
    """What can happen to a member."""

    OFFER = "offer"
    FETCHES = "fetches"
    STAGES = "stages"
    TRIES = "tries"
    READIES = "readies"
    PROVED = "proved"
    REJECTS = "rejects"
    REVERTS = "reverts"
    DEADLINE = "deadline"
    PASSED_OVER = "passed over"
    HOLDS = "holds"


IN_FLIGHT: Final = frozenset(
    {MemberPhase.OFFERED, MemberPhase.FETCHING, MemberPhase.STAGED, MemberPhase.TRIAL}
)
ENDED: Final = (
    frozenset(MemberPhase)
    - IN_FLIGHT
    - {
        MemberPhase.PENDING,
        MemberPhase.HELD,
        MemberPhase.READY,
    }
)
FAILED: Final = frozenset({MemberPhase.REJECTED, MemberPhase.REVERTED})

_SEEN: Final = {
    Signal.FETCHES: MemberPhase.FETCHING,
    Signal.STAGES: MemberPhase.STAGED,
    Signal.TRIES: MemberPhase.TRIAL,
    Signal.READIES: MemberPhase.READY,
    Signal.PROVED: MemberPhase.CONFIRMED,
    Signal.REJECTS: MemberPhase.REJECTED,
    Signal.REVERTS: MemberPhase.REVERTED,
    Signal.DEADLINE: MemberPhase.SILENT,
    Signal.PASSED_OVER: MemberPhase.SKIPPED,
    Signal.HOLDS: MemberPhase.HELD,
}

# (phase, signal) -> next phase
MEMBER_TRANSITIONS: Final[dict[tuple[MemberPhase, Signal], MemberPhase]] = {
    **{(MemberPhase.PENDING, signal): MemberPhase.PENDING for signal in Signal},
    (MemberPhase.PENDING, Signal.OFFER): MemberPhase.OFFERED,
    (MemberPhase.PENDING, Signal.PASSED_OVER): MemberPhase.SKIPPED,
    **{(phase, Signal.OFFER): phase for phase in IN_FLIGHT},
    **{(phase, signal): seen for phase in IN_FLIGHT for signal, seen in _SEEN.items()},
    **{(MemberPhase.HELD, signal): MemberPhase.HELD for signal in Signal},
    (MemberPhase.HELD, Signal.OFFER): MemberPhase.OFFERED,
    (MemberPhase.HELD, Signal.PASSED_OVER): MemberPhase.SKIPPED,
    **{(MemberPhase.READY, signal): MemberPhase.READY for signal in Signal},
    (MemberPhase.READY, Signal.OFFER): MemberPhase.OFFERED,
    (MemberPhase.READY, Signal.REJECTS): MemberPhase.REJECTED,
    (MemberPhase.READY, Signal.REVERTS): MemberPhase.REVERTED,
    (MemberPhase.READY, Signal.PASSED_OVER): MemberPhase.SKIPPED,
    **{(phase, signal): phase for phase in ENDED for signal in Signal},
}


class Return(_Named):
    """Where a device stands on its way back to what it ran before."""

    NONE = "none"
    QUEUED = "queued"
    SENT = "sent"
    BACK = "back"
    LOST = "lost"


class ReturnSignal(_Named):
    """What can happen on the way back."""

    QUEUE = "queue"
    SEND = "send"
    PROVED = "proved"
    LATE = "late"  # proved after it was named, while others are still waited for
    FAILED = "failed"


RETURN_ENDED: Final = frozenset({Return.BACK, Return.LOST})

RETURN_TRANSITIONS: Final[dict[tuple[Return, ReturnSignal], Return]] = {
    **{(state, signal): state for state in Return for signal in ReturnSignal},
    (Return.NONE, ReturnSignal.QUEUE): Return.QUEUED,
    (Return.QUEUED, ReturnSignal.SEND): Return.SENT,
    (Return.QUEUED, ReturnSignal.FAILED): Return.LOST,
    (Return.SENT, ReturnSignal.PROVED): Return.BACK,
    (Return.SENT, ReturnSignal.FAILED): Return.LOST,
    (Return.LOST, ReturnSignal.LATE): Return.BACK,
}


@dataclass(slots=True)
class Member:
    """One unit's place in one rollout. Mutable: it belongs to one Rollout and only to it.

    `before` is the manifest digest that it ran when it was assigned (None: nothing, or not
    known yet). `deadline_s` is on the link clock, `return_deadline_s` too.
    """

    index: int
    unit: str
    hardware_class: str
    phase: MemberPhase = MemberPhase.PENDING
    reason: str = ""
    code: int = 0
    before: bytes | None = None
    assignment_id: bytes | None = None
    deadline_s: float | None = None
    is_online: bool = True
    has_swapped: bool = False  # it was seen serving the new version, and not nothing after that
    has_relapsed: bool = False  # it was confirmed and reverted by itself later
    is_late: bool = False  # it converged after it had been counted as silent
    way_back: Return = Return.NONE
    return_reason: str = ""
    return_assignment_id: bytes | None = None
    return_deadline_s: float | None = None
    offered: Action = Action.SWAP  # what was asked of it last
    tries: int = 0  # how often it was held, of what it is brought now
    retry_s: float | None = None  # on the link clock: when it is offered again
    memory_share: float | None = None  # of its budget, as seen since it swapped
    first: tuple[bytes, ...] = ()  # what it is brought before the rollout's own bundle
    first_done: int = 0  # how many of these it has confirmed
    has_served_first: bool = False  # it was seen serving one of these


def next_first(member: Member) -> bytes | None:
    """The digest that it is brought now; None: the rollout's own."""
    return member.first[member.first_done] if member.first_done < len(member.first) else None


def served_last(member: Member) -> bytes | None:
    """The digest that it served when the rollout's own was assigned."""
    return member.first[-1] if member.first else member.before


def was_given(member: Member) -> bool:
    """Was the bundle assigned to it by this rollout?

    One that was isolated meanwhile is skipped, and would install it when it is released.
    """
    if member.phase is MemberPhase.SKIPPED:
        return member.assignment_id is not None
    return member.phase is not MemberPhase.PENDING
