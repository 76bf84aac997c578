"""Who decides for a (unit, model): stop > isolate > guard > manual > rollout.

Rules, in order:
1. A stop or an isolation in force lets nothing below it through, until it is released.
2. A higher authority than the one that made the present assignment wins.
3. Anybody else wins only by compare-and-swap: it names the assignment that it saw, and that one
   is still in force. So of two that race, one wins, and the other is told by whom it lost.

The loser of a rollout's Assign or SendBack gets `PassedOver(unit, "preempted by ...")`.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Authority(IntEnum):
    """In rising order."""

    ROLLOUT = 1
    MANUAL = 2
    GUARD = 3
    ISOLATE = 4
    STOP = 5


STANDING: Final = (Authority.ISOLATE, Authority.STOP)


@dataclass(frozen=True, slots=True)
class Holding:
    """The present decision for one (unit, model). `owner` is a rollout's id or an operator."""

    authority: Authority
    owner: str
    assignment_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A wish to decide. `expected_id` is the assignment that the claimer saw (None: none)."""

    authority: Authority
    owner: str
    expected_id: bytes | None = None


def is_granted(present: Holding | None, claim: Claim) -> bool:
    """May the claim replace what is in force?"""
    if present is None:
        return claim.expected_id is None or claim.authority > Authority.ROLLOUT
    if claim.authority > present.authority:
        return True
    if present.authority in STANDING:
        return claim.authority == present.authority
    return claim.expected_id == present.assignment_id


def refusal(present: Holding | None) -> str:
    """Why a claim was not granted, as a member's reason."""
    if present is None:
        return "preempted: its assignment is no longer in force"
    return f"preempted by {present.authority.name.lower()} ({present.owner})"
