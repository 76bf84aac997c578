"""Breaker: shall a confirmed bundle that fails again and again go on answering?

    closed -> open -> half-open -> closed

Rules:
1. A failure is an engine status, a missed deadline or an output out of its range. `failures_max`
   of them in a row open; one good inference in between begins the count anew.
2. While it is open somebody else answers, and what the bundle still finishes changes nothing.
3. After `open_us` the bundle gets the next inputs: `successes_min` good ones in a row close, one
   failure opens for another `open_us`.
4. A reset closes whatever the state.

Pure. TRANSITIONS holds a function for every (state, event) pair; tests walk all of them.
"""

# ruff: noqa: ARG001  (every rule of a table takes the same parameters)

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from wherry_protocol.replacing import replace

FAILURES_MAX: Final = 200  # in a row, so that one look at the loop's latest answers can hold them


class State(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Happened(Enum):
    FAILED = "an inference failed"
    SUCCEEDED = "an inference was good"
    WAITED = "time went on"
    RESET = "somebody reset it"


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """When it opens, for how long, and what closes it."""

    failures_max: int = 5
    open_us: int = 60_000_000
    successes_min: int = 2


DEFAULT_LIMITS: Final = BreakerLimits()


@dataclass(frozen=True, slots=True)
class Breaker:
    """Guards the bundle `manifest_digest`.

    `in_a_row` counts failures while CLOSED, good inferences while HALF_OPEN. `fallback` is the
    bundle that answers while OPEN, None for the safe output or nothing.
    """

    manifest_digest: bytes
    state: State = State.CLOSED
    in_a_row: int = 0
    until_us: int = 0
    opened_count: int = 0
    fallback: bytes | None = None


Rule = Callable[[Breaker, BreakerLimits, int], Breaker]


def step(breaker: Breaker, happened: Happened, limits: BreakerLimits, now_us: int) -> Breaker:
    """The next state. Raises KeyError only if the table has a hole."""
    return TRANSITIONS[breaker.state, happened](breaker, limits, now_us)


def count_failure(breaker: Breaker, limits: BreakerLimits, now_us: int) -> Breaker:
    counted = replace(breaker, in_a_row=breaker.in_a_row + 1)
    return trip(counted, limits, now_us) if counted.in_a_row >= limits.failures_max else counted


def trip(breaker: Breaker, limits: BreakerLimits, now_us: int) -> Breaker:
    return replace(
        breaker,
        state=State.OPEN,
        in_a_row=0,
        until_us=now_us + limits.open_us,
        opened_count=breaker.opened_count + 1,
    )


def begin_anew(breaker: Breaker, limits: BreakerLimits, now_us: int) -> Breaker:
    return replace(breaker, in_a_row=0)


def probe_when_due(breaker: Breaker, limits: BreakerLimits, now_us: int) -> Breaker:
    if now_us < breaker.until_us:
        return breaker
    return replace(breaker, state=State.HALF_OPEN, in_a_row=0)


def count_success(breaker: Breaker, limits: BreakerLimits, now_us: int) -> Breaker:
    counted = replace(breaker, in_a_row=breaker.in_a_row + 1)
    return close(counted, limits, now_us) if counted.in_a_row >= limits.successes_min else counted


def close(breaker: Breaker, limits: BreakerLimits, now_us: int) -> Breaker:
    return replace(breaker, state=State.CLOSED, in_a_row=0, until_us=0, fallback=None)


def ignore(breaker: Breaker, limits: BreakerLimits, now_us: int) -> Breaker:
    return breaker


TRANSITIONS: Final[dict[tuple[State, Happened], Rule]] = {
    (State.CLOSED, Happened.FAILED): count_failure,
    (State.CLOSED, Happened.SUCCEEDED): begin_anew,
    (State.CLOSED, Happened.WAITED): ignore,
    (State.CLOSED, Happened.RESET): close,
    (State.OPEN, Happened.FAILED): ignore,
    (State.OPEN, Happened.SUCCEEDED): ignore,
    (State.OPEN, Happened.WAITED): probe_when_due,
    (State.OPEN, Happened.RESET): close,
    (State.HALF_OPEN, Happened.FAILED): trip,
    (State.HALF_OPEN, Happened.SUCCEEDED): count_success,
    (State.HALF_OPEN, Happened.WAITED): ignore,
    (State.HALF_OPEN, Happened.RESET): close,
}
