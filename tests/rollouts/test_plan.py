"""Rollout files: strategies, presets, overrides, and refusals by name."""

import tomllib
from typing import Any

import pytest
from wherry_controller.core.gates.limits import CHECKS, PRESETS
from wherry_controller.core.plans.plan import Plan, parse_plan
from wherry_controller.core.plans.stages import fitted
from wherry_controller.core.plans.strategies import DAY_S
from wherry_protocol.errors import WherryError


def parsed(text: str) -> Plan:
    return parse_plan(tomllib.loads(text))


def test_an_empty_file_is_a_direct_rollout_with_the_balanced_preset() -> None:
    plan = parsed("")
    assert (plan.strategy, plan.preset, plan.overrides) == ("direct", "balanced", ())
    assert [(stage.share_bp, stage.is_gated) for stage in plan.stages] == [(10_000, False)]


def test_the_named_ladders_are_those_of_the_operators_guide() -> None:
    rolling, canary = parsed('strategy = "rolling"'), parsed('strategy = "canary"')
    assert [(stage.share_bp, stage.soak_s) for stage in rolling.stages] == [
        (2_500, 300.0),
        (10_000, 300.0),
    ]
    assert [(s.share_bp, s.not_before_s / DAY_S + 1) for s in canary.stages] == [
        (500, 1),
        (1_000, 2),
        (2_500, 3),
        (5_000, 5),
        (10_000, 7),
    ]
    assert all(stage.is_gated for stage in (*rolling.stages, *canary.stages))


def test_linear_is_5_percent_more_every_24_hours() -> None:
    stages = parsed('strategy = "linear"').stages
    assert [stage.share_bp for stage in stages] == list(range(500, 10_001, 500))
    assert [stage.not_before_s for stage in stages] == [day * DAY_S for day in range(20)]


def test_a_ladder_that_ends_before_the_whole_stops_there_and_goes_on_when_widened() -> None:
    plan = parsed(
        'strategy = "linear"\n[parameters]\ninitial = 0.1\ntarget = "30%"\nincrement = 0.15\n'
        "increment_interval_hours = 1"
    )
    assert [s.share_bp for s in plan.stages] == [1_000, 2_500, 3_000, 10_000]
    assert [s.not_before_s for s in plan.stages] == [0.0, 3_600.0, 7_200.0, 10_800.0]
    assert plan.subset_bp == 3_000
    assert "parameters.increment = 15% (5%)" in plan.overrides


@pytest.mark.parametrize(("size", "shares"), [(99, 5), (100, 6)])
def test_one_percent_goes_first_in_a_fleet_of_a_hundred(size: int, shares: int) -> None:
    stages = fitted(parsed('strategy = "pilot"').stages, size)
    assert (len(stages), stages[-1].not_before_s / DAY_S) == (shares, shares + 1)
    if shares == 6:
        assert (stages[0].share_bp, stages[0].soak_s) == (100, DAY_S)


@pytest.mark.parametrize(
    ("preset", "numbers"),
    [
        ("conservative", (0.005, 1.2, 500, 30.0)),
        ("balanced", (0.01, 1.5, 1_000, 60.0)),
        ("aggressive", (0.02, 2.0, 5_000, 300.0)),
    ],
)
def test_the_presets_have_their_numbers(
    preset: str, numbers: tuple[float, float, int, float]
) -> None:
    gate = parsed(f'preset = "{preset}"').gate
    assert gate == PRESETS[preset]
    assert (gate.error_rate_max, gate.latency_ratio, gate.requests_min, gate.interval_s) == numbers


def test_every_override_is_taken_and_listed_with_what_it_replaces() -> None:
    plan = parsed(
        """
        preset = "conservative"
        subset = "50%"
        silent_after_s = 30
        max_failed = 1
        [[stages]]
        share = "10%"
        soak_s = 5
        [[stages]]
        share = 1.0
        is_gated = false
        [gate]
        requests_min = 20
        require = ["errors", "latency"]
        [trial]
        good_inferences_min = 5
        trial_s_min = 1
        """
    )
    assert [(s.share_bp, s.soak_s, s.is_gated) for s in plan.stages] == [
        (1_000, 5.0, True),
        (10_000, 0.0, False),
    ]
    assert plan.subset_bp == 5_000
    assert plan.overrides == (
        "silent_after_s = 30.0 (3600.0)",
        "max_failed = 1 (None)",
        "gate.requests_min = 20 (500)",
        f"gate.require = errors, latency ({', '.join(CHECKS)})",
        "trial.good_inferences_min = 5 (100)",
        "trial.trial_s_min = 1.0 (10.0)",
    )


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("sneaky = 1", "rollout file: unknown sneaky"),
        ("[gate]\nerror_rate = 0.1", "gate: unknown error_rate"),
        ("[trial]\nforever = true", "trial: unknown forever"),
        ('[[stages]]\nshare = "100%"\nsoak = 3', "stage 1: unknown soak"),
        ('strategy = "yolo"', "strategy 'yolo' is unknown, must be one of direct, rolling, canary"),
        ('preset = "reckless"', "preset 'reckless' is unknown"),
        ('strategy = "direct"\nstages = []', "either strategy or stages"),
        ("stages = []", "a list of 1 to 100"),
        ("stages = [3]", "stage 1 must be a table"),
        ('stages = [{share = "50%"}]', "last stage's share must be 100%"),
        ('stages = [{share = "50%"}, {share = "50%"}]', "stage 2: its share must be above"),
        ('stages = [{share = "100%", is_gated = 1}]', "is_gated is 1"),
        ('strategy = "linear"\n[parameters]\nstep = 1', "parameters of linear: unknown step"),
        ('strategy = "linear"\n[parameters]\nincrement = 5', "share 5 is neither"),
        ('strategy = "linear"\n[parameters]\nincrement = "0.5%"', "191 steps, at most 100"),
        (
            'strategy = "linear"\n[parameters]\ninitial = "50%"\ntarget = 0.2',
            "target is below initial",
        ),
        ('strategy = "pilot"\n[parameters]\nladder = "direct"', "one of canary, linear, rolling"),
        ('strategy = "pilot"\n[parameters]\ninitial = 0.05', "below the canary ladder's first"),
        ("[parameters]\nx = 1", "parameters of direct: unknown x (known: none)"),
        ("on_call = 3", "on_call must be a text of at most 128"),
        ('stages = [{share = "100%", action = "fly"}]', "stage 1: action 'fly' is unknown"),
        ('stages = [{share = "100%", action = "switch"}]', "after a warm or shadow stage"),
        ('stages = [{share = "100%", action = "decommission"}]', "and not the only one"),
        (
            'stages = [{share = "50%", action = "warm"}, {share = "100%", action = "switch"}]',
            "of at least its share",
        ),
        (
            'stages = [{share = "50%"}, {share = "50%", action = "warm"}, {share = "100%"}]',
            "of one action stand together",
        ),
        ('subset = "0%"', "share '0%'"),
        ("max_failed = -1", "max_failed is -1, must be a number in 0..1e+06"),
        ("max_failed = 1.5", "max_failed is 1.5, must be a whole number"),
        ("silent_after_s = true", "silent_after_s is True"),
        ("[gate]\nerror_rate_max = nan", "error_rate_max is nan"),
        ("[gate]\nlatency_ratio = 0.5", "latency_ratio is 0.5, must be a number in 1..1000"),
        ('[gate]\nrequire = ["luck"]', "require is ['luck']"),
        ("[trial]\nerror_rate_max = 1.5", "trial: "),
        ("[trial]\nunconfirmed_starts_max = 0", "trial: "),
        (
            '[trial]\ngood_inferences_min = "5"',
            "good_inferences_min is '5', must be a whole number",
        ),
        ("gate = 3", "gate is 3, must be a table"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_name(text: str, part: str) -> None:
    with pytest.raises(WherryError) as refused:
        parsed(text)
    assert part in str(refused.value)


def test_every_number_of_a_gate_can_be_overridden() -> None:
    changed: dict[str, Any] = {
        "error_rate_max": 0.5,
        "latency_ratio": 3.0,
        "requests_min": 7,
        "interval_s": 1.0,
        "latency_excess_us": 1.0,
        "energy_ratio": 2.0,
        "energy_excess_uj": 3.0,
        "crashes_max": 2,
        "memory_share_max": 0.5,
        "control_units_min": 2,
        "false_abort": 0.05,
        "error_increase_min": 0.002,
        "update_failure_max": 0.05,
        "inconclusive": "pause",
        "inconclusive_after_s": 60.0,
        "shadow_requests_min": 10,
        "shadow_agreement_min": 0.9,
        "shadow_latency_ratio": 1.5,
        "experiment_devices_min": 20,
        "experiment_s": 3_600.0,
        "experiment_alpha": 0.01,
    }
    gate = parse_plan({"gate": changed}).gate
    assert {name: getattr(gate, name) for name in changed} == changed
    names = set(gate.__dataclass_fields__)
    assert names == {*changed, "require", "custom"}, "a new number needs its way into the file"
