"""Window: may the unit swap now, and if not, why?

Rules, in order:
1. After `not_after_s` it never may again.
2. Without the fleet's time nobody knows, so it may not.
3. Before `not_before_s`, and outside the minutes of the allowed days, it may not. A window that
   ends at or before its start ends on the day after the one on which it opened.
4. While the owner has put the swap off, it may not, up to what the window allows.

Pure; `now_s` is the fleet's time, `local_minutes` the device's own zone, east of UTC.

    >>> night = SwapWindow(start_minute=120, end_minute=240)
    >>> judge(night, When(0, 0, 0)).reason
    'waits for its window: opens Thu 02:00'
"""

import time
from dataclasses import dataclass
from typing import Final

from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import DAY_MINUTES, SwapWindow

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
EPOCH_WEEKDAY: Final = 3  # 1970-01-01 was a Thursday


@dataclass(frozen=True, slots=True)
class When:
    """`deferred_s`: until when the owner has put swaps off, 0: not."""

    now_s: int | None
    local_minutes: int
    deferred_s: int


UNKNOWN: Final = When(None, 0, 0)


@dataclass(frozen=True, slots=True)
class Judged:
    """OK: swap. WINDOW_OVER: never again. Anything else: wait, for this reason."""

    code: Code
    reason: str = ""


OPEN: Final = Judged(Code.OK)


def judge(window: SwapWindow | None, when: When) -> Judged:
    """May the swap be now?"""
    if window is None:
        return OPEN
    if when.now_s is None:
        return Judged(Code.TIME_UNKNOWN, "waits for its window: the time is not known")
    if window.not_after_s and when.now_s > window.not_after_s:
        over = _utc(window.not_after_s)
        return Judged(Code.WINDOW_OVER, f"its window closed for good at {over}")
    if when.now_s < window.not_before_s:
        text = f"waits for its window: not before {_utc(window.not_before_s)}"
        return Judged(Code.WINDOW_CLOSED, text)
    opens = _opens(window, when.now_s, when.local_minutes)
    if opens:
        return Judged(Code.WINDOW_CLOSED, f"waits for its window: opens {opens}")
    deferred_s = min(when.deferred_s, window.defer_until_s)
    if when.now_s < deferred_s:
        text = f"its owner has put the swap off until {_utc(deferred_s)}"
        return Judged(Code.DEFERRED, text)
    return OPEN


def _opens(window: SwapWindow, now_s: int, local_minutes: int) -> str:
    """When it opens next, in its own zone; empty while it is open."""
    offset = local_minutes if window.is_local else window.offset_minutes
    day, minute = divmod(now_s // 60 + offset, DAY_MINUTES)
    length = window.end_minute - window.start_minute
    length += DAY_MINUTES if length <= 0 else 0
    for opened in (day, day - 1):
        since = (day - opened) * DAY_MINUTES + minute - window.start_minute
        if _is_allowed(window, opened) and 0 <= since < length:
            return ""
    first = day if minute < window.start_minute else day + 1
    opening = next(d for d in range(first, first + 8) if _is_allowed(window, d))
    hour, minute = divmod(window.start_minute, 60)
    return f"{DAYS[_weekday(opening)]} {hour:02}:{minute:02}"


def _is_allowed(window: SwapWindow, day: int) -> bool:
    return bool(window.days >> _weekday(day) & 1)


def _weekday(day: int) -> int:
    return (day + EPOCH_WEEKDAY) % 7


def _utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
