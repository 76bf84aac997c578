"""What must hold before a rollout may start: one small function per precondition.

Rules:
1. A precondition looks at facts and at nothing else; what is not known does not pass.
2. Its finding says what was found and, where it did not pass, what to do.
3. What does not pass blocks, warns or is passed over as the environment's policy demands. An
   admin may let a named one pass; that is told with the start.
4. An emergency waits for nobody's approval and for no dwell. Everything else holds.

    judge(Facts("digits", "1.1.0", now_s=0.0), Policy({"on_call": Demand.BLOCK})).blockers
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

from wherry_controller.core.assurance.facts import BackTarget, Facts
from wherry_controller.core.assurance.policy import SIMULATION, STAGING, Demand, Policy
from wherry_controller.core.assurance.suites import worth
from wherry_controller.core.plans.plan import Plan
from wherry_controller.core.plans.stages import SERVING
from wherry_controller.core.registry.bumps import Bump
from wherry_controller.core.registry.notes import bump_for
from wherry_controller.core.subset import WHOLE_BP

NAMES_MAX: Final = 3
DAY_S: Final = 86_400.0
PROMOTED: Final = ("staging", "production")


class Verdict(Enum):
    """How a precondition stands."""

    PASSED = "passed"
    FAILED = "failed"
    NEEDS_PERSON = "needs a person"  # nothing can be measured: somebody must say or do it


@dataclass(frozen=True, slots=True)
class Finding:
    """What a precondition found. `demand` is the policy's; a forced one does not block."""

    item: str
    verdict: Verdict
    text: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    demand: Demand = Demand.OFF
    is_forced: bool = False

    @property
    def is_open(self) -> bool:
        return self.verdict is not Verdict.PASSED and not self.is_forced


@dataclass(frozen=True, slots=True)
class Judgement:
    """Every finding that the policy asks for, in the table's order."""

    findings: tuple[Finding, ...]

    @property
    def blockers(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.is_open and f.demand is Demand.BLOCK)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.is_open and f.demand is Demand.WARN)


Answer = tuple[Verdict, str, Mapping[str, Any]]


def rollback_target(facts: Facts, _policy: Policy) -> Answer:
    """Every unit has a version to go back to that the controller can name and resend."""
    found: dict[str, int] = {}
    lost: list[str] = []
    for group in facts.back:
        why = _why_no_way_back(group)
        if why:
            lost.append(f"{_units(group.count, group.example)} cannot go back: {why}")
        found[group.version or "nothing"] = found.get(group.version or "nothing", 0) + group.count
    evidence = {"targets": found, "has_safe_output": facts.has_safe_output}
    if lost:
        return Verdict.FAILED, "; ".join(lost[:NAMES_MAX]), evidence
    served = [f"{version} on {count}" for version, count in found.items() if version != "nothing"]
    first = found.get("nothing", 0)
    if first:
        safe = "its safe output answers" if facts.has_safe_output else "nothing served before"
        served.append(f"first install on {first}, {safe}")
    return Verdict.PASSED, f"way back: {', '.join(served) or 'no unit is touched'}", evidence


def _why_no_way_back(group: BackTarget) -> str:
    version = group.version
    if not version:
        return ""  # a first install: the way back is to take the model away again
    if not group.is_in_registry:
        return f"{version} is not in the registry, push its bundle"
    if not group.has_budget:
        return f"{version} has no budget for class {group.hardware_class}, push one that has"
    if not group.is_above_floor:
        return f"{version} is below the new security floor, publish a version above it"
    if group.has_failed:
        return f"{version} failed there before, bring a good version first"
    return ""


def _units(count: int, example: str) -> str:
    return example if count == 1 else f"{count} units ({example}, …)"


def gradual(facts: Facts, _policy: Policy) -> Answer:
    """Nothing begins to serve on every unit at once."""
    evidence = {"stages": facts.stage_count}
    if not facts.is_all_at_once:
        return Verdict.PASSED, f"it spreads in {facts.stage_count} stages", evidence
    text = (
        f"it would serve on all {facts.unit_count} units at once: take strategy canary (or linear,"
        " rolling, pilot), or a subset like 25%"
    )
    return Verdict.FAILED, text, evidence


def success_criteria(facts: Facts, _policy: Policy) -> Answer:
    """The plan says by which figures it is judged."""
    evidence = {"gated_stages": facts.gated_stages, "required": list(facts.required)}
    if facts.gated_stages and facts.required:
        text = f"{facts.gated_stages} of {facts.stage_count} stages are gated: {facts.gate}"
        return Verdict.PASSED, text, evidence
    lack = "no stage has a gate" if facts.required else "its gate requires no check"
    text = f"{lack}: choose a strategy with stages, or give [[stages]] and [gate] in the file"
    return Verdict.FAILED, text, evidence


def approval(facts: Facts, _policy: Policy) -> Answer:
    """Somebody other than its author lets it start."""
    evidence = {"created_by": facts.created_by, "started_by": facts.started_by}
    if facts.is_emergency:
        return Verdict.PASSED, f"emergency: {facts.started_by} starts it at once", evidence
    if facts.started_by and facts.started_by != facts.created_by:
        return Verdict.PASSED, f"approved by {facts.started_by}", evidence
    text = f"{facts.created_by} made it: create it with --draft and have another person approve it"
    return Verdict.NEEDS_PERSON, text, evidence


def on_call(facts: Facts, _policy: Policy) -> Answer:
    """There is somebody to call."""
    if facts.on_call:
        return Verdict.PASSED, f"{facts.on_call} is on call", {"on_call": facts.on_call}
    return Verdict.NEEDS_PERSON, "nobody is named: give --on-call with a name or number", {}


def monitoring(facts: Facts, _policy: Policy) -> Answer:
    """Every selected unit reports; the standing guard's rules watch whatever reports."""
    evidence = {"units": facts.unit_count, "quiet": facts.quiet}
    if not facts.quiet:
        return Verdict.PASSED, f"{facts.unit_count} units report, the guard watches", evidence
    text = (
        f"{_units(facts.quiet, facts.quiet_example)} did not report for three intervals:"
        " bring them back, or leave them out of the target"
    )
    return Verdict.FAILED, text, evidence


def promotion(facts: Facts, _policy: Policy) -> Answer:
    """Two people have let the version out of development."""
    evidence = {"stage": facts.stage}
    if facts.stage in PROMOTED:
        return Verdict.PASSED, f"the version is in {facts.stage}", evidence
    name = f"{facts.model}:{facts.version}"
    text = f"{name} is in {facts.stage or 'no stage'}: wherry registry promote {name} --to staging"
    return Verdict.FAILED, text, evidence


def evaluation(facts: Facts, _policy: Policy) -> Answer:
    """The version passes its release gates: accuracy, F1, latency, budgets."""
    evidence = {"failed": None if facts.failed_gates is None else list(facts.failed_gates)}
    if facts.failed_gates == ():
        return Verdict.PASSED, "every release gate passes", evidence
    what = "nobody looked" if facts.failed_gates is None else ", ".join(facts.failed_gates)
    text = f"release gates fail: {what}; see wherry model gates {facts.model}:{facts.version}"
    return Verdict.FAILED, text, evidence


def drill(facts: Facts, policy: Policy) -> Answer:
    """The way back of this model was practised not long ago."""
    newest, days_max = facts.drill, policy.drill_days_max
    how = f"run wherry drill --model {facts.model} --target UNIT --reason WHY on a canary device"
    if newest is None:
        return Verdict.FAILED, f"the way back was never practised: {how}", {}
    days = (facts.now_s - newest.at_s) / DAY_S
    evidence = {"at_s": newest.at_s, "duration_s": newest.duration_s, "unit": newest.unit}
    text = f"practised on {newest.unit} {days:.1f} days ago in {newest.duration_s:.0f} s"
    if days <= days_max:
        return Verdict.PASSED, text, evidence
    return Verdict.FAILED, f"{text}, at most {days_max:g} days may pass: {how}", evidence


SUITE_FOR: Final[Mapping[Bump, str]] = {
    Bump.PATCH: "smoke",  # golden vectors suffice
    Bump.MINOR: "integration",
    Bump.MAJOR: "integration",
    Bump.NONE: "integration",  # a first install, or an older version: nothing vouches for it
}


def suite_for(facts: Facts) -> str:
    """The least suite that the step from what serves to the new version asks for."""
    return SUITE_FOR[bump_for({group.version for group in facts.back if group.version},
                              facts.version)]  # fmt: skip


def _passing(facts: Facts, environment: str | None) -> set[str]:
    """The classes on which this bundle passed what is asked for (there, if anywhere)."""
    least = worth(suite_for(facts))
    return {
        each.hardware_class
        for each in facts.passed
        if worth(each.suite) >= least and environment in (None, each.environment)
    }


def hardware_tested(facts: Facts, _policy: Policy) -> Answer:
    """At least one device of each targeted class has passed with exactly this bundle."""
    suite, missing = suite_for(facts), sorted(facts.classes.keys() - _passing(facts, None))
    evidence = {"suite": suite, "missing": missing, "classes": sorted(facts.classes)}
    if facts.classes and not missing:
        return Verdict.PASSED, f"suite {suite} passed on {', '.join(facts.classes)}", evidence
    names = ", ".join(missing) or "no class"
    text = f"no device of {names} passed suite {suite} with {facts.version}: run wherry verify"
    return Verdict.FAILED, text, evidence


def simulation(facts: Facts, _policy: Policy) -> Answer:
    """This bundle passed where env=simulation."""
    return _passed_in(facts, SIMULATION)


def staging(facts: Facts, _policy: Policy) -> Answer:
    """This bundle passed where env=staging."""
    return _passed_in(facts, STAGING)


def _passed_in(facts: Facts, environment: str) -> Answer:
    suite, found = suite_for(facts), sorted(_passing(facts, environment))
    evidence = {"suite": suite, "classes": found}
    if found:
        return Verdict.PASSED, f"suite {suite} passed on {', '.join(found)}", evidence
    text = (
        f"suite {suite} has no report of {facts.version} from env={environment}: deploy it there"
        f" and run wherry verify --target label:env={environment} --suite {suite}"
    )
    return Verdict.FAILED, text, evidence


def alerts_tested(facts: Facts, policy: Policy) -> Answer:
    """A synthetic breach was raised not long ago, and everybody was told."""
    how = "run wherry alerts test"
    if facts.alert_test is None:
        return Verdict.FAILED, f"alerts were never tested: {how}", {}
    at_s, has_arrived = facts.alert_test
    days = (facts.now_s - at_s) / DAY_S
    evidence = {"at_s": at_s, "has_arrived": has_arrived}
    if has_arrived and days <= policy.drill_days_max:
        return Verdict.PASSED, f"a test alert arrived {days:.1f} days ago", evidence
    why = f"is {days:.0f} days old" if has_arrived else "did not reach everybody"
    return Verdict.FAILED, f"the newest test alert {why}: {how}", evidence


def shadow_passed(facts: Facts, _policy: Policy) -> Answer:
    """It ran as a shadow beside exactly what the selected units serve, and passed."""
    if not facts.serves:
        return Verdict.PASSED, "it is a shadow itself and serves nobody", {}
    passed = {each.primary: each for each in facts.shadows if each.is_passed}
    failed = {each.primary: each for each in facts.shadows if not each.is_passed}
    beside = {group.digest: group.version for group in facts.back if group.version}
    missing = sorted(version for digest, version in beside.items() if digest not in passed)
    evidence = {"missing": missing, "rollouts": sorted(one.rollout for one in passed.values())}
    if not beside:
        return Verdict.PASSED, "nothing serves that it could run beside", evidence
    if not missing:
        told = ", ".join(f"{passed[d].rollout} ({passed[d].text})" for d in beside)
        return Verdict.PASSED, f"shadow passed: {told}", evidence
    why = [f"{failed[d].rollout} failed: {failed[d].text}" for d in beside if d in failed]
    text = f"no shadow of {facts.version} beside {', '.join(missing)} passed"
    how = "create a rollout with --strategy shadow first"
    return Verdict.FAILED, "; ".join([text, *why[:NAMES_MAX], how]), evidence


def announced(facts: Facts, _policy: Policy) -> Answer:
    """Whoever wants to know has got the announcement."""
    evidence = {"is_announced": facts.is_announced}
    if facts.is_announced:
        return Verdict.PASSED, "the announcement has arrived", evidence
    how = "see wherry notify list" if facts.is_announced is False else (
        "give a route the event rollout.announced, create it with --draft and start it afterwards"
    )  # fmt: skip
    what = "has not arrived everywhere" if facts.is_announced is False else "was sent to nobody"
    return Verdict.FAILED, f"the announcement {what}: {how}", evidence


def power_budget(facts: Facts, _policy: Policy) -> Answer:
    """On each targeted class somebody found out what it takes, and it is within the budget."""
    known = {each.hardware_class: each for each in facts.power}
    found: list[str] = []
    bad: list[str] = []
    for name in sorted(facts.classes):
        each = known.get(name)
        if each is None or each.budget_mw is None:
            bad.append(f"its manifest has no power_mw in the budget of {name}")
        elif each.highest_mw is None:
            bad.append(f"nobody measured or modelled its power on {name}, run it there first")
        else:
            text = f"{each.highest_mw:.4g} of {each.budget_mw:g} mW on {name} ({each.method})"
            (found if each.highest_mw < each.budget_mw else bad).append(text)
    evidence = {each.hardware_class: [each.highest_mw, each.budget_mw, each.method]
                for each in facts.power}  # fmt: skip
    is_good = bool(found) and not bad
    text = "; ".join(found if is_good else bad) or "no class is targeted"
    return Verdict.PASSED if is_good else Verdict.FAILED, text, evidence


def host_tests(facts: Facts, _policy: Policy) -> Answer:
    """The tests that its makers ran all passed, and the bundle pins their report."""
    if facts.host_tests is None:
        text = "the bundle pins no report of its tests: wherry model package --tests REPORT.xml"
        return Verdict.FAILED, text, {}
    passed, failed = facts.host_tests
    evidence = {"passed": passed, "failed": failed}
    if passed and not failed:
        return Verdict.PASSED, f"all {passed} tests passed", evidence
    text = (
        f"{failed} of {passed + failed} tests failed or were skipped: repair and package it again"
    )
    return Verdict.FAILED, text, evidence


Precondition = Callable[[Facts, Policy], Answer]
PRECONDITIONS: Final[Mapping[str, Precondition]] = {
    "rollback_target": rollback_target,
    "gradual": gradual,
    "success_criteria": success_criteria,
    "approval": approval,
    "on_call": on_call,
    "monitoring": monitoring,
    "drill": drill,
    "hardware_tested": hardware_tested,
    "simulation": simulation,
    "staging": staging,
    "alerts_tested": alerts_tested,
    "promotion": promotion,
    "evaluation": evaluation,
    "shadow_passed": shadow_passed,
    "announced": announced,
    "power_budget": power_budget,
    "host_tests": host_tests,
}


OF_VERSION: Final = frozenset(
    {
        "rollback_target", "hardware_tested", "simulation", "staging", "promotion",
        "evaluation", "shadow_passed", "power_budget", "host_tests",
    }
)  # fmt: skip


def judge(facts: Facts, policy: Policy, forced: frozenset[str] = frozenset()) -> Judgement:
    """What the policy asks for, found (rules 2 and 3)."""
    findings = []
    for item, look in PRECONDITIONS.items():
        demand = policy.of(item)
        if demand is not Demand.OFF:
            verdict, text, evidence = look(facts, policy)
            is_forced = item in forced and verdict is not Verdict.PASSED
            findings.append(Finding(item, verdict, text, evidence, demand, is_forced))
    return Judgement(tuple(findings))


def judge_first(facts: Facts, policy: Policy, forced: frozenset[str] = frozenset()) -> Judgement:
    """What does not hold of a version that the rollout brings before its own (`facts` of that one):
    it serves there, too."""
    found = judge(facts, policy, forced).findings
    return Judgement(
        tuple(
            replace(one, text=f"{facts.version}, which is brought first: {one.text}")
            for one in found
            if one.item in OF_VERSION and one.verdict is not Verdict.PASSED
        )
    )


def is_all_at_once(plan: Plan) -> bool:
    """Would its first stage let it serve on the whole target?"""
    first = plan.stages[0]
    return first.action in SERVING and min(first.share_bp, plan.subset_bp) == WHOLE_BP


def hurried(plan: Plan) -> Plan:
    """The plan of an emergency: no dwell, no waiting for a day; its gates and trials stay."""
    stages = tuple(replace(stage, soak_s=0.0, not_before_s=0.0) for stage in plan.stages)
    return replace(plan, stages=stages)
