"""The exposure of a plan: what a harm costs before the rollout stops."""

from random import Random
from statistics import fmean, pvariance

import pytest
from wherry_controller.core.plans.plan import parse_plan
from wherry_controller.core.rollouts.exposure import exposures, failing, opened_counts


def by_harm(size: int = 1_000, **table: object) -> dict[float, tuple[int, int]]:
    found = exposures(parse_plan(table), size, seed=7)
    return {one.harm: (one.hurt_median, one.reached_median) for one in found}


def test_a_larger_harm_is_stopped_earlier() -> None:
    found = exposures(parse_plan({"strategy": "canary"}), 10_000, seed=7)
    assert [one.harm for one in found] == [0.02, 0.04, 0.05, 0.1, 0.3]
    reached = [one.reached_median for one in found]
    assert reached == sorted(reached, reverse=True)
    assert all(one.stopped_share == 1.0 for one in found if one.harm >= 0.05)


def test_stages_hurt_fewer_devices_than_everybody_at_once() -> None:
    assert by_harm(strategy="canary")[0.1][0] < by_harm(strategy="direct")[0.1][0]


def test_the_same_seed_gives_the_same_figures() -> None:
    assert by_harm(strategy="linear") == by_harm(strategy="linear")


def test_in_a_fleet_of_a_few_the_first_failure_stops_what_goes_one_by_one() -> None:
    found = exposures(parse_plan({"parallel_max": 1}), 10, seed=7)
    assert {one.hurt_p95 for one in found} <= {0, 1}


def test_whoever_was_asked_by_then_is_reached_and_fails_as_often_as_the_others() -> None:
    assert by_harm(1_000)[0.3] == (pytest.approx(300, abs=8), 1_000), "all at once: all of it"
    assert by_harm(100_000)[0.1] == (pytest.approx(10_000, rel=0.02), 100_000)
    hurt, reached = by_harm(1_000, parallel_max=100)[0.3]
    assert reached > 100, "those under way when it stopped"
    assert hurt == pytest.approx(0.3 * reached, rel=0.2)
    assert by_harm(1_000, strategy="canary")[0.3] == (pytest.approx(15, abs=2), 50)


@pytest.mark.parametrize("harm", [0.02, 0.3])
@pytest.mark.parametrize("count", [3, 100, 5_000])
def test_failures_are_drawn_with_their_mean_and_spread(harm: float, count: int) -> None:
    dice = Random(5)
    drawn = [failing(count, harm, dice) for _ in range(4_000)]
    assert {number for number in drawn if not 0 <= number <= count} == set()
    assert fmean(drawn) == pytest.approx(count * harm, rel=0.06)
    assert pvariance(drawn) == pytest.approx(count * harm * (1 - harm), rel=0.15)


def test_without_a_limit_of_failures_only_the_test_stops_and_keeps_its_promise() -> None:
    plan = parse_plan({"max_failed": 1_000_000, "parallel_max": 1})
    tolerated = exposures(plan, 2_000, seed=7)[0]
    assert (tolerated.harm, plan.gate.false_abort) == (0.02, 0.01)
    assert tolerated.stopped_share <= 0.02  # 1 %, with what 400 trials leave open


@pytest.mark.parametrize(
    ("table", "counts"),
    [
        ({"strategy": "canary"}, (5, 10, 25, 50, 100)),
        ({"strategy": "blue-green"}, (100,)),
        ({"strategy": "shadow"}, (100,)),
        ({"strategy": "canary", "subset": "25%"}, (5, 10, 25)),
    ],
)
def test_what_is_open_in_each_stage(table: dict[str, object], counts: tuple[int, ...]) -> None:
    assert opened_counts(parse_plan(table), 100) == counts
