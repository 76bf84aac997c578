"""What a hardware class's new figures are held against.

The comparison is the control group in the same minutes; where that is too small, the members' own
figures from before their swap; else there is none.
"""

from dataclasses import dataclass, replace
from typing import Final

from wherry_controller.core.gates.limits import GateLimits
from wherry_controller.core.gates.pools import Arm, Pool, Pools

NONE: Final = "none"
TAIL_REQUESTS_MIN: Final = 500  # of fewer, p99 is one or two inferences, and they may be a hiccup


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a class's new figures are compared with, and where they come from."""

    new: Pool
    other: Pool
    basis: str  # "control", "before" or "none"


def tail_comparison(pools: Pools, limits: GateLimits, name: str, since: int) -> Comparison:
    """As `comparison`, of enough newest figures that p99 says something about the version."""
    if limits.requests_min >= TAIL_REQUESTS_MIN:
        return comparison(pools, limits, name, since)
    return comparison(pools, replace(limits, requests_min=TAIL_REQUESTS_MIN), name, since)


def comparison(pools: Pools, limits: GateLimits, name: str, since: int) -> Comparison:
    """The newest figures of a class and what to hold against them."""
    new, first = pools.newest(Arm.NEW, name, limits.requests_min, since)
    control, _ = pools.newest(Arm.CONTROL, name, 1 << 62, first)
    if control.inferences >= limits.requests_min and len(control.units) >= limits.control_units_min:
        return Comparison(new, control, "control")
    before, _ = pools.newest(Arm.BEFORE, name, limits.requests_min, 0)
    if before.inferences >= limits.requests_min:
        return Comparison(new, before, "before")
    return Comparison(new, Pool(), NONE)
