"""Strategies as data: each is a function that returns a list of stages.

A stage opens a share of the members (nested, so a later stage contains the earlier ones), not
before its time since the rollout's start, and is left when its members have settled, its soak
has passed, and its gate (where it has one) has passed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from wherry_controller.core.subset import WHOLE_BP

DAY_S: Final = 86_400.0
ROLLING_DWELL_S: Final = 300.0
CANARY_SOAK_S: Final = 300.0
CANARY_LADDER: Final = ((500, 1), (1_000, 2), (2_500, 3), (5_000, 5), (WHOLE_BP, 7))


@dataclass(frozen=True, slots=True)
class Stage:
    """One step. `share_bp` of the members; times in seconds."""

    share_bp: int
    soak_s: float = 0.0  # after its members have settled
    not_before_s: float = 0.0  # since the rollout's start
    is_gated: bool = True


def direct() -> tuple[Stage, ...]:
    """Everyone at once; success is what each device proves."""
    return (Stage(WHOLE_BP, is_gated=False),)


def rolling() -> tuple[Stage, ...]:
    """A quarter, 300 s of observation against the gate, then all."""
    return (Stage(2_500, ROLLING_DWELL_S), Stage(WHOLE_BP, ROLLING_DWELL_S))


def canary() -> tuple[Stage, ...]:
    """5, 10, 25, 50 and 100 % on days 1, 2, 3, 5 and 7."""
    return tuple(
        Stage(share_bp, CANARY_SOAK_S, (day - 1) * DAY_S) for share_bp, day in CANARY_LADDER
    )


STRATEGIES: Final[dict[str, Callable[[], tuple[Stage, ...]]]] = {
    "direct": direct,
    "rolling": rolling,
    "canary": canary,
}
