"""What a plan promises before anybody is touched: its steps and its time."""

import pytest
from wherry_controller.core.plans.pace import Ramp, allowed_by, offered_after_s
from wherry_controller.core.rollouts import preview
from wherry_controller.core.rollouts.events import PassedOver, Prepared
from wherry_controller.core.rollouts.outlook import outlook

from tests.rollouts.voyage import T0, Voyage, names

TRIAL = {"good_inferences_min": 1, "trial_s_min": 10.0}


def told(count: int, **table: object) -> tuple[list[int], list[float], float]:
    """What each step opens and when, and when all of it is over."""
    rollout = Voyage(names(count), trial=TRIAL, **table).rollout
    shown = outlook(rollout, T0)
    assert [step["added"] for step in shown["steps"]] == list(map(len, preview(rollout)))
    steps = [(step["opened"], step["opens_after_s"]) for step in shown["steps"]]
    return [n for n, _ in steps], [at_s for _, at_s in steps], shown["expected_s"]


@pytest.mark.parametrize(
    ("table", "opened", "opens", "ends"),
    [
        ({}, [40], [0], 10),
        ({"strategy": "rolling"}, [10, 40], [0, 310], 620),
        ({"strategy": "rolling", "subset": "50%"}, [10, 20], [0, 310], 620),
        ({"strategy": "rolling", "subset": "25%"}, [10], [0], 310),
        ({"parallel_max": 4}, [40], [0], 100),
        ({"ramp": {"per_minute": 10}}, [40], [0], 190),
        ({"ramp": {"per_minute": 10}, "parallel_max": 1}, [40], [0], 400),
        ({"strategy": "blue-green"}, [40, 40], [0, 0], 910),
        ({"not_before": int(T0) + 3_600}, [40], [3_600], 3_610),
    ],
)
def test_steps_and_times_are_those_of_the_plan(
    table: dict[str, object], opened: list[int], opens: list[float], ends: float
) -> None:
    assert told(40, **table) == (opened, opens, ends)


@pytest.mark.parametrize(
    ("table", "first", "ends", "adds"),
    [
        ({}, {"dev-0": 1}, 20, 10),
        ({}, {"dev-0": 1, "dev-3": 2}, 30, 20),
        ({"parallel_max": 4}, {"dev-0": 1}, 20, 10),  # 5 trials, 4 at a time
        ({"parallel_max": 2}, {"dev-0": 1, "dev-1": 1}, 30, 10),  # 6 trials, 2 at a time
        ({"parallel_max": 1}, {"dev-2": 2}, 60, 20),
        ({"ramp": {"per_minute": 2}}, {"dev-0": 1}, 70, 0),  # the last is asked later anyway
        ({"strategy": "rolling"}, {"dev-0": 1}, 630, 10),
    ],
)
def test_what_is_brought_first_takes_a_trial_of_its_own(
    table: dict[str, object], first: dict[str, int], ends: float, adds: float
) -> None:
    voyage = Voyage(names(4), trial=TRIAL, **table)
    in_order = dict(zip(names(4), voyage.rollout.order, strict=True))  # named by their rank
    for name, count in first.items():
        digests = tuple(bytes([n]) * 32 for n in range(count))
        voyage.tell(Prepared(in_order[f"{name}/self"], digests))
    shown = outlook(voyage.rollout, T0)
    assert shown["first"] == {"units": len(first), "expected_s": adds}
    assert shown["expected_s"] == ends


def test_who_is_passed_over_takes_no_time() -> None:
    voyage = Voyage(names(4), trial=TRIAL, parallel_max=1)
    for unit in voyage.rollout.order[:2]:
        voyage.tell(PassedOver(unit, "it must have run 1.1.0 before"))
    assert outlook(voyage.rollout, T0)["expected_s"] == 20


@pytest.mark.parametrize("ramp", [Ramp(1.0), Ramp(3.0, 2.0), Ramp(1.0, 1.5, 20.0), Ramp(0.5)])
@pytest.mark.parametrize("count", [1, 2, 7, 500])
def test_the_last_may_be_offered_exactly_then(ramp: Ramp, count: int) -> None:
    at_s = offered_after_s(ramp, count)
    assert allowed_by(ramp, at_s) >= count
    assert at_s == 0.0 or allowed_by(ramp, at_s - 1.0) < count
