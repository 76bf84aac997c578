"""Windows of the week, minute by minute, against a calendar."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from wherry_controller.core.plans.schedule import (
    DAYS,
    Schedule,
    opens_in_s,
    parse_schedule,
    window_table,
)

from tests.rollouts.voyage import T0, Voyage, names

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)


def is_open(schedule: Schedule, at: datetime) -> bool:
    """By the calendar: does a window that opened today or yesterday still stand?"""
    local = at + timedelta(minutes=schedule.offset_minutes)
    length = (schedule.end_minute - schedule.start_minute) % 1440 or 1440
    for day in (local.date(), local.date() - timedelta(days=1)):
        begin = datetime.combine(day, datetime.min.time(), UTC)
        begin += timedelta(minutes=schedule.start_minute)
        has_day = schedule.days >> day.weekday() & 1
        if has_day and begin <= local < begin + timedelta(minutes=length):
            return True
    return False


@given(
    days=st.integers(1, 127),
    start=st.integers(0, 1439),
    end=st.integers(0, 1440),
    offset=st.integers(-840, 840),
    minute=st.integers(0, 7 * 1440),
)
def test_a_window_opens_when_the_calendar_says_so(
    days: int, start: int, end: int, offset: int, minute: int
) -> None:
    if start == end:
        return
    schedule = Schedule(days=days, start_minute=start, end_minute=end, offset_minutes=offset)
    at = MONDAY + timedelta(minutes=minute)
    waits_s = opens_in_s(schedule, at.timestamp())
    assert (waits_s == 0) == is_open(schedule, at)
    if waits_s:
        opened = at + timedelta(seconds=waits_s)
        assert is_open(schedule, opened)
        assert not is_open(schedule, opened - timedelta(minutes=1))


@given(
    st.builds(
        Schedule,
        days=st.integers(1, 127),
        start_minute=st.integers(0, 1439),
        end_minute=st.integers(0, 1440),
        offset_minutes=st.integers(-840, 840),
        defer_until_s=st.integers(0, 1 << 39),
    ).filter(lambda made: made.start_minute != made.end_minute),
    st.booleans(),
)
def test_a_weekly_window_is_said_again_as_it_was(schedule: Schedule, is_local: bool) -> None:
    said = replace(schedule, is_local=True, offset_minutes=0) if is_local else schedule
    assert parse_schedule({"window": window_table(said)}) == said


def test_a_saturday_night_lasts_into_sunday() -> None:
    table = {"window": {"days": ["sat"], "start": "22:00", "end": "04:00", "zone": "+01:00"}}
    schedule = parse_schedule(table)
    sunday = MONDAY + timedelta(days=6)
    assert opens_in_s(schedule, (sunday + timedelta(hours=2, minutes=59)).timestamp()) == 0
    assert opens_in_s(schedule, (sunday + timedelta(hours=3)).timestamp()) == 6.75 * 86_400
    assert DAYS[sunday.weekday()] == "sun"


def test_a_device_that_waits_for_its_window_is_not_silent() -> None:
    window = {"zone": "device", "start": "02:00", "end": "03:00"}
    voyage = Voyage(names(2), window=window).start().wait(20 * 3_600.0)
    assert len(voyage.in_phase("offered")) == 2
    voyage.wait(6 * 3_600.0)
    assert len(voyage.in_phase("silent")) == 2


def test_nothing_is_offered_outside_of_the_window() -> None:
    opens_s = T0 + 7_200.0
    voyage = Voyage(names(2), not_before=int(opens_s)).start().wait(7_199.0)
    assert voyage.assigned == []
    voyage.wait(1.0)
    assert sorted(voyage.assigned) == voyage.units
