"""Trials: exact boundaries in virtual time."""

from dataclasses import replace

import pytest
from wherry_agent.core.inputs import Figures
from wherry_agent.core.trial import Judgement, Trial, bounded, judge, judge_figures
from wherry_protocol.errors import Code
from wherry_protocol.manifest import Policy
from wherry_protocol.messages.desired import TrialLimits
from wherry_protocol.messages.reported import Outcome, Phase

from tests.agent.director import TRIAL
from tests.agent.harbour import Harbour, afloat

LIMITS = TrialLimits(
    good_inferences_min=10,
    trial_s_min=2.0,
    trial_s_max=60.0,
    error_rate_max=0.1,
    error_samples_min=10,
    latency_us_mean_max=1000,
    latency_us_p95_max=2000,
    energy_uj_max=50.0,
)
CALM = Figures("self", "digits", b"d" * 32, 100, 0, 500.0, 900, None)


@pytest.mark.parametrize(
    ("figures", "code"),
    [
        (CALM, None),
        (replace(CALM, good_count=90, error_count=10), None),
        (replace(CALM, good_count=89, error_count=11), Code.ERROR_RATE),
        (replace(CALM, good_count=0, error_count=9), None),
        (replace(CALM, good_count=0, error_count=10), Code.ERROR_RATE),
        (replace(CALM, latency_us_mean=1000.0), None),
        (replace(CALM, latency_us_mean=1000.1), Code.LATENCY),
        (replace(CALM, latency_us_p95=2000), None),
        (replace(CALM, latency_us_p95=2001), Code.LATENCY),
        (replace(CALM, latency_us_p95=2001, good_count=9), None),
        (replace(CALM, energy_uj_mean=50.0), None),
        (replace(CALM, energy_uj_mean=50.1), Code.ENERGY),
        (replace(CALM, good_count=0, is_engine_dead=True), Code.ENGINE_CRASH),
    ],
)
def test_a_figure_above_its_limit_and_enough_samples_revert(figures, code):
    verdict = judge_figures(LIMITS, figures)
    if code is None:
        assert verdict.judgement is Judgement.GO_ON
    else:
        assert (verdict.judgement, verdict.code) == (Judgement.REVERT, code)
        assert "limit" in verdict.reason or "died" in verdict.reason


def test_a_limit_of_zero_does_not_limit():
    limits = replace(LIMITS, latency_us_mean_max=0, latency_us_p95_max=0, energy_uj_max=0.0)
    wild = replace(CALM, latency_us_mean=1e9, latency_us_p95=10**9, energy_uj_mean=1e9)
    assert judge_figures(limits, wild).judgement is Judgement.GO_ON


@pytest.mark.parametrize(
    ("good", "elapsed_s", "judgement"),
    [
        (10, 2.0, Judgement.CONFIRM),
        (9, 2.0, Judgement.GO_ON),
        (10, 1.999, Judgement.GO_ON),
        (9, 59.999, Judgement.GO_ON),
        (9, 60.0, Judgement.REVERT),
        (10, 60.0, Judgement.CONFIRM),
    ],
)
def test_good_inferences_and_time_confirm_and_the_end_reverts(good, elapsed_s, judgement):
    trial = Trial(LIMITS, since_us=5_000_000, good_count=good)
    assert judge(trial, 5_000_000 + round(elapsed_s * 1_000_000)).judgement is judgement


def test_rare_inputs_ask_the_golden_vectors_once():
    limits = replace(LIMITS, may_confirm_by_golden=True)
    assert judge(Trial(limits, 0), 60_000_000).judgement is Judgement.ASK_GOLDEN
    asked = Trial(limits, 0, is_golden_asked=True)
    assert judge(asked, 60_000_000).judgement is Judgement.GO_ON


def test_the_stricter_of_assignment_and_signed_policy_holds():
    policy = Policy(
        good_inferences_min=50,
        trial_s_min=30,
        error_rate_max=0.02,
        unconfirmed_starts_max=2,
        may_confirm_by_golden=False,
    )
    strict = bounded(replace(LIMITS, may_confirm_by_golden=True), policy)
    assert (strict.good_inferences_min, strict.trial_s_min) == (50, 30.0)
    assert (strict.error_rate_max, strict.unconfirmed_starts_max) == (0.02, 2)
    assert not strict.may_confirm_by_golden
    assert bounded(LIMITS, Policy()) == LIMITS


def _on_trial(**limits: object) -> tuple[Harbour, object]:
    harbour = afloat()
    harbour.install(harbour.director.made("1.0.0", seed=1))
    bundle = harbour.director.made("1.1.0", seed=2)
    harbour.assign(bundle, trial=replace(TRIAL, **limits))
    assert harbour.model.phase is Phase.TRIAL
    return harbour, bundle


def test_device_reverts_by_one_pointer_and_stays_reverted():
    harbour, bundle = _on_trial()
    swaps = len(harbour.loops.history)
    harbour.serve_well(bundle, 0, error_count=10)
    assert len(harbour.loops.history) == swaps + 1
    assert harbour.model.outcome is Outcome.REVERTED
    harbour.serve_well(bundle, 10_000)
    assert harbour.model.outcome is Outcome.REVERTED
    assert harbour.model.active is not None
    assert harbour.model.active.version == "1.0.0"


def test_golden_vectors_confirm_where_inputs_are_rare_and_policy_allows():
    harbour, bundle = _on_trial(trial_s_max=30.0, may_confirm_by_golden=True)
    harbour.tick(31)
    assert harbour.model.outcome is Outcome.CONFIRMED
    assert harbour.serving == bundle.digest


def test_no_input_in_time_reverts():
    harbour, _ = _on_trial(trial_s_max=30.0)
    harbour.tick(31)
    assert (harbour.model.outcome, harbour.model.code) == (
        Outcome.REVERTED, Code.NOT_CONFIRMED_IN_TIME,
    )  # fmt: skip


@pytest.mark.parametrize("starts_max", [1, 2, 3, 5])
def test_starts_without_confirmation_revert_at_their_limit(starts_max):
    harbour, bundle = _on_trial(unconfirmed_starts_max=starts_max)
    for start in range(1, starts_max + 1):
        harbour.cut().boot()
        is_over = start == starts_max
        assert (harbour.serving == bundle.digest) is not is_over
    harbour.connect()
    assert harbour.model.code is Code.UNCONFIRMED_STARTS


def test_a_newer_assignment_of_the_same_bundle_renews_the_limits_of_a_trial():
    harbour, bundle = _on_trial(good_inferences_min=1000)
    swaps = len(harbour.loops.history)
    harbour.wish([harbour.director.assignment(bundle, attempt=1)])
    harbour.serve_well(bundle, 10)
    assert harbour.model.outcome is Outcome.CONFIRMED
    assert len(harbour.loops.history) == swaps


def test_another_bundle_assigned_in_a_trial_never_makes_the_unproven_one_the_way_back():
    harbour, bundle = _on_trial()
    third = harbour.director.made("1.2.0", seed=3)
    harbour.assign(third)
    assert harbour.serving == third.digest
    harbour.serve_well(third, 0, error_count=50)
    assert harbour.model.active is not None
    assert harbour.model.active.version == "1.0.0"
    assert harbour.serving != bundle.digest
