"""Preconditions over facts: what passes, what does not, and what the policy makes of it."""

from dataclasses import replace
from typing import Any

import pytest
from wherry_controller.core.assurance import (
    PRECONDITIONS,
    BackTarget,
    Demand,
    Facts,
    Policy,
    Verdict,
    hurried,
    judge,
    policy_for,
)
from wherry_controller.core.assurance.facts import Drill, Passed, Power, Shadowed
from wherry_controller.core.assurance.policy import parse_policies
from wherry_controller.core.assurance.preconditions import suite_for
from wherry_controller.core.rollouts import parse_plan
from wherry_protocol.errors import WherryError

GOOD = Facts(
    "digits",
    "1.1.0",
    now_s=1_800_000_000.0,
    created_by="ada",
    started_by="bob",
    on_call="bob",
    classes={"linux-x86_64": 4},
    back=(BackTarget("linux-x86_64", "1.0.0", 4, "gw0/self", "a0"),),
    shadows=(Shadowed("a0", True, "digits-1.1.0-1", "990 of 1000 agreed"),),
    is_announced=True,
    power=tuple(
        Power(name, 500.0, 420.0, "measured:hwmon") for name in ("linux-x86_64", "cortex-m-sim")
    ),
    host_tests=(12, 0),
    gated_stages=2,
    stage_count=2,
    required=("errors",),
    passed=tuple(
        Passed("smoke" if where else "integration", "linux-x86_64", where)
        for where in ("", "simulation", "staging")
    )
    + tuple(Passed("integration", "linux-x86_64", where) for where in ("simulation", "staging")),
    drill=Drill(1_800_000_000.0 - 29 * 86_400.0, 12.0, "gw0/self"),
    alert_test=(1_800_000_000.0 - 86_400.0, True),
    stage="staging",
    failed_gates=(),
)
EVERYTHING = Policy(dict.fromkeys(PRECONDITIONS, Demand.BLOCK))


def group(**changed: Any) -> tuple[BackTarget, ...]:
    return (replace(GOOD.back[0], **changed),)


def test_good_facts_pass_every_precondition() -> None:
    found = judge(GOOD, EVERYTHING)
    assert [f.item for f in found.findings] == list(PRECONDITIONS)
    assert found.blockers == ()


@pytest.mark.parametrize(
    ("item", "changed", "verdict", "words"),
    [
        ("rollback_target", {"back": group(is_in_registry=False)}, "failed", "not in the registry"),
        ("rollback_target", {"back": group(has_budget=False)}, "failed", "no budget for class"),
        ("rollback_target", {"back": group(is_above_floor=False)}, "failed", "security floor"),
        ("rollback_target", {"back": group(has_failed=True)}, "failed", "failed there before"),
        ("gradual", {"is_all_at_once": True}, "failed", "take strategy canary"),
        ("success_criteria", {"gated_stages": 0}, "failed", "no stage has a gate"),
        ("success_criteria", {"required": ()}, "failed", "requires no check"),
        ("approval", {"started_by": "ada"}, "needs a person", "--draft"),
        ("approval", {"started_by": ""}, "needs a person", "--draft"),
        ("drill", {"drill": None}, "failed", "never practised"),
        (
            "drill",
            {"drill": Drill(1_800_000_000.0 - 31 * 86_400.0, 12.0, "gw0/self")},
            "failed",
            "31.0 days ago",
        ),
        (
            "hardware_tested",
            {"classes": {"linux-x86_64": 4, "cortex-m-sim": 1}},
            "failed",
            "no device of cortex-m-sim passed suite integration",
        ),
        (
            "simulation",
            {"passed": tuple(p for p in GOOD.passed if p.environment != "simulation")},
            "failed",
            "label:env=simulation --suite integration",
        ),
        (
            "staging",
            {"passed": tuple(p for p in GOOD.passed if p.environment != "staging")},
            "failed",
            "label:env=staging --suite integration",
        ),
        ("alerts_tested", {"alert_test": None}, "failed", "never tested"),
        ("alerts_tested", {"alert_test": (1_800_000_000.0, False)}, "failed", "did not reach"),
        ("on_call", {"on_call": ""}, "needs a person", "--on-call"),
        ("promotion", {"stage": "development"}, "failed", "promote digits:1.1.0 --to staging"),
        ("promotion", {"stage": "archived"}, "failed", "is in archived"),
        ("evaluation", {"failed_gates": ("accuracy",)}, "failed", "fail: accuracy"),
        ("evaluation", {"failed_gates": None}, "failed", "nobody looked"),
        ("shadow_passed", {"shadows": ()}, "failed", "no shadow of 1.1.0 beside 1.0.0 passed"),
        ("shadow_passed", {"back": group(digest="a1")}, "failed", "--strategy shadow"),
        (
            "shadow_passed",
            {"shadows": (Shadowed("a0", False, "digits-1.1.0-1", "90 of 1000 agreed"),)},
            "failed",
            "digits-1.1.0-1 failed: 90 of 1000",
        ),
        ("power_budget", {"power": ()}, "failed", "no power_mw in the budget of linux-x86_64"),
        ("power_budget", {"power": (Power("linux-x86_64", None, 1.0),)}, "failed", "no power_mw"),
        ("power_budget", {"power": (Power("linux-x86_64", 9.0),)}, "failed", "nobody measured"),
        (
            "power_budget",
            {"power": (Power("linux-x86_64", 9.0, 9.0, "modelled:datasheet"),)},
            "failed",
            "9 of 9 mW on linux-x86_64 (modelled:datasheet)",
        ),
        ("host_tests", {"host_tests": None}, "failed", "pins no report"),
        ("host_tests", {"host_tests": (11, 1)}, "failed", "1 of 12 tests failed or were skipped"),
        ("host_tests", {"host_tests": (0, 0)}, "failed", "0 of 0"),
        ("announced", {"is_announced": None}, "failed", "--draft"),
        ("announced", {"is_announced": False}, "failed", "has not arrived everywhere"),
        ("monitoring", {"quiet": 2, "quiet_example": "gw1/self"}, "failed", "gw1/self"),
    ],
)
def test_what_does_not_hold_says_what_to_do(
    item: str, changed: dict[str, Any], verdict: str, words: str
) -> None:
    [found] = judge(replace(GOOD, **changed), EVERYTHING).blockers
    assert (found.item, found.verdict.value) == (item, verdict)
    assert words in found.text


def test_every_precondition_can_fail() -> None:
    """Facts of which nothing is known pass nothing that measures (fail closed)."""
    nothing = Facts("digits", "1.1.0", now_s=0.0, created_by="ada", quiet=1,
                    is_all_at_once=True, back=group(is_in_registry=False))  # fmt: skip
    found = judge(nothing, EVERYTHING)
    assert [f.item for f in found.blockers] == list(PRECONDITIONS)


def test_a_first_install_goes_back_to_nothing_or_to_the_safe_output() -> None:
    first = group(version="", is_in_registry=False, has_budget=False)
    for has_safe, words in ((True, "safe output"), (False, "nothing served before")):
        facts = replace(GOOD, back=first, has_safe_output=has_safe)
        [found] = judge(facts, Policy({"rollback_target": Demand.BLOCK})).findings
        assert found.verdict is Verdict.PASSED
        assert words in found.text
        assert found.evidence == {"targets": {"nothing": 4}, "has_safe_output": has_safe}


def test_an_emergency_waits_for_no_approval_and_for_no_dwell_and_for_nothing_less() -> None:
    facts = replace(GOOD, started_by="ada", is_emergency=True)
    assert judge(facts, EVERYTHING).blockers == ()
    lost = replace(facts, back=group(is_in_registry=False))
    assert [f.item for f in judge(lost, EVERYTHING).blockers] == ["rollback_target"]
    plan = parse_plan({"strategy": "canary"})
    after = hurried(plan)
    assert {(stage.soak_s, stage.not_before_s) for stage in after.stages} == {(0.0, 0.0)}
    assert [stage.is_gated for stage in after.stages] == [s.is_gated for s in plan.stages]
    assert (after.gate, after.trial) == (plan.gate, plan.trial)


def test_what_is_forced_does_not_block_and_is_marked() -> None:
    facts = replace(GOOD, on_call="", quiet=1)
    found = judge(facts, EVERYTHING, frozenset({"on_call", "approval"}))
    assert [f.item for f in found.blockers] == ["monitoring"]
    assert [f.item for f in found.findings if f.is_forced] == ["on_call"]


@pytest.mark.parametrize(
    ("names", "on_call"),
    [
        ((), Demand.OFF),
        (("",), Demand.OFF),
        (("simulation", "dev"), Demand.OFF),
        (("staging",), Demand.OFF),
        (("", "production"), Demand.BLOCK),
        (("prod",), Demand.BLOCK),  # a name that nobody has heard of opens no door
        (("lab",), Demand.WARN),
        (("lab", "production"), Demand.BLOCK),
    ],
)
def test_the_strictest_environment_decides(names: tuple[str, ...], on_call: Demand) -> None:
    given = parse_policies({"lab": {"on_call": "warn"}}, PRECONDITIONS, "f: [environments]")
    assert policy_for(names, given).of("on_call") is on_call


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"production": {"on_cal": "block"}}, "did you mean 'on_call'"),
        ({"production": {"on_call": "maybe"}}, "must be one of block, warn, off"),
        ({"production": {"drill_days_max": 0}}, "drill_days_max"),
        ({"production": {"drill_days_max": True}}, "drill_days_max"),
        ({"production": 3}, "must be a table"),
        ([], "must be a table of tables"),
    ],
)
def test_a_mistake_in_a_policy_is_named(table: Any, words: str) -> None:
    with pytest.raises(WherryError, match=words):
        parse_policies(table, PRECONDITIONS, "wherry.toml: [environments]")


@pytest.mark.parametrize(
    ("serving", "version", "suite"),
    [
        ("1.0.0", "1.0.1", "smoke"),
        ("1.0.0", "1.1.0", "integration"),
        ("1.0.0", "2.0.0", "integration"),
        ("", "1.0.0", "integration"),
    ],
)
def test_a_patch_needs_its_golden_vectors_and_everything_else_integration(
    serving: str, version: str, suite: str
) -> None:
    facts = replace(GOOD, version=version, back=group(version=serving))
    assert suite_for(facts) == suite


@pytest.mark.parametrize(
    ("suite", "version", "verdict"),
    [
        ("production", "1.1.0", Verdict.FAILED),  # it served nobody there
        ("production", "1.0.1", Verdict.PASSED),
        ("integration", "1.1.0", Verdict.PASSED),
        ("full", "1.1.0", Verdict.PASSED),
        ("deployment", "1.0.1", Verdict.FAILED),
    ],
)
def test_a_candidate_that_passed_production_has_only_shown_its_golden_vectors(
    suite: str, version: str, verdict: Verdict
) -> None:
    passed = tuple(Passed(suite, "linux-x86_64", where) for where in ("simulation", "staging"))
    found = judge(replace(GOOD, version=version, passed=passed), EVERYTHING).findings
    verdicts = {one.item: one.verdict for one in found}
    assert {verdicts[item] for item in ("hardware_tested", "simulation", "staging")} == {verdict}
