"""Suites: what is asked of one unit and model, step by step, until a verdict stands.

Rules:
1. A suite is a tuple of steps; each is begun, and ends passed, failed or (candidate only) not run.
2. The first step that fails ends the examination; what comes after is not run.
3. What does not come in time has failed. Nothing that is missing passes.
4. A drill changes what serves, away and back. Once it is away, every way out leads back: it is
   sent back whatever failed, and only then is the verdict given.

Pure: `now_s` comes with the event, effects are for the shell. An example:

    exam, effects = begin(Exam("gw1/self", "digits", bytes(32), SUITES["smoke"]), 0.0)
    exam, effects = step(exam, Proved(bytes(32), True, 4, 4, 90), 1.0)   # exam.verdict: PASSED
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

from wherry_controller.core.assurance.limits import FigureLimits, Figures, exceeded


class Step(Enum):
    """What is looked at. The value is what reports call it."""

    TRANSPORT = "transport"  # a signed question arrives and its answer comes back
    SWAP = "swap"  # the bundle serves, and the unit reported its trial as passed
    GOLDEN = "golden"  # the bytes are whole and every golden vector gives its exact output
    INFERENCE = "inference"  # an input is answered by this bundle
    TELEMETRY = "telemetry"  # a report about inferences after that arrives here
    CANDIDATE = "candidate"  # golden vectors on the bundle that stands beside the active one
    METRICS = "metrics"  # figures inside the limits of verification.json
    AWAY = "swap away"  # a drill: another version is brought and confirmed
    BACK = "roll back"  # and this one is brought back and confirmed


INTEGRATION: Final = (Step.TRANSPORT, Step.SWAP, Step.GOLDEN, Step.INFERENCE, Step.TELEMETRY)
SUITES: Final[Mapping[str, tuple[Step, ...]]] = {
    "smoke": (Step.GOLDEN,),
    "integration": INTEGRATION,
    "production": (*INTEGRATION, Step.CANDIDATE),
    "full": (*INTEGRATION, Step.CANDIDATE, Step.AWAY, Step.BACK, Step.GOLDEN),
    "drill": (Step.AWAY, Step.BACK, Step.GOLDEN),
    "deployment": (Step.SWAP, Step.GOLDEN, Step.METRICS),
    "restored": (Step.SWAP, Step.GOLDEN),
}
DRILLS: Final = tuple(suite for suite, steps in SUITES.items() if Step.AWAY in steps)
RANK: Final[Mapping[str, int]] = {"smoke": 1, "integration": 2, "production": 3, "full": 4}
# What these say of a candidate, which served nobody, is what that suite would have said of it.
OF_CANDIDATE: Final[Mapping[str, str]] = {"production": "smoke"}
ANSWER_S: Final = 40.0  # a question is valid for 30 s
SWAP_S: Final = 3_600.0
BEHIND_S: Final = 3.0  # devices are told, and tell, their time in whole seconds rounded down


def worth(suite: str) -> int:
    """How much a passed suite says of the bundle that its verdict is about; 0: of no use here."""
    return RANK.get(OF_CANDIDATE.get(suite, suite), 0)


class Verdict(Enum):
    """How an examination, or one step of it, stands."""

    OPEN = "open"
    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"


# --- events: what the shell has to tell


@dataclass(frozen=True, slots=True)
class Proved:
    """The answer to AskVerify."""

    digest: bytes | None  # of the bundle that was verified; None: an older unit does not say
    is_intact: bool
    golden_passed: int
    golden_count: int
    latency_us_p95: int | None = None


@dataclass(frozen=True, slots=True)
class Inferred:
    """The answer to AskInfer: which bundle answered."""

    digest: bytes
    latency_us: int


@dataclass(frozen=True, slots=True)
class Alive:
    """The answer to AskStatus."""

    round_trip_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A question could not be put, or was answered with an error."""

    text: str


@dataclass(frozen=True, slots=True)
class Stands:
    """What the unit reports of the model: what serves, what is beside it, how the last one ended.

    `is_settled`: nothing is under way, and the newest assignment is the one that it tells of.
    """

    active: bytes | None
    candidate: bytes | None
    is_confirmed: bool
    is_settled: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """A report has arrived that counts inferences of a bundle."""

    digest: bytes
    inferences: int
    ended_s: float


@dataclass(frozen=True, slots=True)
class Counted:
    """The figures of the unit over the window that METRICS looks at."""

    figures: Figures


@dataclass(frozen=True, slots=True)
class Late:
    """Time has passed."""


Event = Proved | Inferred | Alive | Refused | Stands | Measured | Counted | Late


# --- effects: what the shell must do


@dataclass(frozen=True, slots=True)
class AskVerify:
    """Ask for golden vectors of this bundle."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class AskInfer:
    """Ask for one inference."""


@dataclass(frozen=True, slots=True)
class AskStatus:
    """Ask for a sign of life."""


@dataclass(frozen=True, slots=True)
class Look:
    """Say what the unit reports now (Stands)."""


@dataclass(frozen=True, slots=True)
class Count:
    """Say its figures (Counted)."""


@dataclass(frozen=True, slots=True)
class Bring:
    """Assign this bundle to the unit."""

    digest: bytes


Effect = AskVerify | AskInfer | AskStatus | Look | Count | Bring
Effects = tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """How one step ended."""

    step: Step
    verdict: Verdict
    text: str
    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Exam:
    """One unit and model under a suite. `digest` is what serves, and what the verdict is about
    unless a candidate was looked at. `other`: where a drill goes."""

    unit: str
    model: str
    digest: bytes
    steps: tuple[Step, ...]
    other: bytes | None = None
    candidate: bytes | None = None
    needs_candidate: bool = False  # without one, the step fails instead of being left out
    telemetry_s: float = 180.0  # so long a report may take
    swap_s: float = SWAP_S
    limits: FigureLimits = field(default_factory=FigureLimits)
    index: int = 0
    began_s: float = 0.0
    step_began_s: float = 0.0
    is_away: bool = False
    results: tuple[Result, ...] = ()
    verdict: Verdict = Verdict.OPEN

    @property
    def step(self) -> Step:
        return self.steps[self.index]

    @property
    def failure(self) -> str:
        """Why it failed, or nothing."""
        bad = [r for r in self.results if r.verdict is Verdict.FAILED]
        return f"{bad[0].step.value}: {bad[0].text}" if bad else ""


Outcome = tuple[Exam, Effects]
Rule = Callable[[Exam, Any, float], Outcome]


def begin(exam: Exam, now_s: float) -> Outcome:
    """The first step."""
    return _enter(replace(exam, began_s=now_s), now_s)


def step(exam: Exam, event: Event, now_s: float) -> Outcome:
    """What an event does. An ended examination, and what a step does not wait for, stay."""
    if exam.verdict is not Verdict.OPEN:
        return exam, ()
    if isinstance(event, Late):
        return _late(exam, now_s)
    rule = RULES.get((exam.step, type(event)))
    return (exam, ()) if rule is None else rule(exam, event, now_s)


def _enter(exam: Exam, now_s: float) -> Outcome:
    exam = replace(exam, step_began_s=now_s)
    if exam.step is Step.CANDIDATE and exam.candidate is None and not exam.needs_candidate:
        return _end(exam, Verdict.NOT_RUN, "no candidate stands here", now_s)
    if exam.step is Step.AWAY and exam.other is None:
        return _end(exam, Verdict.FAILED, "it knows no other version to swap to", now_s)
    if exam.step is Step.AWAY:
        exam = replace(exam, is_away=True)
    return exam, BEGUN[exam.step](exam)


def _verify_candidate(exam: Exam) -> Effects:
    return (Look(),) if exam.candidate is None else (AskVerify(exam.candidate),)


BEGUN: Final[Mapping[Step, Callable[[Exam], Effects]]] = {
    Step.TRANSPORT: lambda _: (AskStatus(),),
    Step.SWAP: lambda _: (Look(),),
    Step.GOLDEN: lambda exam: (AskVerify(exam.digest),),
    Step.INFERENCE: lambda _: (AskInfer(),),
    Step.TELEMETRY: lambda _: (),
    Step.CANDIDATE: _verify_candidate,
    Step.METRICS: lambda _: (Count(),),
    Step.AWAY: lambda exam: (Bring(exam.other or exam.digest),),
    Step.BACK: lambda exam: (Bring(exam.digest),),
}


def _end(exam: Exam, verdict: Verdict, text: str, now_s: float) -> Outcome:
    """End the step, and go on, home (rule 4) or to the verdict."""
    result = Result(exam.step, verdict, text, exam.step_began_s, now_s)
    exam = replace(exam, results=(*exam.results, result))
    if verdict is Verdict.FAILED:
        if exam.is_away and exam.step is Step.AWAY:
            return _enter(replace(exam, index=exam.steps.index(Step.BACK)), now_s)
        return replace(exam, verdict=Verdict.FAILED), ()
    if exam.index + 1 < len(exam.steps) and not exam.failure:
        return _enter(replace(exam, index=exam.index + 1), now_s)
    return replace(exam, verdict=Verdict.FAILED if exam.failure else Verdict.PASSED), ()


def resume(exam: Exam) -> Effects:
    """What to do again after a restart: what was asked before is not answered any more."""
    is_under_way = exam.step in (Step.AWAY, Step.BACK)  # its assignment is kept
    return (Look(),) if is_under_way else BEGUN[exam.step](exam)


def _alive(exam: Exam, event: Alive, now_s: float) -> Outcome:
    return _end(exam, Verdict.PASSED, f"answered after {event.round_trip_s:.2f} s", now_s)


def _refused(exam: Exam, event: Refused, now_s: float) -> Outcome:
    return _end(exam, Verdict.FAILED, event.text, now_s)


def _not_sent(exam: Exam, event: Refused, now_s: float) -> Outcome:
    """AWAY: nothing was changed, so there is nothing to bring back."""
    return _end(replace(exam, is_away=False), Verdict.FAILED, event.text, now_s)


def _stands(exam: Exam, event: Stands, now_s: float) -> Outcome:
    """SWAP: it serves what is looked for, and its trial has passed."""
    if event.active == exam.digest and event.is_confirmed:
        return _end(exam, Verdict.PASSED, "the bundle serves, its trial has passed", now_s)
    if event.is_settled and event.active != exam.digest:
        shown = event.active.hex()[:12] if event.active else "nothing"
        why = f" ({event.reason})" if event.reason else ""
        text = f"{shown} serves instead of {exam.digest.hex()[:12]}{why}"
        return _end(exam, Verdict.FAILED, text, now_s)
    return exam, ()


def _no_candidate(exam: Exam, event: Stands, now_s: float) -> Outcome:
    if event.candidate is None:
        text = "no candidate stands here: bring one with a warm stage first"
        return _end(exam, Verdict.FAILED, text, now_s)
    return replace(exam, candidate=event.candidate), (AskVerify(event.candidate),)


def _proved(exam: Exam, event: Proved, now_s: float) -> Outcome:
    wanted = exam.candidate if exam.step is Step.CANDIDATE else exam.digest
    counts = f"{event.golden_passed} of {event.golden_count} golden vectors"
    if not event.is_intact:
        return _end(exam, Verdict.FAILED, "its bytes are not what was hashed", now_s)
    if event.digest is not None and event.digest != wanted:
        text = f"{event.digest.hex()[:12]} was verified instead of {(wanted or b'').hex()[:12]}"
        return _end(exam, Verdict.FAILED, text, now_s)
    if event.golden_count == 0:
        return _end(exam, Verdict.FAILED, "the bundle has no golden vectors", now_s)
    is_good = event.golden_passed == event.golden_count
    return _end(exam, Verdict.PASSED if is_good else Verdict.FAILED, f"{counts} passed", now_s)


def _inferred(exam: Exam, event: Inferred, now_s: float) -> Outcome:
    if event.digest != exam.digest:
        return _end(exam, Verdict.FAILED, f"{event.digest.hex()[:12]} answered", now_s)
    return _end(exam, Verdict.PASSED, f"it answered after {event.latency_us} us", now_s)


def _measured(exam: Exam, event: Measured, now_s: float) -> Outcome:
    """TELEMETRY: a report of this bundle's inferences, made after the step began."""
    is_old = event.ended_s + BEHIND_S <= exam.step_began_s
    if event.digest != exam.digest or event.inferences < 1 or is_old:
        return exam, ()
    text = f"a report of {event.inferences} inferences came {now_s - exam.step_began_s:.0f} s later"
    return _end(exam, Verdict.PASSED, text, now_s)


def _counted(exam: Exam, event: Counted, now_s: float) -> Outcome:
    missing, over, text = exceeded(event.figures, exam.limits)
    if over:
        return _end(exam, Verdict.FAILED, "; ".join(over), now_s)
    return (exam, ()) if missing else _end(exam, Verdict.PASSED, text, now_s)


def _count_again(exam: Exam, event: Measured, _now_s: float) -> Outcome:
    return exam, ((Count(),) if event.digest == exam.digest else ())


def _moved(exam: Exam, event: Stands, now_s: float) -> Outcome:
    """AWAY and BACK: the version that was brought serves, or was not taken."""
    wanted = exam.other if exam.step is Step.AWAY else exam.digest
    if event.active == wanted and event.is_confirmed and event.is_settled:
        took_s = now_s - exam.step_began_s
        if exam.step is Step.BACK:
            exam = replace(exam, is_away=False)
        return _end(exam, Verdict.PASSED, f"confirmed after {took_s:.1f} s", now_s)
    if event.is_settled and event.reason:
        return _end(exam, Verdict.FAILED, f"it was not taken: {event.reason}", now_s)
    return exam, ()


def patience_s(exam: Exam) -> float:
    """How long the step may take."""
    if exam.step in (Step.TELEMETRY, Step.METRICS):
        return exam.telemetry_s
    return exam.swap_s if exam.step in (Step.SWAP, Step.AWAY, Step.BACK) else ANSWER_S


def _late(exam: Exam, now_s: float) -> Outcome:
    waited_s = now_s - exam.step_began_s
    if waited_s < patience_s(exam):
        return exam, ()
    what = {Step.TELEMETRY: "no report", Step.METRICS: "no figure for every limit"}
    text = f"{what.get(exam.step, 'no answer')} within {patience_s(exam):.0f} s"
    return _end(exam, Verdict.FAILED, text, now_s)


RULES: Final[Mapping[tuple[Step, type], Rule]] = {
    (Step.TRANSPORT, Alive): _alive,
    (Step.SWAP, Stands): _stands,
    (Step.GOLDEN, Proved): _proved,
    (Step.INFERENCE, Inferred): _inferred,
    (Step.TELEMETRY, Measured): _measured,
    (Step.CANDIDATE, Stands): _no_candidate,
    (Step.CANDIDATE, Proved): _proved,
    (Step.METRICS, Counted): _counted,
    (Step.METRICS, Measured): _count_again,
    (Step.AWAY, Stands): _moved,
    (Step.BACK, Stands): _moved,
    **{(each, Refused): _refused for each in Step},
    (Step.AWAY, Refused): _not_sent,
}
