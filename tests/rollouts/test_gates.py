"""The gate's checks at their exact boundaries, and what they do without figures."""

import random

import pytest
from wherry_controller.core.rollouts.gates import (
    Check,
    Consequence,
    Verdict,
    check_crash,
    check_energy,
    check_errors,
    check_latency,
    check_memory,
    comparison,
    evaluate,
    exceeds,
    is_passed,
    sequential_evidence,
)
from wherry_controller.core.rollouts.gates import Comparison as Compared
from wherry_controller.core.rollouts.limits import PRESETS
from wherry_controller.core.rollouts.pools import Arm, Figures, Pool, Pools

from tests.rollouts.voyage import CLASS, figures

LIMITS = PRESETS["balanced"]
PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def pool(*windows: Figures) -> Pool:
    made = Pool()
    for number, window in enumerate(windows):
        made.add(f"dev-{number}/self", window)
    return made


@pytest.mark.parametrize(
    ("preset", "requests", "errors", "verdict"),
    [
        ("conservative", 500, 2, PASS),
        ("conservative", 500, 3, FAIL),
        ("conservative", 1_000, 5, PASS),
        ("conservative", 499, 0, INCONCLUSIVE),
        ("balanced", 1_000, 10, PASS),
        ("balanced", 1_000, 11, FAIL),
        ("balanced", 999, 11, INCONCLUSIVE),
        ("aggressive", 5_000, 100, PASS),
        ("aggressive", 5_000, 101, FAIL),
        ("aggressive", 4_999, 0, INCONCLUSIVE),
        ("balanced", 0, 0, INCONCLUSIVE),
    ],
)
def test_errors_fail_above_the_limit_with_enough_requests(
    preset: str, requests: int, errors: int, verdict: Verdict
) -> None:
    check = check_errors(PRESETS[preset], pool(Figures(requests, errors)), (requests, errors))
    assert check.verdict is verdict
    assert check.figures["requests"] == requests


def test_a_plain_disaster_fails_before_the_minimum_of_requests() -> None:
    check = check_errors(LIMITS, pool(Figures(20, 18)), (20, 18))
    assert check.verdict is FAIL
    assert "false-abort chance of 0.01" in check.text


def test_the_sequential_test_never_overrules_a_breach() -> None:
    check = check_errors(LIMITS, pool(Figures(1_000, 11)), (1_000_000, 0))
    assert check.verdict is FAIL


def test_the_sequential_test_aborts_a_model_at_the_limit_no_more_often_than_it_says() -> None:
    """1,000 voyages of 2,000 inferences at exactly the limit, looked at after every 20th."""
    dice, aborted = random.Random(7), 0
    for _ in range(1_000):
        errors = 0
        for seen in range(20, 2_001, 20):
            errors += sum(dice.random() < 0.01 for _ in range(20))
            if sequential_evidence(seen, errors, 0.01) >= 100:
                aborted += 1
                break
    assert aborted <= 20, "more than 2 % where at most 1 % is promised"


def test_the_sequential_test_stays_a_number_however_much_it_sees() -> None:
    assert 1e290 < sequential_evidence(10**9, 10**9, 0.001) < 1e301
    assert sequential_evidence(10**9, 0, 0.001) == 0.0
    assert sequential_evidence(0, 0, 0.01) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("new_us", "old_us", "verdict"),
    [
        ((38_000, 52_000, 78_000), (35_000, 50_000, 75_000), PASS),
        ((50_000, 50_000, 50_000), (50_000, 50_000, 50_000), PASS),
        ((50_000, 90_000, 90_000), (50_000, 50_000, 50_000), FAIL),
        ((50_000, 50_000, 90_000), (50_000, 50_000, 50_000), FAIL),
        ((100, 340, 340), (100, 100, 100), PASS),
        ((100, 370, 370), (100, 100, 100), FAIL),
    ],
)
def test_latency_needs_the_ratio_and_the_absolute_excess_at_p95_or_p99(
    new_us: tuple[int, int, int], old_us: tuple[int, int, int], verdict: Verdict
) -> None:
    compared = Compared(pool(figures(new_us)), pool(figures(old_us)), "control")
    assert check_latency(LIMITS, CLASS, compared).verdict is verdict


@pytest.mark.parametrize(
    ("value", "other", "is_above"),
    [(150.0, 100.0, False), (150.1, 100.0, True), (40.0, 10.0, False), (60.0, 10.0, False)],
)
def test_at_the_ratio_or_at_the_excess_is_not_above_it(
    value: float, other: float, is_above: bool
) -> None:
    assert exceeds(value, other, 1.5, 50.0) is (is_above and value - other > 50.0)
    assert exceeds(value, other, 1.5, 0.0) is (value > 1.5 * other)


def test_latency_without_a_comparison_is_inconclusive() -> None:
    alone = Compared(pool(figures()), Pool(), "none")
    assert check_latency(LIMITS, CLASS, alone).verdict is INCONCLUSIVE
    few = Compared(pool(figures(inferences=999)), pool(figures()), "control")
    assert check_latency(LIMITS, CLASS, few).verdict is INCONCLUSIVE


def energetic(energy_uj: float, source: str = "measured:hwmon", inferences: int = 1_000) -> Pool:
    return pool(Figures(inferences, energy_uj=energy_uj, energy_source=source))


@pytest.mark.parametrize(
    ("new", "old", "verdict", "consequence"),
    [
        (energetic(125.0), energetic(100.0), PASS, Consequence.REVERT),
        (energetic(125.1), energetic(100.0), FAIL, Consequence.REVERT),
        (
            energetic(200.0, "modelled:calibrated"),
            energetic(100.0, "modelled:calibrated"),
            FAIL,
            Consequence.REVERT,
        ),
        (
            energetic(200.0, "modelled:datasheet"),
            energetic(100.0, "modelled:datasheet"),
            FAIL,
            Consequence.ALERT,
        ),
        (energetic(200.0), energetic(100.0, "modelled:datasheet"), INCONCLUSIVE, Consequence.ALERT),
        (energetic(200.0, inferences=999), energetic(100.0), INCONCLUSIVE, Consequence.ALERT),
        (Pool(), energetic(100.0), INCONCLUSIVE, Consequence.ALERT),
        (energetic(200.0), Pool(), INCONCLUSIVE, Consequence.ALERT),
    ],
)
def test_energy_reverts_on_measured_or_calibrated_figures_only(
    new: Pool, old: Pool, verdict: Verdict, consequence: Consequence
) -> None:
    check = check_energy(LIMITS, CLASS, Compared(new, old, "control"))
    assert (check.verdict, check.consequence) == (verdict, consequence)


def test_one_crash_fails_and_none_passes_only_with_enough_requests() -> None:
    assert check_crash(LIMITS, pool(Figures(0, crashes=1))).verdict is FAIL
    assert check_crash(LIMITS, pool(Figures(999))).verdict is INCONCLUSIVE
    assert check_crash(LIMITS, pool(Figures(1_000))).verdict is PASS


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ([0.80, 0.10], PASS),
        ([0.801, 0.10], FAIL),
        ([0.801, None], FAIL),
        ([0.10, None], INCONCLUSIVE),
        ([], INCONCLUSIVE),
    ],
)
def test_memory_holds_above_80_percent(shares: list[float | None], verdict: Verdict) -> None:
    check = check_memory(LIMITS, CLASS, shares)
    assert (check.verdict, check.consequence) == (verdict, Consequence.HOLD)


def filled(control_units: int, control_requests: int, before: int = 0, index: int = 5) -> Pools:
    pools = Pools()
    pools.add(Arm.NEW, CLASS, 5, "new/self", figures())
    for number in range(control_units):
        window = figures(inferences=control_requests // control_units)
        pools.add(Arm.CONTROL, CLASS, index, f"old-{number}/self", window)
    if before:
        pools.add(Arm.BEFORE, CLASS, 0, "new/self", figures(inferences=before))
    return pools


@pytest.mark.parametrize(
    ("pools", "basis"),
    [
        (filled(4, 1_000), "control"),
        (filled(2, 1_000, before=1_000), "before"),
        (filled(4, 996, before=1_000), "before"),
        (filled(4, 1_000, before=1_000, index=4), "before"),
        (filled(2, 1_000, before=999), "none"),
        (filled(1, 1_000), "none"),
    ],
)
def test_the_comparison_is_the_control_group_of_the_same_minutes_else_the_own_past(
    pools: Pools, basis: str
) -> None:
    assert comparison(pools, LIMITS, CLASS, 0).basis == basis


def test_only_the_newest_windows_count_so_that_a_late_change_shows() -> None:
    pools = Pools()
    for index in range(20):
        pools.add(Arm.NEW, CLASS, index, "new/self", Figures(1_000, 0))
    pools.add(Arm.NEW, CLASS, 20, "new/self", Figures(1_000, 11))
    checks = evaluate(pools, LIMITS, {CLASS: None}, {CLASS: [0.1]}, 0)
    assert (checks[0].name, checks[0].verdict) == ("errors", FAIL)


def test_nothing_seen_passes_nothing() -> None:
    checks = evaluate(Pools(), LIMITS, {CLASS: 100.0}, {}, 0)
    assert {check.verdict for check in checks} == {INCONCLUSIVE}
    assert [check.name for check in checks] == ["errors", "crash", "latency", "energy", "memory"]
    assert not is_passed(checks, LIMITS.require)
    assert not is_passed((), LIMITS.require)


def checked(name: str, verdict: Verdict, consequence: Consequence) -> Check:
    return Check(name, "", verdict, "", {}, consequence)


@pytest.mark.parametrize(
    ("verdict", "consequence", "passes"),
    [
        (PASS, Consequence.REVERT, True),
        (INCONCLUSIVE, Consequence.REVERT, False),
        (INCONCLUSIVE, Consequence.ALERT, False),
        (FAIL, Consequence.HOLD, False),
        (FAIL, Consequence.ALERT, True),
    ],
)
def test_a_stage_is_left_when_every_required_check_passes_or_only_alerts(
    verdict: Verdict, consequence: Consequence, passes: bool
) -> None:
    checks = (checked("energy", verdict, consequence),)
    assert is_passed(checks, ("energy",)) is passes
    assert is_passed(checks, ("errors",)) is True
