"""Sustained: does a confirmed bundle go on failing, window after window?

Rules:
1. Inferences are counted in windows of `window_us`. A window is bad where it has at least
   `samples_min` of them and more than `error_rate_max` failed, or where the bundle's breaker was
   open in it and has not closed since: then it failed so often that it was not even asked.
2. `windows_min` bad windows in a row prove it; any other window, also an empty one, begins anew.
3. What was proved stays so until a window is not bad: whoever could not act on it is told again.
4. Another bundle begins anew, and so does a restart.

By default four windows of 30 s with more than 10 % of at least 20 each: two minutes.
"""

from dataclasses import dataclass
from typing import Final

from wherry_protocol.frozen import quick
from wherry_protocol.replacing import replace


@dataclass(frozen=True, slots=True)
class SustainedLimits:
    """When a confirmed bundle has failed for too long."""

    error_rate_max: float = 0.10
    samples_min: int = 20  # of one window
    window_us: int = 30_000_000
    windows_min: int = 4


DEFAULT_LIMITS: Final = SustainedLimits()


@quick
@dataclass(frozen=True, slots=True)
class Sustained:
    """The bundle `manifest_digest` in the window since `since_us`, and how many before were bad."""

    manifest_digest: bytes
    since_us: int
    count: int = 0
    failed: int = 0
    bad_in_a_row: int = 0


def add(before: Sustained, outcomes: tuple[bool, ...]) -> Sustained:
    """With these inferences, True where one was good."""
    count, failed = before.count + len(outcomes), before.failed + outcomes.count(False)
    return replace(before, count=count, failed=failed)


def close(
    before: Sustained, was_open: bool, limits: SustainedLimits, now_us: int
) -> Sustained | None:
    """The next window once this one is over; None where nothing has to be remembered. `was_open`:
    the bundle's breaker was, and has not closed since."""
    if now_us - before.since_us < limits.window_us:
        return before
    is_counted = before.count >= limits.samples_min
    is_bad = was_open or (is_counted and before.failed > limits.error_rate_max * before.count)
    if not is_bad:
        return None
    bad = min(before.bad_in_a_row + 1, limits.windows_min)
    return Sustained(before.manifest_digest, now_us, bad_in_a_row=bad)


def is_proved(found: Sustained, limits: SustainedLimits) -> bool:
    """Has it failed for too long?"""
    return found.bad_in_a_row >= limits.windows_min
