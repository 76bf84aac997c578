"""The standing guard at its exact boundaries, in virtual time."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_controller.core.guard import (
    Cleared,
    EngineCrash,
    GuardLimits,
    Heard,
    HoldRollouts,
    Level,
    Raised,
    RollBack,
    Terms,
    TimePassed,
    Used,
    Watch,
    Window,
    keep_watch,
    step,
    watch_of,
)
from wherry_controller.core.guard.standing import Action, Event, Figure
from wherry_protocol.errors import DecodeError

LIMITS = GuardLimits()
TERMS = Terms(budget_latency_us=1_000.0, baseline_latency_us=500.0, budget_energy_uj=100.0)
GOOD = Window(b"n", 1_000, 0, 60.0, latency_us_mean=400.0, latency_us_p95=500.0)


class Guarded:
    """One watched model; its memory goes through its columns before every event."""

    def __init__(self) -> None:
        self.watch = Watch()
        self.now_s = 1_000.0
        self.link_s = 50.0

    def tell(
        self,
        event: Event,
        after_s: float = 60.0,
        *,
        is_link_up: bool = True,
        ended_ago_s: float = 0.0,
    ) -> tuple[Action, ...]:
        self.now_s += after_s
        self.link_s += after_s if is_link_up else 0.0
        kept = watch_of(keep_watch(("gw1", "self", "digits"), self.watch))
        assert kept == self.watch
        self.watch, actions = step(
            kept, event, LIMITS, TERMS, self.now_s - ended_ago_s, self.link_s
        )
        return actions


def levels(*events: Event) -> dict[str, str]:
    guarded = Guarded()
    for event in events:
        guarded.tell(event)
    return {figure.value: level.name for figure, level in guarded.watch.levels.items()}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"errors": 9}, {}),
        ({"errors": 10}, {"errors": "WATCH"}),
        ({"errors": 50}, {"errors": "WATCH"}),
        ({"errors": 51}, {"errors": "ALERT"}),
        ({"errors": 1_000}, {"errors": "ALERT"}),
        ({"errors": 99, "inferences": 99}, {}),
        ({"latency_us_p95": 549.0}, {}),
        ({"latency_us_p95": 550.0}, {"latency": "WATCH"}),
        ({"latency_us_p95": 1_200.0}, {"latency": "WATCH"}),
        ({"latency_us_p95": 1_200.1}, {"latency": "ALERT"}),
        ({"latency_us_mean": 1_500.0}, {}),
        ({"latency_us_mean": 1_500.1}, {"latency": "ROLLBACK"}),
        ({"energy_uj": 100.0}, {}),
        ({"energy_uj": 100.1}, {"energy": "WATCH"}),
        ({"energy_uj": 115.0}, {"energy": "WATCH"}),
        ({"energy_uj": 115.1}, {"energy": "ALERT"}),
        ({"energy_uj": 125.0, "is_energy_trusted": True}, {"energy": "ALERT"}),
        ({"energy_uj": 125.1, "is_energy_trusted": True}, {"energy": "ROLLBACK"}),
        ({"energy_uj": 900.0, "is_energy_trusted": False}, {"energy": "ALERT"}),
    ],
)
def test_one_window_has_the_level_of_the_highest_limit_it_breaches(
    change: dict[str, Any], found: dict[str, str]
) -> None:
    assert levels(replace(GOOD, **change)) == found


@pytest.mark.parametrize(
    ("share", "found"),
    [
        (0.80, {}),
        (0.801, {"memory": "WATCH"}),
        (0.949, {"memory": "WATCH"}),
        (0.95, {"memory": "ALERT"}),
    ],
)
def test_memory_has_its_levels(share: float, found: dict[str, str]) -> None:
    assert levels(Used(share)) == found


def bad(errors: int = 101, interval_s: float = 60.0, digest: bytes = b"n") -> Window:
    return replace(GOOD, errors=errors, interval_s=interval_s, digest=digest)


def rollbacks(*told: tuple[Window, float]) -> int:
    guarded = Guarded()
    actions = [action for event, after_s in told for action in guarded.tell(event, after_s)]
    return sum(isinstance(action, RollBack) for action in actions)


def test_errors_above_10_percent_for_120_s_roll_back() -> None:
    assert rollbacks((bad(), 60), (bad(), 60)) == 1
    assert rollbacks((bad(interval_s=120), 120)) == 1


def test_errors_above_10_percent_for_less_than_120_s_do_not() -> None:
    assert rollbacks((bad(), 60), (bad(interval_s=59), 59)) == 0


def test_errors_of_exactly_10_percent_never_roll_back() -> None:
    assert rollbacks(*[(bad(errors=100), 60)] * 10) == 0


def test_one_good_window_ends_the_streak_of_errors() -> None:
    assert rollbacks((bad(), 60), (bad(errors=100), 60), (bad(), 60)) == 0


def test_a_window_with_too_few_samples_neither_ends_the_streak_nor_adds_to_it() -> None:
    few = replace(GOOD, inferences=99, errors=0)
    assert rollbacks((bad(), 60), (few, 60), (bad(), 60)) == 1
    assert rollbacks((bad(), 60), (few, 60)) == 0


def test_two_bad_windows_far_apart_are_no_streak() -> None:
    assert rollbacks((bad(), 60), (bad(), 60 + 121)) == 0


def test_the_errors_of_another_version_do_not_add_to_the_streak() -> None:
    assert rollbacks((bad(digest=b"o"), 60), (bad(), 60)) == 0


def test_an_engine_crash_rolls_back_once_and_clears_when_another_version_serves() -> None:
    guarded = Guarded()
    first = guarded.tell(EngineCrash(b"n"))
    assert [type(action) for action in first] == [Raised, RollBack, HoldRollouts]
    assert guarded.tell(EngineCrash(b"n")) == ()
    after = guarded.tell(replace(GOOD, digest=b"o"))
    assert Cleared(Figure.CRASH, Level.OK) in after
    assert after[-1] == HoldRollouts(False, "all figures are back within their limits")
    again = guarded.tell(EngineCrash(b"n"))
    assert RollBack(b"n", "the engine crashed") in again, "a second try that fails again"


def test_one_failure_and_50_successes_raise_no_alert() -> None:
    guarded = Guarded()
    actions = [*guarded.tell(Window(b"n", 1, 1, 1.0), 1.0)]
    for _ in range(50):
        actions += guarded.tell(Window(b"n", 1, 0, 1.0), 1.0)
    assert actions == []


def test_a_level_that_stays_is_told_once() -> None:
    guarded = Guarded()
    actions = [action for _ in range(19) for action in guarded.tell(bad(errors=60))]
    assert [type(action) for action in actions] == [Raised, HoldRollouts]


def test_recovery_is_told_and_lets_rollouts_go_on() -> None:
    guarded = Guarded()
    guarded.tell(bad(errors=60))
    assert guarded.tell(bad(errors=20)) == (Cleared(Figure.ERRORS, Level.WATCH),)
    assert guarded.tell(GOOD) == (
        Cleared(Figure.ERRORS, Level.OK),
        HoldRollouts(False, "all figures are back within their limits"),
    )


def test_silence_of_three_intervals_alerts_and_holds_rollouts_until_something_is_heard() -> None:
    guarded = Guarded()
    guarded.tell(Heard())
    assert guarded.tell(TimePassed(), 179.9) == ()
    actions = guarded.tell(TimePassed(), 0.1)
    assert [type(action) for action in actions] == [Raised, HoldRollouts]
    assert guarded.tell(TimePassed(), 1_000) == ()
    assert Cleared(Figure.SILENCE, Level.OK) in guarded.tell(Heard())


def test_nobody_is_silent_while_our_own_link_is_down() -> None:
    guarded = Guarded()
    guarded.tell(Heard())
    guarded.tell(TimePassed(), 100)
    guarded.tell(TimePassed(), 10_000, is_link_up=False)
    assert guarded.tell(TimePassed(), 79.9) == ()
    assert guarded.tell(TimePassed(), 0.1) != ()


def test_a_window_from_an_hour_ago_makes_nobody_silent() -> None:
    guarded = Guarded()
    guarded.tell(Heard())
    guarded.tell(GOOD, 10, ended_ago_s=3_600)
    assert guarded.tell(TimePassed(), 179.9) == ()
    assert guarded.tell(TimePassed(), 0.1) != ()


def test_a_unit_that_was_never_heard_of_is_not_silent() -> None:
    assert Guarded().tell(TimePassed(), 1e6) == ()


def test_a_missing_figure_leaves_its_level_as_it_is() -> None:
    slow = replace(GOOD, latency_us_p95=1_300.0)
    unknown = replace(GOOD, latency_us_p95=None, latency_us_mean=None)
    assert levels(slow, unknown) == {"latency": "ALERT"}


EVENTS = st.one_of(
    st.builds(
        Window,
        st.sampled_from([b"n", b"o"]),
        st.integers(1, 500),
        st.integers(0, 500),
        st.sampled_from([1.0, 60.0, 120.0]),
        st.none() | st.floats(1, 1e4),
        st.none() | st.floats(1, 1e4),
        st.none() | st.floats(1, 1e3),
        st.booleans(),
    ),
    st.builds(Used, st.floats(0, 2)),
    st.builds(EngineCrash, st.sampled_from([b"n", b"o"])),
    st.just(Heard()),
    st.just(TimePassed()),
)


@given(st.lists(st.tuples(EVENTS, st.floats(0, 300)), max_size=30))
def test_rollouts_are_held_exactly_while_a_level_is_above_ok(
    told: list[tuple[Event, float]],
) -> None:
    guarded, is_held = Guarded(), False
    for event, after_s in told:
        for action in guarded.tell(event, after_s):
            if isinstance(action, HoldRollouts):
                assert action.is_held is not is_held, "told twice"
                is_held = action.is_held
        assert is_held == bool(guarded.watch.levels)


@pytest.mark.parametrize("levels", ["luck=1", "errors", "errors=", "errors=9", "errors=1=2"])
def test_a_kept_guard_that_is_not_ours_is_refused(levels: str) -> None:
    row = keep_watch(("gw1", "self", "digits"), Watch())
    with pytest.raises(DecodeError):
        watch_of(replace(row, levels=levels))
