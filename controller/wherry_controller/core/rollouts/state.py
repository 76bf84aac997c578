"""A rollout's state: one object that `decide` is handed and hands back.

It is mutable inside, so that an event costs what it changes and not the fleet's size; whoever
gave it to `decide` uses only what comes back. `drafting.draft` makes one, `keeping` stores it.
"""

import heapq
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from wherry_protocol.messages.desired import TrialLimits

from wherry_controller.core.gates.checks import Check
from wherry_controller.core.gates.panel import Panel
from wherry_controller.core.gates.pools import Pools
from wherry_controller.core.link_clock import LinkClock
from wherry_controller.core.plans.plan import Plan
from wherry_controller.core.plans.stages import Stage
from wherry_controller.core.rollouts.members import (
    IN_FLIGHT,
    MEMBER_TRANSITIONS,
    RETURN_TRANSITIONS,
    Member,
    MemberPhase,
    Return,
    ReturnSignal,
    Signal,
)


class State(Enum):
    """Where a rollout stands."""

    DRAFT = "draft"
    APPROVED = "approved"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    REVERTING = "reverting"
    REVERTED = "reverted"
    ABORTED = "aborted"

    __hash__ = object.__hash__  # by identity, not by name: every event is looked up by it


OPEN: Final = frozenset(
    {State.DRAFT, State.APPROVED, State.RUNNING, State.PAUSED, State.REVERTING}
)  # it claims its units
ACTIVE: Final = frozenset({State.RUNNING, State.PAUSED})  # its guard watches
ON_NEW: Final = frozenset({MemberPhase.TRIAL, MemberPhase.CONFIRMED})
WINDING: Final = frozenset({State.SUCCEEDED, State.ABORTED})  # it may have to wind down


@dataclass(frozen=True, slots=True)
class ClassTerms:
    """What holds for one hardware class: the trial's limits, and its energy budget if any."""

    trial: TrialLimits
    energy_uj: float | None


@dataclass(slots=True)
class Progress:
    """Where a rollout stands on its ladder. Times are Unix seconds; None: not yet."""

    stage_index: int = 0
    opened_bp: int = 0
    opened_count: int = 0  # members ranked below it are open
    offer_index: int = 0  # members ranked below it were offered what this stage does
    stage_offers: int = 0  # made since the stage was opened
    burst_s: float = 0.0  # when the second began of which offers were counted last
    burst_offers: int = 0  # made in it
    touched_index: int = 0  # members ranked below it were offered anything
    triggered_index: int = -1  # the last stage that somebody has opened by hand
    subset_bp: int = 10_000
    started_s: float | None = None
    stage_opened_s: float | None = None
    settled_s: float | None = None
    next_check_s: float = 0.0
    checked_s: float | None = None
    resumed_s: float = 0.0
    accepted_s: float = 0.0  # when a person last resumed it, whatever was silent by then
    silent_accepted: int = 0  # known when an operator last resumed
    control_units: int = 0
    control_silent: int = 0
    reverting_s: float | None = None
    returns_sent: int = 0
    approved_by: str = ""
    paused_by: str = ""
    was_deployed: bool = False  # before it was sent back
    told_after: bool = False  # people know that its predecessor did not succeed
    decommissioned_s: float | None = None
    drain_index: int = 0  # members ranked below it were taken back, or unloaded, after the end
    is_draining: bool = False
    is_purging: bool = False  # what is unloaded is deleted too


@dataclass(slots=True)
class Rollout:
    """One rollout of one bundle. `order` and what follows it are derived from `members`."""

    rollout_id: str
    model: str
    version: str
    digest: bytes
    salt: bytes
    created_by: str
    created_s: float
    plan: Plan
    terms: Mapping[str, ClassTerms]
    members: dict[str, Member]
    state: State = State.DRAFT
    state_reason: str = ""
    progress: Progress = field(default_factory=Progress)
    link: LinkClock = field(default_factory=LinkClock)
    pools: Pools = field(default_factory=Pools)
    panel: Panel = field(default_factory=Panel)
    checks: tuple[Check, ...] = ()
    told: set[str] = field(default_factory=set)  # keys of matters that were notified
    order: list[str] = field(default_factory=list)
    counts: Counter[MemberPhase] = field(default_factory=Counter)
    returns: Counter[Return] = field(default_factory=Counter)
    swapped: Counter[str] = field(default_factory=Counter)  # on the new version, per class
    offline_in_flight: int = 0
    deadlines: list[tuple[float, int]] = field(default_factory=list)  # heap: (link clock, index)
    retries: list[tuple[float, int]] = field(default_factory=list)  # heap: (link clock, index)
    return_queue: deque[str] = field(default_factory=deque)  # units, those that swapped first
    return_deadlines: list[tuple[float, int]] = field(default_factory=list)
    relapsed: int = 0  # confirmed members that reverted by themselves later
    changed: set[str] = field(default_factory=set)  # units whose member is to be kept
    moves: int = 0  # how often a member was counted anew, since it was made or restored
    followed_s: float | None = None  # the moment of which all that was due has followed

    def __post_init__(self) -> None:
        """Derive order, counters and heaps; O(members), once when made or restored."""
        self.counts.update(dict.fromkeys(MemberPhase, 0))  # what is there is found more quickly
        self.order = sorted(self.members, key=lambda unit: self.members[unit].index)
        untouched = 0
        for member in self.members.values():
            if member.phase is MemberPhase.PENDING and member.way_back is Return.NONE:
                untouched += 1  # nearly everybody, when it is drafted
                continue
            self.count(member, 1)
            if member.phase in IN_FLIGHT and member.deadline_s is not None:
                self.deadlines.append((member.deadline_s, member.index))
            if member.way_back is Return.SENT and member.return_deadline_s is not None:
                self.return_deadlines.append((member.return_deadline_s, member.index))
            if member.phase is MemberPhase.HELD and member.retry_s is not None:
                self.retries.append((member.retry_s, member.index))
        self.counts[MemberPhase.PENDING] += untouched
        self.returns[Return.NONE] += untouched
        heapq.heapify(self.retries)
        self.return_queue = deque(queued(self))
        heapq.heapify(self.deadlines)
        heapq.heapify(self.return_deadlines)

    def count(self, member: Member, step: int) -> None:
        """Count a member in (1) or out (-1)."""
        self.moves += 1
        self.counts[member.phase] += step
        self.returns[member.way_back] += step
        self.relapsed += step if member.has_relapsed else 0
        if is_on_new(member):
            self.swapped[member.hardware_class] += step
        if member.phase in IN_FLIGHT and not member.is_online:
            self.offline_in_flight += step

    def move(self, member: Member, phase: MemberPhase) -> None:
        """Into that phase, with what is counted of it: as `count` out and in again."""
        self.moves += 1
        before, was_on_new = member.phase, is_on_new(member)
        member.phase = phase
        self.counts[before] -= 1
        self.counts[phase] += 1
        if was_on_new or phase in ON_NEW:
            self.swapped[member.hardware_class] += is_on_new(member) - was_on_new
        if not member.is_online:
            self.offline_in_flight += (phase in IN_FLIGHT) - (before in IN_FLIGHT)

    @property
    def in_flight(self) -> int:
        """How many members were offered and have not ended."""
        return sum(map(self.counts.__getitem__, IN_FLIGHT))

    @property
    def under_way(self) -> int:
        """How many members are in flight, or are held until they are offered again."""
        return self.in_flight + self.counts[MemberPhase.HELD]

    @property
    def touched(self) -> int:
        """How many members were offered the bundle and are still this rollout's."""
        aside = self.counts[MemberPhase.PENDING] + self.counts[MemberPhase.SKIPPED]
        return len(self.members) - aside

    @property
    def failed(self) -> int:
        """Rejected, reverted, or confirmed and reverted later."""
        phases = self.counts
        return phases[MemberPhase.REJECTED] + phases[MemberPhase.REVERTED] + self.relapsed


def stage_of(rollout: Rollout) -> Stage:
    """The stage that is open, or is to be opened next."""
    return rollout.plan.stages[rollout.progress.stage_index]


def is_winding_down(rollout: Rollout) -> bool:
    """It has ended, and still takes something back, or waits for who was asked to go back."""
    is_busy = rollout.progress.is_draining or bool(rollout.returns[Return.SENT])
    return rollout.state in WINDING and is_busy


def is_deployed(rollout: Rollout) -> bool:
    """Has the last share settled, with somebody who confirmed?"""
    progress = rollout.progress
    is_last = progress.opened_bp >= progress.subset_bp and progress.settled_s is not None
    return is_last and bool(rollout.counts[MemberPhase.CONFIRMED])


def queued(rollout: Rollout) -> list[str]:
    """The units that wait for their way back: first those that swapped, each in rank order."""
    waiting = [unit for unit in rollout.order if rollout.members[unit].way_back is Return.QUEUED]
    return sorted(waiting, key=lambda unit: not rollout.members[unit].has_swapped)


def is_on_new(member: Member) -> bool:
    """Is it believed to serve the new version in this rollout now?"""
    is_there = member.phase in ON_NEW
    return is_there and not member.has_relapsed and member.way_back is not Return.BACK


def signal_member(rollout: Rollout, member: Member, signal: Signal, reason: str = "") -> bool:
    """Move a member along its table; True if its phase changed."""
    after = MEMBER_TRANSITIONS[member.phase, signal]
    if after is member.phase:
        return False
    rollout.move(member, after)
    member.reason = reason
    rollout.changed.add(member.unit)
    return True


def signal_return(rollout: Rollout, member: Member, signal: ReturnSignal, reason: str = "") -> bool:
    """Move a member along its way back; True if it moved."""
    after = RETURN_TRANSITIONS[member.way_back, signal]
    if after is member.way_back:
        return False
    rollout.count(member, -1)
    member.way_back = after
    member.return_reason = reason
    rollout.count(member, 1)
    rollout.changed.add(member.unit)
    return True


def set_relapsed(rollout: Rollout, member: Member, reason: str) -> None:
    """A confirmed member reverted by itself: its phase stays, its failure counts."""
    rollout.count(member, -1)
    member.has_relapsed = True
    member.reason = reason
    rollout.count(member, 1)
    rollout.changed.add(member.unit)


def set_online(rollout: Rollout, member: Member, is_online: bool) -> None:
    """Note a member's presence."""
    if member.is_online != is_online:
        rollout.count(member, -1)
        member.is_online = is_online
        rollout.count(member, 1)
        rollout.changed.add(member.unit)


def enter(rollout: Rollout, state: State, reason: str) -> None:
    """Change the rollout's state, with its reason."""
    rollout.state = state
    rollout.state_reason = reason
