"""What a plan promises before anybody is touched: its steps and its time."""

import pytest
from wherry_controller.core.plans.pace import Ramp, allowed_by, offered_after_s
from wherry_controller.core.rollouts import preview
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


@pytest.mark.parametrize("ramp", [Ramp(1.0), Ramp(3.0, 2.0), Ramp(1.0, 1.5, 20.0), Ramp(0.5)])
@pytest.mark.parametrize("count", [1, 2, 7, 500])
def test_the_last_may_be_offered_exactly_then(ramp: Ramp, count: int) -> None:
    at_s = offered_after_s(ramp, count)
    assert allowed_by(ramp, at_s) >= count
    assert at_s == 0.0 or allowed_by(ramp, at_s - 1.0) < count
