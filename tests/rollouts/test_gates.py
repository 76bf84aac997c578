"""The gate's checks at their exact boundaries, and what they do without figures."""

from dataclasses import replace

import pytest
from wherry_controller.core.gates.checks import Check, Consequence, Verdict, is_passed
from wherry_controller.core.gates.comparing import Comparison as Compared
from wherry_controller.core.gates.comparing import comparison
from wherry_controller.core.gates.cost_checks import (
    bar_of,
    check_energy,
    check_latency,
    check_memory,
    exceeds,
)
from wherry_controller.core.gates.error_checks import (
    Updates,
    check_crash,
    check_errors,
    check_increase,
    check_updates,
)
from wherry_controller.core.gates.evaluating import evaluate
from wherry_controller.core.gates.limits import PRESETS
from wherry_controller.core.gates.panel import Panel
from wherry_controller.core.gates.pools import Arm, Figures, Pool, Pools

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
    check = check_errors(PRESETS[preset], pool(Figures(requests, errors)), Panel())
    assert check.verdict is verdict
    assert check.figures["requests"] == requests


def panel_of(new: list[Figures], control: list[Figures], bars: Compared | None = None) -> Panel:
    """What so many devices of each side said, one report each."""
    panel = Panel()
    if bars is not None:
        panel.hold_against(CLASS, bar_of(LIMITS, bars))
    turns = len(control) // len(new) if new else 0
    for number, window in enumerate(control):
        panel.control(f"old-{number}/self", window)
        if turns and number % turns == turns - 1:
            panel.new(f"new-{number}/self", CLASS, new[number // turns], LIMITS)
    if not control:
        for number, window in enumerate(new):
            panel.new(f"new-{number}/self", CLASS, window, LIMITS)
    return panel


def test_a_few_devices_in_trouble_fail_before_the_minimum_of_requests_and_one_does_not() -> None:
    one, few = (panel_of([Figures(100, 90)] * count, []) for count in (1, 3))
    assert check_errors(LIMITS, pool(Figures(100, 90)), one).verdict is INCONCLUSIVE
    check = check_errors(LIMITS, pool(Figures(300, 270)), few)
    assert check.verdict is FAIL
    assert "3 devices prove" in check.text
    assert "of 100 needed (alpha 0.01)" in check.text
    assert check.figures["alpha"] == 0.01


def test_a_device_counts_once_however_often_it_reports() -> None:
    panel = Panel()
    for _ in range(500):
        panel.new("broken/self", CLASS, Figures(100, 100), LIMITS)
    assert panel.errors.count == 1
    assert check_errors(LIMITS, pool(Figures(100, 100)), panel).verdict is INCONCLUSIVE


def test_the_sequential_test_never_overrules_a_breach() -> None:
    healthy = panel_of([Figures(1_000, 0)] * 200, [])
    assert healthy.errors.evidence < 1.0
    assert check_errors(LIMITS, pool(Figures(1_000, 11)), healthy).verdict is FAIL


@pytest.mark.parametrize(
    ("new", "old", "verdict"),
    [
        (21, 10, PASS),  # 0.10 % -> 0.21 %: certain, and too small to matter
        (59, 10, PASS),
        (60, 10, FAIL),
        (100, 100, PASS),
    ],
)
def test_an_increase_reverts_only_if_it_is_proved_and_half_a_percent(
    new: int, old: int, verdict: Verdict
) -> None:
    windows = [Figures(10_000, new)] * 400, [Figures(10_000, old)] * 800
    panel = panel_of(*windows)
    check = check_increase(LIMITS, pool(windows[0][0]), pool(windows[1][0]), "control", panel)
    assert check.verdict is verdict, check.text


def test_an_increase_that_is_large_and_not_proved_lets_nobody_pass() -> None:
    panel = panel_of([Figures(1_000, 9)], [Figures(1_000, 1)] * 8)
    pools = pool(Figures(1_000, 9)), pool(Figures(8_000, 8))
    check = check_increase(LIMITS, *pools, "control", panel)
    assert check.verdict is INCONCLUSIVE
    assert check.text.startswith("large and not proved")
    assert check_increase(LIMITS, pools[0], Pool(), "none", panel).verdict is INCONCLUSIVE


@pytest.mark.parametrize(
    ("failed", "asked", "confirmed", "verdict"),
    [
        (0, 0, 0, INCONCLUSIVE),
        (0, 9, 0, INCONCLUSIVE),
        (0, 1, 1, PASS),
        (2, 100, 0, PASS),  # the first to answer are those that refuse
        (1, 5, 4, PASS),
        (3, 9, 6, FAIL),
        (9, 90, 0, FAIL),
    ],
)
def test_updates_fail_when_it_is_proved_that_more_than_two_percent_do(
    failed: int, asked: int, confirmed: int, verdict: Verdict
) -> None:
    check = check_updates(LIMITS, Updates(asked, failed, confirmed, silent=1))
    assert check.verdict is verdict, check.text
    assert "1 silent" in check.text


def test_slow_devices_are_found_by_their_share_of_slow_inferences_before_the_minimum() -> None:
    other = pool(figures((35_000, 50_000, 75_000)))
    slow = [figures((50_000, 90_000, 200_000), inferences=100)] * 12
    even = [figures((40_000, 60_000, 90_000), inferences=100)] * 12
    for windows, verdict in ((slow, INCONCLUSIVE), (even, INCONCLUSIVE)):
        compared = Compared(pool(windows[0]), other, "control")
        panel = panel_of(windows, [], compared)
        assert check_latency(LIMITS, CLASS, compared, compared, panel).verdict is verdict
    much = [figures((90_000, 200_000, 300_000), inferences=100)] * 6
    compared = Compared(pool(much[0]), other, "control")
    check = check_latency(LIMITS, CLASS, compared, compared, panel_of(much, [], compared))
    assert check.verdict is FAIL
    assert "6 devices prove" in check.text


def test_devices_that_take_more_energy_are_found_before_the_minimum() -> None:
    other = energetic(100.0)
    windows = [Figures(60, energy_uj=260.0, energy_source="measured:hwmon")] * 12
    compared = Compared(pool(windows[0]), pool(), "control")
    panel = panel_of(windows, [], Compared(Pool(), pool_with_latency(other), "control"))
    check = check_energy(LIMITS, CLASS, compared, panel)
    assert (check.verdict, check.consequence) == (FAIL, Consequence.REVERT)
    sheet = [Figures(60, energy_uj=900.0, energy_source="modelled:datasheet")] * 12
    panel = panel_of(sheet, [], Compared(Pool(), pool_with_latency(other), "control"))
    assert check_energy(LIMITS, CLASS, compared, panel).verdict is INCONCLUSIVE


def pool_with_latency(other: Pool) -> Pool:
    other.merge(pool(figures()))
    return other


def test_a_control_device_that_waited_too_long_may_come_again_and_one_that_counted_may_not() -> (
    None
):
    panel = panel_of([], [Figures(100, 0)] * 100)
    assert len(panel.waiting) == len(panel.increase.control_waiting) == 64
    assert "old-0/self" not in panel.controls
    panel.new("new/self", CLASS, Figures(100, 0), LIMITS)
    assert panel.increase.blocks == 1
    assert panel.waiting[-1] == "old-91/self"
    panel.control("old-99/self", Figures(100, 0))
    assert len(panel.waiting) == 64 - 8


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
    assert check_latency(LIMITS, CLASS, compared, compared, Panel()).verdict is verdict


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
    assert check_latency(LIMITS, CLASS, alone, alone, Panel()).verdict is INCONCLUSIVE
    few = Compared(pool(figures(inferences=999)), pool(figures()), "control")
    assert check_latency(LIMITS, CLASS, few, few, Panel()).verdict is INCONCLUSIVE


@pytest.mark.parametrize(("windows", "verdict"), [(1, PASS), (4, PASS), (5, FAIL)])
def test_two_hiccups_of_a_hundred_are_no_p99_and_ten_of_five_hundred_are(
    windows: int, verdict: Verdict
) -> None:
    limits = replace(LIMITS, requests_min=100)
    pools = Pools()
    for bucket in range(windows):
        slow = figures((100, 100, 5_000), inferences=100)
        pools.add(Arm.NEW, CLASS, bucket, "new/self", slow)
        for unit in ("a/self", "b/self", "c/self"):
            pools.add(Arm.CONTROL, CLASS, bucket, unit, figures(100, inferences=100))
    found = evaluate(pools, Panel(), limits, {CLASS: None}, {}, Updates(1, 0, 0, 0), 0)
    [check] = [check for check in found if check.name == "latency"]
    assert check.verdict is verdict, check.text
    assert ("p99 counts from 500 requests on" in check.text) is (verdict is PASS)


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
    check = check_energy(LIMITS, CLASS, Compared(new, old, "control"), Panel())
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
    checks = evaluate(pools, Panel(), LIMITS, {CLASS: None}, {CLASS: [0.1]}, Updates(0, 0), 0)
    assert (checks[0].name, checks[0].verdict) == ("errors", FAIL)


def test_nothing_seen_passes_nothing() -> None:
    checks = evaluate(Pools(), Panel(), LIMITS, {CLASS: 100.0}, {}, Updates(0, 0), 0)
    assert {check.verdict for check in checks} == {INCONCLUSIVE}
    assert [check.name for check in checks] == [
        "errors", "increase", "crash", "latency", "energy", "memory", "update",
    ]  # fmt: skip
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
