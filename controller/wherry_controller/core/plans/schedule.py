"""When devices may begin to serve: not before, not after, and a window of the week.

    not_before = 2026-12-01T02:00:00Z      # a TOML time, a text like it, or Unix seconds; UTC
    not_after = "2026-12-20T00:00:00Z"
    [window]
    days = ["sat", "sun"]                  # the day on which it opens; all, if left out
    start = "22:00"                        # may lie after the end: then it ends on the next day
    end = "04:00"
    zone = "+01:00"                        # or "device": each device's own time; UTC, if left out
    defer_until = 2026-12-24T00:00:00Z     # a device's owner may put it off until then, at most

Rules:
1. The controller offers nothing that would serve outside of it, and every assignment carries it,
   so that a device that was offered early swaps in time.
2. A device's own time is for the device to know: there the controller holds only the dates.
3. Nobody is silent for waiting for the next window. A revert waits for nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from wherry_protocol.messages.desired import DAY_MINUTES, EVERY_DAY, SwapWindow

from wherry_controller.core.tables import invalid, known

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_S: Final = 86_400
EPOCH_WEEKDAY: Final = 3  # 1970-01-01 was a Thursday
CLOCK: Final = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")
ZONE: Final = re.compile(r"([+-])(0\d|1[0-4]):([0-5]\d)")
KEYS: Final = ("days", "start", "end", "zone", "defer_until")
TIME_MAX: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class Schedule:
    """As `SwapWindow` has it on the wire; times are Unix seconds, 0: not limited."""

    not_before_s: int = 0
    not_after_s: int = 0
    days: int = EVERY_DAY
    start_minute: int = 0
    end_minute: int = DAY_MINUTES
    offset_minutes: int = 0
    is_local: bool = False
    defer_until_s: int = 0


ALWAYS: Final = Schedule()


def parse_schedule(table: Mapping[str, Any]) -> Schedule:
    """What a rollout file says of times. Raises WherryError(INVALID)."""
    window = table.get("window", {})
    if not isinstance(window, Mapping):
        raise invalid(f"window is {window!r}, must be a table")
    known("window", window, KEYS)
    offset_minutes, is_local = _zone(window.get("zone", "UTC"))
    made = Schedule(
        _time("not_before", table.get("not_before", 0)),
        _time("not_after", table.get("not_after", 0)),
        _days(window.get("days", list(DAYS))),
        _minute("start", window.get("start", "00:00")),
        _minute("end", window.get("end", "24:00")),
        offset_minutes,
        is_local,
        _time("window: defer_until", window.get("defer_until", 0)),
    )
    if made.not_after_s and made.not_after_s <= made.not_before_s:
        raise invalid("not_after must be later than not_before")
    if made.start_minute in (made.end_minute, DAY_MINUTES):
        raise invalid("window: it must last for some time, and start before 24:00")
    return made


def of_the_week(schedule: Schedule) -> Schedule:
    """The same without the dates: what holds after a rollout, too."""
    return replace(schedule, not_before_s=0, not_after_s=0)


def window_table(schedule: Schedule) -> dict[str, Any]:
    """The `window` of a rollout file that says what this schedule says of the week."""
    hours, minutes = divmod(abs(schedule.offset_minutes), 60)
    zone = f"{'-' if schedule.offset_minutes < 0 else '+'}{hours:02}:{minutes:02}"
    return {
        "days": [day for n, day in enumerate(DAYS) if schedule.days >> n & 1],
        "start": f"{schedule.start_minute // 60:02}:{schedule.start_minute % 60:02}",
        "end": f"{schedule.end_minute // 60:02}:{schedule.end_minute % 60:02}",
        "zone": "device" if schedule.is_local else zone,
        "defer_until": schedule.defer_until_s,
    }


def _time(where: str, value: object) -> int:
    if isinstance(value, datetime):
        value = value.isoformat()
    if isinstance(value, str):
        try:
            told = datetime.fromisoformat(value)
        except ValueError:
            raise invalid(f"{where} is {value!r}, must be like 2026-12-01T02:00:00Z") from None
        return int(told.replace(tzinfo=told.tzinfo or UTC).timestamp())
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < TIME_MAX:
        raise invalid(f"{where} is {value!r}, must be a time in UTC or Unix seconds")
    return value


def _days(value: object) -> int:
    if not isinstance(value, list) or not value or not all(day in DAYS for day in value):
        raise invalid(f"window: days is {value!r}, must be a list of {', '.join(DAYS)}")
    return sum(1 << DAYS.index(day) for day in set(value))


def _minute(where: str, value: object) -> int:
    match = CLOCK.fullmatch(value) if isinstance(value, str) else None
    minute = None if match is None else int(match[1]) * 60 + int(match[2])
    if minute is None or minute > DAY_MINUTES:
        raise invalid(f"window: {where} is {value!r}, must be like 22:00, at most 24:00")
    return minute


def _zone(value: object) -> tuple[int, bool]:
    if value in ("UTC", "device"):
        return 0, value == "device"
    match = ZONE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise invalid(f"window: zone is {value!r}, must be UTC, device or like +01:00")
    minutes = int(match[2]) * 60 + int(match[3])
    if minutes > 14 * 60:
        raise invalid(f"window: zone is {value!r}, at most 14:00 from UTC")
    return (-minutes if match[1] == "-" else minutes), False


def window_of(schedule: Schedule) -> SwapWindow | None:
    """What assignments carry; None: nothing is limited."""
    if schedule == ALWAYS:
        return None
    return SwapWindow(
        not_before_s=schedule.not_before_s,
        not_after_s=schedule.not_after_s,
        days=schedule.days,
        start_minute=schedule.start_minute,
        end_minute=schedule.end_minute,
        offset_minutes=schedule.offset_minutes,
        is_local=schedule.is_local,
        defer_until_s=schedule.defer_until_s,
    )


def has_window(schedule: Schedule) -> bool:
    """Is it limited within the week?"""
    is_whole = schedule.start_minute == 0 and schedule.end_minute == DAY_MINUTES
    return schedule.days != EVERY_DAY or not is_whole


def is_over(schedule: Schedule, now_s: float) -> bool:
    """Will it never be open again?"""
    return bool(schedule.not_after_s) and now_s >= schedule.not_after_s


def opens_in_s(schedule: Schedule, now_s: float) -> float:
    """How long until the controller may offer: 0 while it is open (rules 1 and 2)."""
    from_s = max(now_s, float(schedule.not_before_s))
    if schedule.is_local or not has_window(schedule):
        return from_s - now_s
    local_s = from_s + schedule.offset_minutes * 60
    today = int(local_s // DAY_S)
    length_s = (schedule.end_minute - schedule.start_minute) % DAY_MINUTES * 60 or DAY_S
    waits = []
    for day in range(today - 1, today + 8):
        if schedule.days >> ((day + EPOCH_WEEKDAY) % 7) & 1:
            begin_s = day * DAY_S + schedule.start_minute * 60
            if local_s < begin_s + length_s:
                waits.append(max(0.0, begin_s - local_s))
    return from_s - now_s + min(waits)


def patience_s(schedule: Schedule, now_s: float) -> float:
    """How much longer a device may take that waits for its window or its owner (rule 3)."""
    opens = [day for day in range(14) if schedule.days >> (day % 7) & 1]
    gaps = [after - before for before, after in pairwise(opens)]
    gap_s = max(gaps) * DAY_S if has_window(schedule) else 0
    return float(max(gap_s, schedule.defer_until_s - now_s))
