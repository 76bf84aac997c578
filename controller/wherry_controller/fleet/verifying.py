"""Runs suites on devices: each unit is asked, observed and, in a drill, swapped and brought back.

Rules:
1. At most OPEN_MAX examinations are open at a time; the others wait for their turn.
2. A run ends when every examination has its verdict; it passed if all of them did. It is audited
   when it begins and when it ends.
3. A newer run takes a unit's model from an older one, which has then failed there; from a drill
   that is away it takes nothing, but waits until that is home, and looks at what serves there.
   Nor does a rollout. A rollback does, as if the drill were home, and so does the guard where the
   drill's home is bad: the drill has then failed.
4. After a restart what was asked is asked again.
"""

import json
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from wherry_protocol.codec import decode
from wherry_protocol.errors import Code, StateError, WherryError
from wherry_protocol.messages.desired import Mode
from wherry_protocol.messages.reported import Outcome, Phase
from wherry_protocol.messages.rpc import InferReply, Verb, VerifyReply
from wherry_protocol.replacing import replace

from wherry_controller.core.assurance import suites
from wherry_controller.core.assurance.keeping import exam_from_json, exam_to_json
from wherry_controller.core.assurance.limits import FigureLimits
from wherry_controller.core.assurance.suites import (
    OF_CANDIDATE,
    SUITES,
    Exam,
    Result,
    Step,
    Verdict,
)
from wherry_controller.core.plans.plan import parse_plan
from wherry_controller.core.rollouts import OPEN, Rollout, State, is_to_come_back
from wherry_controller.core.rollouts.members import Member, MemberPhase, Return
from wherry_controller.fleet import (
    asking,
    assigning,
    carrying,
    desires,
    escalating,
    figures,
    rollouts,
    targets,
)
from wherry_controller.fleet.assigning import Wish
from wherry_controller.fleet.organization import SYSTEM, ExamKey, Organization
from wherry_controller.fleet.reports import Seen
from wherry_controller.store import assignments, assurance, devices, meta, registry
from wherry_controller.store import rollouts as notes
from wherry_controller.store import verifications as kept
from wherry_controller.store.devices import UnitModel
from wherry_controller.store.questions import Question
from wherry_controller.store.verifications import Examination, Serving, Verification

OPEN_MAX: Final = 200
NAMES_MAX: Final = 100
SERVES_WELL: Final = (Outcome.CONFIRMED, Outcome.READY)  # a candidate leaves the active as it is
CHECKS: Final = ("deployment", "restored")  # whether what shall serve does
REPORTS_WAITED: Final = 3
SHORTEST_WAIT_S: Final = 180.0  # a device may still count an interval that was longer


@dataclass(frozen=True, slots=True)
class Run:
    """What to run. `version`: of a drill, where to swap to; of a check, what must serve."""

    suite: str
    target: str
    model: str = ""
    version: str | None = None
    reason: str = ""
    limits: FigureLimits = field(default_factory=FigureLimits)
    plan: dict[str, Any] = field(default_factory=dict)


def start(org: Organization, run: Run, who: str, now_s: float) -> str:
    """Begin a run; its id. Raises WherryError(INVALID | NOT_FOUND), StateError."""
    units = [facts.name for facts in targets.chosen(org.db, run.target, now_s)]
    return start_on(org, run, units, who, now_s)


def start_on(
    org: Organization,
    run: Run,
    units: Iterable[str],
    who: str,
    now_s: float,
    lost: Sequence[Member] = (),
) -> str:
    """`start`, on units that are known by name; those that are lost have failed already."""
    parse_plan(run.plan)
    assurance.select_units(org.db, units)
    found = kept.serving(org.db, run.model)
    if not found:
        what = run.model or "a model"
        raise WherryError(f"no unit of {run.target!r} serves {what}", Code.NOT_FOUND)
    number = int(meta.get(org.db, "verifications.count", "0")) + 1
    meta.put(org.db, "verifications.count", str(number))
    run_id = f"{run.suite}-{number}"
    kept.put(org.db, Verification(run_id, run.suite, run.target, run.model, who, run.reason, now_s,
                                  json.dumps(run.plan)))  # fmt: skip
    exams = [_examination(org, run, run_id, serving) for serving in found]
    for row in exams:
        _supersede(org, (row.connection, row.unit, row.model), run_id, now_s)
    kept.put_exams(org.db, exams + [_lost(run, run_id, one, now_s) for one in lost])
    org.record(now_s, who, "verification.start", run_id, run.reason, suite=run.suite,
               target=run.target, model=run.model, units=len(exams))  # fmt: skip
    begin_waiting(org, now_s)
    return run_id


def verify_restored(
    org: Organization,
    model: str,
    target: str,
    units: Collection[str],
    who: str,
    now_s: float,
    lost: Sequence[Member] = (),
) -> str | None:
    """A way back is done when its devices have proved what they serve now; the run's id.

    None where they serve nothing of the model any more: with none of them `lost` that is how it
    was before, and good. Whoever is lost has failed, whatever the others prove.
    """
    away = f", {len(lost)} did not" if lost else ""
    run = Run("restored", target, model, reason=f"after the way back: {target}{away}")
    assurance.select_units(org.db, units)
    if kept.serving(org.db, model):
        return start_on(org, run, units, who, now_s, lost)
    run_id = f"restored-{target}"
    why = f"{'nothing served before' if units else 'no device came back'}{away}"
    outcome = "failed" if lost else "passed"
    kept.put(org.db, Verification(run_id, "restored", target, model, who, why, now_s,
                                  ended_s=now_s, outcome=outcome))  # fmt: skip
    kept.put_exams(org.db, [_lost(run, run_id, one, now_s) for one in lost])
    named = dict(kept.failed_of(org.db, run_id, NAMES_MAX))
    org.record(now_s, SYSTEM, "verification.end", run_id, outcome, suite="restored", model=model,
               passed=0, failed=named)  # fmt: skip
    return None


def rollout_finished(org: Organization, rollout_id: str, state: str, now_s: float) -> None:
    """A rollout that has sent its devices back: those that are back are verified."""
    if state != State.REVERTED.value:
        return
    rollout = rollouts.load(org, rollout_id)
    back = [m.unit for m in rollout.members.values() if m.way_back is Return.BACK]
    lost = [m for m in rollout.members.values() if m.way_back is Return.LOST]
    verify_restored(org, rollout.model, rollout_id, back, SYSTEM, now_s, lost)


def _lost(run: Run, run_id: str, member: Member, now_s: float) -> Examination:
    """One that did not come back."""
    connection, name = devices.split_id(member.unit)
    digest = member.before or b""
    swap = Result(Step.SWAP, Verdict.FAILED, member.return_reason, now_s, now_s)
    exam = Exam(member.unit, run.model, digest, SUITES[run.suite], limits=run.limits,
                results=(swap,), verdict=Verdict.FAILED)  # fmt: skip
    return Examination(run_id, connection, name, run.model, run.suite, digest,
                       member.hardware_class, "", exam.verdict.value, exam.failure, now_s,
                       exam_to_json(exam))  # fmt: skip


def _examination(org: Organization, run: Run, run_id: str, serving: Serving) -> Examination:
    steps = SUITES[run.suite]
    held = open_exams(org).get((serving.connection, serving.unit, serving.model))
    if held is not None and held[1].is_away:
        home = held[1].digest
        serving = replace(serving, active=home, assigned=home)
    digest, other = serving.active, None
    if run.version is not None:
        named = registry.version(org.db, serving.model, run.version).digest
        digest, other = (digest, named) if Step.AWAY in steps else (named, None)
    elif Step.AWAY in steps:
        other = serving.previous
    elif run.suite in CHECKS:
        digest = serving.assigned or serving.active
    if Step.AWAY in steps:
        _refuse_claimed(org, (serving.connection, serving.unit, serving.model))
    exam = Exam(
        f"{serving.connection}/{serving.unit}",
        serving.model,
        digest,
        steps,
        other=other,
        candidate=serving.candidate,
        needs_candidate=run.suite in OF_CANDIDATE,
        telemetry_s=max(SHORTEST_WAIT_S, REPORTS_WAITED * float(serving.performance_s)),
        limits=run.limits,
    )
    subject = serving.candidate if run.suite in OF_CANDIDATE else None
    return Examination(run_id, serving.connection, serving.unit, serving.model, run.suite,
                       subject or digest, serving.hardware_class, serving.environment, "waiting",
                       "", None, exam_to_json(exam))  # fmt: skip


def _refuse_claimed(org: Organization, key: ExamKey) -> None:
    """A drill ends on what serves when it begins, so it begins where nothing else is on its way."""
    connection, name, model = key
    unit = f"{connection}/{name}"
    for rollout in rollouts.live_ones(org):
        member = rollout.members.get(unit)
        if rollout.model != model or member is None:
            continue
        if is_to_come_back(rollout, member):
            raise StateError(_on_its_way_back(unit, rollout))
        if rollout.state in OPEN and member.phase is not MemberPhase.SKIPPED:
            raise StateError(
                f"{unit} belongs to the open rollout {rollout.rollout_id}; a drill would take it"
                " away: await or abort it first"
            )
    _refuse_unsettled(org, key)


def _refuse_unsettled(org: Organization, key: ExamKey) -> None:
    """Also who was given up by a rollout that has ended is still to follow what it was sent; and
    who did not take that serves something else than it shall."""
    assigned = assignments.find(org.db, *key)
    found = stands(org, key)
    if assigned is None or (found.is_settled and not found.reason):
        return
    connection, name, model = key
    unit = f"{connection}/{name}"
    bundle = registry.find_bundle(org.db, assigned.bundle_digest)
    what = assigned.bundle_digest.hex()[:12] if bundle is None else bundle.version
    if found.is_settled:
        serving = devices.find_model(org.db, *key)
        version = "nothing" if serving is None else serving.active_version or "nothing"
        raise StateError(
            f"{unit} did not take {model} {what}, which {assigned.rollout or assigned.owner}"
            f" assigned last ({found.reason}); a drill would end on {version}, which serves"
            f" instead: give it what it shall serve (wherry rollback {model} --target {connection}"
            " --to-version VERSION), or leave it out"
        )
    if assigned.rollout:
        rollout = rollouts.load(org, assigned.rollout)
        member = rollout.members.get(unit)
        if member is not None and member.return_assignment_id == assigned.assignment_id:
            raise StateError(_on_its_way_back(unit, rollout))
    raise StateError(
        f"{unit} was assigned {model} {what} ({assigned.owner}) and has not ended that yet; a drill"
        f" would take it away: wait until it has (wherry device show {connection}), or leave it out"
    )


def _on_its_way_back(unit: str, rollout: Rollout) -> str:
    return (
        f"{unit} is on its way back from {rollout.model} {rollout.version} ({rollout.rollout_id} is"
        f" {rollout.state.value}); a drill would keep it there: wait until it is back"
        f" (wherry rollout show {rollout.rollout_id}), or leave it out"
    )


def _supersede(org: Organization, key: ExamKey, by: str, now_s: float) -> None:
    held = open_exams(org).get(key)
    if held is not None and not held[1].is_away:
        _give_up(org, key, f"superseded by {by}", now_s)


def _give_up(org: Organization, key: ExamKey, why: str, now_s: float) -> None:
    """An open examination goes no step further, home neither."""
    row, exam = open_exams(org).pop(key)
    failed = replace(exam, verdict=Verdict.FAILED)
    after = replace(row, outcome="failed", failure=why, ended_s=now_s,
                    document=exam_to_json(failed))  # fmt: skip
    kept.put_exam(org.db, after)
    _end_run(org, row.verification, now_s)


def drill_away(org: Organization, key: ExamKey) -> Exam | None:
    """The drill that is away with a unit's model: `digest` is its home, `other` where it went."""
    held = open_exams(org).get(key)
    return held[1] if held is not None and held[1].is_away else None


def at_home(org: Organization, row: UnitModel, drill: Exam) -> UnitModel:
    """What the unit will serve and go back to once the drill is home."""
    there = None if drill.other is None else registry.find_bundle(org.db, drill.other)
    version = None if there is None else there.version
    return replace(
        row, active_digest=drill.digest, previous_digest=drill.other, previous_version=version
    )


def take_from_drill(org: Organization, key: ExamKey, why: str, now_s: float) -> None:
    """Whoever may decides what the unit serves from now on: the drill brings nothing home."""
    if drill_away(org, key) is not None:
        _give_up(org, key, why, now_s)


def open_exams(org: Organization) -> dict[ExamKey, tuple[Examination, Exam]]:
    """Those that are open, as kept last (rule 4)."""
    if org.exams is None:
        org.exams = {
            (row.connection, row.unit, row.model): (row, exam_from_json(row.document))
            for row in kept.exams_in(org.db, "open", OPEN_MAX)
        }
        org.exams_to_resume = set(org.exams)
    return org.exams


def begin_waiting(org: Organization, now_s: float) -> None:
    """As many as have room (rule 1)."""
    exams = open_exams(org)
    room = OPEN_MAX - len(exams)
    for row in kept.exams_in(org.db, "waiting", room) if room > 0 else ():
        key = (row.connection, row.unit, row.model)
        if key in exams:
            continue  # another run looks at it; it is next
        exams[key] = (row, exam_from_json(row.document))
        exam, effects = suites.begin(exams[key][1], now_s)
        _keep(org, key, exam, effects, now_s)
    org.has_waiting = bool(kept.exams_in(org.db, "waiting", 1))


def tell(org: Organization, key: ExamKey, event: suites.Event, now_s: float) -> None:
    """Hand an event to the open examination of a unit's model, if there is one."""
    held = open_exams(org).get(key)
    if held is not None:
        exam, effects = suites.step(held[1], event, now_s)
        if exam is not held[1] or effects:
            _keep(org, key, exam, effects, now_s)


def _keep(
    org: Organization, key: ExamKey, exam: Exam, effects: suites.Effects, now_s: float
) -> None:
    """Carry out what follows, and what follows from that; then write it down once."""
    exams = open_exams(org)
    row, _ = exams[key]
    waiting: deque[suites.Effect] = deque(effects)
    while waiting:
        event = _carry_out(org, key, exam, waiting.popleft(), now_s)
        if event is not None:
            exam, more = suites.step(exam, event, now_s)
            waiting.extend(more)
    is_open = exam.verdict is Verdict.OPEN
    subject = exam.candidate if row.suite in OF_CANDIDATE else None
    row = replace(
        row,
        digest=subject or exam.digest,
        outcome="open" if is_open else exam.verdict.value,
        failure=exam.failure,
        ended_s=None if is_open else now_s,
        document=exam_to_json(exam),
    )
    kept.put_exam(org.db, row)
    exams[key] = (row, exam)
    if not is_open:
        del exams[key]
        if exam.is_away:
            _tell(org, "critical", f"drill:{exam.unit}:{exam.model}",
                  f"{exam.unit}: the drill of {exam.model} did not come back: {exam.failure}",
                  now_s)  # fmt: skip
        if exam.verdict is Verdict.FAILED:
            escalating.suite_failed(org, exam.unit, exam.model, row.suite, exam.failure, now_s)
        _end_run(org, row.verification, now_s)


def _end_run(org: Organization, run_id: str, now_s: float) -> None:
    """The verdict of the run, when nothing is left (rule 2)."""
    if kept.is_under_way(org.db, run_id):
        return
    run = kept.get(org.db, run_id)
    counted = kept.counts(org.db, run_id)
    failed = counted.get("failed", 0)
    outcome = "failed" if failed else "passed"
    kept.put(org.db, replace(run, ended_s=now_s, outcome=outcome))
    named = dict(kept.failed_of(org.db, run_id, NAMES_MAX))
    org.record(now_s, SYSTEM, "verification.end", run_id, outcome, suite=run.suite,
               model=run.model, passed=counted.get("passed", 0), failed=named)  # fmt: skip
    if run.suite == "restored":
        text = f"rollback of {run.model} ({run_id}): {counted.get('passed', 0)} verified"
        text += f", {failed} not: {', '.join(list(named)[:3])}" if failed else ""
        _tell(org, "critical" if failed else "info", f"restored:{run_id}", text, now_s)


def _tell(org: Organization, severity: str, topic: str, text: str, now_s: float) -> None:
    notes.put_notice(org.db, notes.Notice(None, now_s, severity, topic, "", text))


def _carry_out(
    org: Organization, key: ExamKey, exam: Exam, effect: suites.Effect, now_s: float
) -> suites.Event | None:
    """Do it; what is known at once."""
    if isinstance(effect, suites.Look):
        return stands(org, key)
    if isinstance(effect, suites.Count):
        since_s = max(now_s - exam.limits.window_s, 0.0)
        return suites.Counted(figures.of_unit(org.db, key, exam.digest, since_s))
    if isinstance(effect, suites.Bring):
        obstacle = _why_not_away(org, key, exam) if exam.step is Step.AWAY else ""
        return suites.Refused(obstacle) if obstacle else _bring(org, key, effect.digest, now_s)
    run = kept.get(org.db, open_exams(org)[key][0].verification)
    try:
        verb, body = _question(org, key, exam, effect)
        asked = asking.ask(org, exam.unit, verb, body, run.who, run.reason or run.id, now_s)
    except WherryError as error:
        return suites.Refused(str(error))
    org.exam_questions[asked] = key
    return None


def _question(
    org: Organization, key: ExamKey, exam: Exam, effect: suites.Effect
) -> tuple[Verb, bytes]:
    """Of the active bundle without its digest, so that units of older versions answer too."""
    if isinstance(effect, suites.AskVerify):
        row = devices.find_model(org.db, *key)
        is_active = row is not None and row.active_digest == effect.digest
        digest = None if is_active else effect.digest
        unit = devices.unit(org.db, key[0], key[1])
        return Verb.VERIFY, asking.verify_body(unit, exam.model, digest)
    if isinstance(effect, suites.AskInfer):
        sample = figures.sample_input(org, exam.digest)
        return Verb.INFER, asking.body_of(Verb.INFER, exam.model, sample, 0)
    return Verb.STATUS, b""


def stands(org: Organization, key: ExamKey) -> suites.Stands:
    """What the unit reports of the model."""
    row = devices.find_model(org.db, *key)
    if row is None:
        return suites.Stands(None, None, is_confirmed=False, is_settled=False)
    assigned = assignments.find(org.db, *key)
    is_newest = assigned is None or row.assignment_id == assigned.assignment_id
    is_settled = is_newest and row.phase == Phase.IDLE
    has_failed = row.outcome in (Outcome.REJECTED, Outcome.REVERTED)
    return suites.Stands(
        row.active_digest,
        row.candidate_digest,
        is_confirmed=row.outcome in SERVES_WELL,
        is_settled=is_settled,
        reason=(row.reason or "it failed") if has_failed and is_settled else "",
    )


def _why_not_away(org: Organization, key: ExamKey, exam: Exam) -> str:
    """A drill may have waited, and its unit may have been given something else meanwhile."""
    try:
        _refuse_claimed(org, key)
    except StateError as error:
        return str(error)
    row = devices.find_model(org.db, *key)
    if row is not None and row.active_digest == exam.digest:
        return ""
    home = registry.find_bundle(org.db, exam.digest)
    what = exam.digest.hex()[:12] if home is None else home.version
    version = None if row is None else row.active_version
    return f"it serves {version or 'nothing'} by now, and not {what}: start the drill anew"


def _bring(org: Organization, key: ExamKey, digest: bytes, now_s: float) -> suites.Event | None:
    connection, name, model = key
    unit = devices.unit(org.db, connection, name)
    bundle = registry.find_bundle(org.db, digest)
    if bundle is None:
        return suites.Refused(f"{digest.hex()[:12]} is not in the registry")
    manifest = desires.manifest_of(bundle.manifest)
    held = open_exams(org)[key][0]
    plan = parse_plan(json.loads(kept.get(org.db, held.verification).plan))
    if unit.hardware_class not in manifest.budgets:
        return suites.Refused(f"{bundle.version} has no budget for class {unit.hardware_class}")
    trial = carrying.way_back_trial(plan.trial, unit, bundle)
    attempt = assigning.next_attempt(org, unit, model)
    wish = Wish(bundle, manifest, trial, "manual", "", Mode.ACTIVE, attempt)
    unfit = assigning.why_unfit(org, unit, wish)
    if unfit is not None:
        return suites.Refused(unfit[1])
    assigning.assign(org, unit, wish, now_s)
    return None


# --- what devices say


def answered(org: Organization, row: Question, now_s: float) -> None:
    """An answer came: to an examination, if it was that that asked."""
    key = org.exam_questions.pop(row.id, None)
    if key is not None:
        tell(org, key, _event_of(row), now_s)


def _event_of(row: Question) -> suites.Event:
    if row.code != Code.OK:
        return suites.Refused(row.text or "it answered with an error")
    body = row.body or b""
    try:
        if row.verb == Verb.VERIFY:
            told = decode(VerifyReply, body)
            return suites.Proved(told.manifest_digest, told.is_intact, told.golden_passed,
                                 told.golden_count, told.latency_us_p95)  # fmt: skip
        if row.verb == Verb.INFER:
            made = decode(InferReply, body)
            return suites.Inferred(made.manifest_digest, made.latency_us)
    except WherryError as error:
        return suites.Refused(f"its answer cannot be read: {error}")
    return suites.Alive((row.answered_s or row.asked_s) - row.asked_s)


def observe(org: Organization, changed: Iterable[UnitModel], now_s: float) -> None:
    """Units reported what they serve."""
    exams = open_exams(org)
    for row in changed:
        key = (row.connection, row.unit, row.model)
        if key in exams:
            tell(org, key, stands(org, key), now_s)


def watch(org: Organization, seen: Iterable[Seen], now_s: float) -> None:
    """Reports arrived."""
    exams = open_exams(org)
    if not exams:
        return
    for report in seen:
        for one in report.performances:
            key = (report.connection, report.unit, one.model)
            if key in exams and one.slot == rollouts.SERVING_SLOT:
                event = suites.Measured(one.digest, one.inferences, report.ended_s)
                tell(org, key, event, now_s)


def tick(org: Organization, now_s: float) -> None:
    """What is late has failed; who waited may begin; what a former process asked is asked again."""
    exams = open_exams(org)
    if not exams:
        org.exam_questions.clear()
    for key in sorted(org.exams_to_resume & exams.keys()):
        _keep(org, key, exams[key][1], suites.resume(exams[key][1]), now_s)
    org.exams_to_resume = set()
    for key in list(exams):
        tell(org, key, suites.Late(), now_s)
    if org.has_waiting:
        begin_waiting(org, now_s)


def forget(org: Organization) -> None:
    """The transaction failed: what is in memory is ahead of what is kept."""
    org.exams = None
    org.exam_questions.clear()
    org.has_waiting = True
