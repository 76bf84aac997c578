"""How fast a stage is offered, and when a member that failed for a passing reason is tried again.

    [ramp]
    per_minute = 1                         # in the first minute of a stage
    factor = 2.0                           # times as many in each minute after that
    per_minute_max = 50
    [retries]
    count = 3                              # per device; 0: none
    after_s = 60.0                         # then twice as long each time

Rules:
1. A minute's share may be offered from its beginning; what was not offered is not lost.
2. Only what passes is tried again: no progress, no room or a failing disk, too much to do, a lost
   link. What a bundle did wrong is never tried again by itself.
3. Whatever a plan says, at most OFFERS_MAX_PER_S are made in one second: each costs the one writer
   a signed document, and what devices say is not to wait for the whole fleet's.
4. A member that waits is held: it is not offered, not silent and not failed; each try has an
   attempt of its own, so that no remembered rejection answers it.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from wherry_protocol.errors import Code

from wherry_controller.core.tables import inner, known, numbers

MINUTE_S: Final = 60.0
OFFERS_MAX_PER_S: Final = 500
PASSING: Final = frozenset(
    {
        Code.OVER_STORAGE,
        Code.NO_PROGRESS,
        Code.STORAGE,
        Code.OVERLOADED,
        Code.DEVICE_LINK,
        Code.WINDOW_OVER,
    }
)


@dataclass(frozen=True, slots=True)
class Ramp:
    """Offers per minute; `per_minute` 0: no limit."""

    per_minute: float = 0.0
    factor: float = 1.0
    per_minute_max: float = 1e6


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a device is tried again, and after how long at first."""

    count: int = 0
    after_s: float = MINUTE_S


AT_ONCE: Final = Ramp()
NEVER_AGAIN: Final = Retries()


def parse_ramp(table: Mapping[str, Any]) -> Ramp:
    """The `[ramp]` of a rollout file. Raises WherryError(INVALID)."""
    given = inner(table, "ramp")
    limits = {"per_minute": (0.01, 1e6), "factor": (1.0, 100.0), "per_minute_max": (0.01, 1e6)}
    known("ramp", given, tuple(limits))
    return Ramp(**numbers("ramp", given, limits, {}))


def parse_retries(table: Mapping[str, Any]) -> Retries:
    """The `[retries]` of a rollout file. Raises WherryError(INVALID)."""
    given = inner(table, "retries")
    known("retries", given, ("count", "after_s"))
    return Retries(**numbers("retries", given, {"after_s": (1.0, 86_400.0)}, {"count": (0, 20)}))


def allowed_by(ramp: Ramp, since_s: float) -> float:
    """How many may have been offered so long after the stage was opened (rule 1)."""
    if not ramp.per_minute:
        return float("inf")
    allowed, rate = 0.0, min(ramp.per_minute, ramp.per_minute_max)
    minutes = int(max(0.0, since_s) // MINUTE_S) + 1
    while minutes and rate < ramp.per_minute_max and ramp.factor > 1.0:
        allowed, rate = allowed + rate, min(rate * ramp.factor, ramp.per_minute_max)
        minutes -= 1
    return max(1.0, allowed + minutes * rate)


def offered_after_s(ramp: Ramp, count: int) -> float:
    """How long after a stage was opened the last of so many may be offered."""
    minutes = 1
    while allowed_by(ramp, minutes * MINUTE_S) < count:
        minutes *= 2
    wanted = float(count)
    minute = bisect_left(range(minutes + 1), wanted, key=lambda m: allowed_by(ramp, m * MINUTE_S))
    return minute * MINUTE_S


def wait_s(retries: Retries, tries: int) -> float:
    """How long before the next try, after so many (rule 2)."""
    return float(retries.after_s * 2**tries)
