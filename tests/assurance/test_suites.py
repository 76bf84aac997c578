"""Suites step by step: what ends a step, what is late, and that a drill always comes home."""

import itertools
import random
from typing import Any

import pytest
from wherry_controller.core.assurance import suites
from wherry_controller.core.assurance.keeping import exam_from_json, exam_to_json
from wherry_controller.core.assurance.limits import (
    FigureLimits,
    Figures,
    exceeded,
    parse_limits,
)
from wherry_controller.core.assurance.suites import (
    RULES,
    SUITES,
    Alive,
    Bring,
    Exam,
    Inferred,
    Late,
    Measured,
    Proved,
    Refused,
    Stands,
    Step,
    Verdict,
    begin,
    patience_s,
    step,
)
from wherry_protocol.errors import WherryError

NEW, OLD = bytes([1]) * 32, bytes([2]) * 32
EVENTS: tuple[Any, ...] = (
    Proved(NEW, True, 4, 4), Proved(NEW, True, 3, 4), Proved(OLD, True, 4, 4),
    Proved(NEW, False, 0, 0), Proved(NEW, True, 0, 0), Inferred(NEW, 9), Inferred(OLD, 9),
    Alive(0.1), Refused("offline"), Measured(NEW, 5, 1e9), Measured(NEW, 0, 1e9),
    Stands(NEW, None, True, True), Stands(OLD, None, True, True), Stands(OLD, None, False, False),
    Stands(NEW, None, False, True, "it was rejected"), Late(),
)  # fmt: skip


def exam(suite: str, **changed: Any) -> Exam:
    return Exam("gw1/self", "digits", NEW, SUITES[suite], other=OLD, **changed)


@pytest.mark.parametrize(
    ("event", "verdict"),
    [
        (Proved(NEW, True, 4, 4), Verdict.PASSED),
        (Proved(None, True, 4, 4), Verdict.PASSED),  # an older unit does not say of which bundle
        (Proved(NEW, True, 3, 4), Verdict.FAILED),
        (Proved(NEW, True, 0, 0), Verdict.FAILED),
        (Proved(OLD, True, 4, 4), Verdict.FAILED),
        (Proved(NEW, False, 4, 4), Verdict.FAILED),
        (Refused("offline"), Verdict.FAILED),
        (Alive(0.1), Verdict.OPEN),
    ],
)
def test_golden_vectors_pass_only_all_of_them_on_whole_bytes_of_that_bundle(
    event: Any, verdict: Verdict
) -> None:
    begun, _ = begin(exam("smoke"), 0.0)
    assert step(begun, event, 1.0)[0].verdict is verdict


@pytest.mark.parametrize("suite", SUITES)
def test_what_does_not_come_in_time_has_failed(suite: str) -> None:
    begun, _ = begin(exam(suite), 0.0)
    patient, _ = step(begun, Late(), patience_s(begun) - 1)
    assert patient == begun
    now_s = 0.0
    while begun.verdict is Verdict.OPEN:
        now_s += patience_s(begun)
        begun, _ = step(begun, Late(), now_s)
    assert begun.verdict is Verdict.FAILED


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_a_drill_that_is_away_is_brought_back_before_its_verdict(
    seed: int,
) -> None:
    source, now_s = random.Random(seed), 0.0
    one, effects = begin(exam("drill"), now_s)
    brought = [e.digest for e in effects if isinstance(e, Bring)]
    while one.verdict is Verdict.OPEN:
        now_s += source.choice((1.0, 100.0, 4000.0))
        one, effects = step(one, source.choice(EVENTS), now_s)
        brought += [e.digest for e in effects if isinstance(e, Bring)]
    refused_at_once = one.results[0].text == "offline"
    assert brought == ([OLD] if refused_at_once else [OLD, NEW])
    if one.verdict is Verdict.PASSED:
        assert not one.is_away


@pytest.mark.parametrize("suite", SUITES)
def test_an_examination_is_kept_whole(suite: str) -> None:
    source = random.Random(suite)
    one, _ = begin(exam(suite, limits=FigureLimits(error_rate_max=0.1)), 0.0)
    for now_s, event in enumerate(source.choices(EVENTS, k=20)):
        assert exam_from_json(exam_to_json(one)) == one
        one, _ = step(one, event, float(now_s))


def test_every_step_has_a_beginning_and_an_event_that_ends_it() -> None:
    assert set(suites.BEGUN) == set(Step)
    assert {each for each, event in RULES if event is not Refused} == set(Step)
    ended, _ = step(begin(exam("smoke"), 0.0)[0], Refused("offline"), 1.0)
    for event in EVENTS:
        assert step(ended, event, 2.0) == (ended, ())


def test_each_suite_looks_at_what_the_one_before_it_looks_at() -> None:
    ranked = sorted(suites.RANK, key=lambda name: suites.RANK[name])
    for less, more in itertools.pairwise(ranked):
        assert set(SUITES[less]) < set(SUITES[more])


@pytest.mark.parametrize(
    ("figures", "missing", "over"),
    [
        (Figures(), True, 0),
        (Figures(99, 0, 1.0, 900.0, 1.0, 1.0), True, 0),
        (Figures(100, 1, 1.0, 900.0, 1.0, 1.0), False, 0),
        (Figures(100, 2, 1.0, 900.0, 1.0, 1.0), False, 1),
        (Figures(100, 2, 1.0, 1100.0, 1.0, 1.0), False, 2),
        (Figures(100, 0, 1.0, None, 1.0, 1.0), True, 0),
    ],
)
def test_a_figure_is_held_to_its_limit_and_a_missing_one_is_missed(
    figures: Figures, missing: bool, over: int
) -> None:
    limits = parse_limits({"error_rate_max": 0.01, "latency_us_p95_max": 1000,
                           "inferences_min": 100})  # fmt: skip
    assert (exceeded(figures, limits)[0], len(exceeded(figures, limits)[1])) == (missing, over)


@pytest.mark.parametrize("table", [[], {"x": 1}, {"error_rate_max": "1"}, {"window_s": True},
                                   {"energy_uj_max": -1}])  # fmt: skip
def test_a_mistake_in_verification_json_is_named(table: Any) -> None:
    with pytest.raises(WherryError, match=r"verification\.json"):
        parse_limits(table)
