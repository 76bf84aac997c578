"""An alert's table has no hole; retries and routes, without a store."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
from wherry_controller.core.alerts import (
    Acknowledge,
    Alert,
    Breached,
    Close,
    Recovered,
    State,
    TimePassed,
    step,
)
from wherry_controller.core.alerts.lifecycle import TRANSITIONS
from wherry_controller.core.notify import Attempt, Kind, Outcome, after_attempt, retry_s
from wherry_protocol.errors import StateError

EVENTS: list[Any] = [
    Breached("critical", "worse", 10.0),
    Recovered(10.0),
    TimePassed(100.0, 60.0),
    Acknowledge("ada", "here", 10.0),
    Close("ada", "done", 10.0),
]


def alert(state: State, **more: Any) -> Alert:
    raised = Alert(
        1, "", "topic", "errors", "warning", state.value, "gw/self", "m", "text", 1, 0.0, 0.0
    )
    return replace(raised, **more)


def test_every_pair_of_state_and_event_has_a_rule() -> None:
    pairs = set(itertools.product(State, map(type, EVENTS)))
    assert set(TRANSITIONS) == pairs


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_a_resolved_alert_never_changes(event: Any) -> None:
    before = alert(State.RESOLVED)
    try:
        assert step(before, event) == (before, None)
    except StateError:
        assert isinstance(event, Acknowledge | Close)


@pytest.mark.parametrize("state", [State.OPEN, State.ACKNOWLEDGED])
def test_it_is_over_after_the_time_without_a_breach_and_not_before(state: State) -> None:
    good, kind = step(alert(state), Recovered(100.0))
    assert (good.good_since_s, kind) == (100.0, None)
    assert step(good, Recovered(130.0))[0].good_since_s == 100.0
    assert step(good, TimePassed(159.9, 60.0)) == (good, None)
    over, kind = step(good, TimePassed(160.0, 60.0))
    assert (over.state, kind) == ("resolved", Kind.RECOVERED)
    again, _ = step(good, Breached("warning", "again", 150.0))
    assert step(again, TimePassed(1000.0, 60.0)) == (again, None)


def test_attempts_wait_longer_each_time_and_end() -> None:
    waits = [retry_s(number) for number in range(1, 12)]
    assert waits[:4] == [10.0, 20.0, 40.0, 80.0]
    assert max(waits) == waits[-1] == 3600.0
    failed = Attempt(False, "503")
    assert after_attempt(7, 8, failed) is Outcome.WAITING
    assert after_attempt(8, 8, failed) is Outcome.DEAD
    assert after_attempt(8, 8, Attempt(True, "200")) is Outcome.DELIVERED
