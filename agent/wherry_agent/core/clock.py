"""What time the fleet says it is, and whether the device may believe that it is up to date.

Rules:
1. Until the director has answered the boot nonce the time is unknown, and then nothing is
   installed; what serves goes on serving.
2. Known time only rises within a director's epoch: `floor_s` is persisted, an answer below it is
   refused. Between answers it follows the monotonic clock.
3. A signed `trust/time` may move the clock forward, never back. When no newer one has come for
   `STALE_US`, trust is stale and the device says so: somebody may be withholding.
4. A newest root number above our own means that we do not know yet whom to believe: installs
   wait for the chain.
5. While the time is unknown and there is a connection, the director is asked again, ever more
   rarely: an answer may be lost, or come behind a newer `trust/time`, below which it is refused.
"""

from dataclasses import dataclass
from typing import Final

from wherry_protocol.errors import Code, TrustError
from wherry_protocol.messages.rpc import TimeAnswer
from wherry_protocol.messages.trust import FleetTime
from wherry_protocol.replacing import replace

SECOND_US: Final = 1_000_000
STALE_US: Final = 3_600 * SECOND_US
ASK_US_MIN: Final = 30 * SECOND_US  # who is not answered, or refuses the answer, asks again then
ASK_US_MAX: Final = 3_600 * SECOND_US
FLOOR_STEP_S: Final = 3_600  # the floor is not written for less


@dataclass(frozen=True, slots=True)
class FleetClock:
    """`base_s` is the fleet's time at monotonic `base_us`; None while it is unknown."""

    nonce: bytes
    floor_s: int = 0
    base_s: int | None = None
    base_us: int = 0
    fresh_us: int = 0  # when newer fleet time came last
    newest_root: int = 0
    latest_s: int = 0  # the highest trust/time that was seen
    ask_us: int | None = None  # while the time is unknown: when the director is asked again
    ask_wait_us: int = 0

    def now_s(self, now_us: int) -> int | None:
        """Unix seconds, or None."""
        if self.base_s is None:
            return None
        return self.base_s + (now_us - self.base_us) // SECOND_US

    def is_stale(self, now_us: int) -> bool:
        """No newer fleet time for too long, counted from the start of the agent at the latest."""
        return now_us - self.fresh_us > STALE_US


def asked_again(clock: FleetClock, now_us: int) -> tuple[FleetClock, bool]:
    """The clock of a connected device as time passes, and whether to ask now (rule 5)."""
    if clock.base_s is not None:
        return clock, False
    if clock.ask_us is None:
        return replace(clock, ask_us=now_us + ASK_US_MIN, ask_wait_us=ASK_US_MIN), False
    if now_us < clock.ask_us:
        return clock, False
    wait_us = min(2 * clock.ask_wait_us, ASK_US_MAX)
    return replace(clock, ask_us=now_us + wait_us, ask_wait_us=wait_us), True


def answered(clock: FleetClock, answer: TimeAnswer, now_us: int) -> FleetClock:
    """The clock after the director's answer. Raises TrustError(REPLAY | ROLLBACK)."""
    if answer.nonce != clock.nonce:
        raise TrustError("time answer: its nonce is not this boot's", Code.REPLAY)
    if answer.time_s < clock.floor_s:
        raise TrustError(
            f"time answer: {answer.time_s} is before the known floor {clock.floor_s}",
            Code.ROLLBACK,
        )
    return _forward(clock, answer.time_s, answer.root_number, now_us)


def announced(clock: FleetClock, time: FleetTime, now_us: int) -> FleetClock:
    """The clock after a signed `trust/time`; an old one changes nothing."""
    if time.time_s <= max(clock.latest_s, clock.floor_s):
        return clock
    known = clock.now_s(now_us)
    if known is None or time.time_s <= known:
        return replace(
            clock,
            latest_s=time.time_s,
            floor_s=time.time_s,
            fresh_us=now_us,
            newest_root=max(clock.newest_root, time.root_number),
        )
    return _forward(clock, time.time_s, time.root_number, now_us)


def _forward(clock: FleetClock, time_s: int, root_number: int, now_us: int) -> FleetClock:
    known = clock.now_s(now_us)
    return replace(
        clock,
        base_s=time_s if known is None else max(known, time_s),
        base_us=now_us,
        floor_s=time_s,
        latest_s=max(clock.latest_s, time_s),
        fresh_us=now_us,
        newest_root=max(clock.newest_root, root_number),
    )
