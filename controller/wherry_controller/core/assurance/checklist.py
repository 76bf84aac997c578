"""The checklist of a rollout, before, during and after: it fills in itself what it can.

Rules:
1. An item is data: a phase, a sentence, and where its answer comes from.
2. What the rollout knows is never ticked by hand; what nobody can measure is asked of a person,
   and a tick has a name, a time and a note.
3. Done, not done and `needs a person` are three answers; nothing is done because nobody looked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from wherry_protocol.errors import Code, WherryError

SMALL_BP: Final = 500


class When(Enum):
    """The part of the list that an item is in."""

    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Tick:
    """Somebody answered by hand."""

    who: str
    at_s: float
    note: str


@dataclass(frozen=True, slots=True)
class Known:
    """What the rollout knows of itself. `findings`: precondition -> (passed or forced, text)."""

    state: str
    findings: Mapping[str, tuple[bool, str]] = field(default_factory=dict)
    stages: int = 0
    stages_done: int = 0
    green_stages: int = 0  # left with every check passed
    notes: int = 0
    has_figures: bool = False  # telemetry of the new digest has arrived
    figures_passed: bool = False  # after its end its devices' figures were inside their limits
    told: Mapping[str, bool | None] = field(default_factory=dict)  # kind of message -> arrived
    first_share_bp: int = 0  # of the first stage that serves; 0: none does
    is_experiment: bool = False
    ticks: Mapping[str, Tick] = field(default_factory=dict)


Answer = tuple[bool | None, str]  # None: not known yet, or not at all
Source = Callable[[Known], Answer]


@dataclass(frozen=True, slots=True)
class Item:
    """`source` None: a person says so."""

    when: When
    text: str
    source: Source | None = None


def _found(*names: str) -> Source:
    """From preconditions: all of them were looked at, and passed."""

    def answer(known: Known) -> Answer:
        missing = [name for name in names if name not in known.findings]
        if missing:
            return None, f"not asked for where it goes: {', '.join(missing)}"
        bad = [known.findings[name][1] for name in names if not known.findings[name][0]]
        return not bad, "; ".join(bad or [known.findings[name][1] for name in names])

    return answer


def _stages(known: Known) -> Answer:
    text = f"{known.green_stages} of {known.stages_done} stages were left with every check passed"
    if not known.stages_done:
        return None, "no stage was left yet"
    return known.green_stages == known.stages_done, text


def _issues(known: Known) -> Answer:
    return (True, f"{known.notes} notes") if known.notes else (None, "no note was written")


def _figures(known: Known) -> Answer:
    if known.state != "succeeded":
        return None, f"the rollout is {known.state}"
    text = "its figures were held to limits and passed"
    return known.figures_passed, text if known.figures_passed else (
        "its devices passed no check against limits after it: run wherry verify deployment"
        " --config FILE"
    )


def _told(*kinds: str) -> Source:
    """From deliveries: there were some of each kind, and all of them have arrived."""

    def answer(known: Known) -> Answer:
        nobody = [kind for kind in kinds if known.told.get(kind) is None]
        if nobody:
            return None, f"nobody was to be told: {', '.join(nobody)}"
        late = [kind for kind in kinds if not known.told[kind]]
        text = f"has not arrived everywhere: {', '.join(late)}" if late else "it has arrived"
        return not late, text

    return answer


def _begins_small(known: Known) -> Answer:
    """An experiment, or a first stage of at most 5 %."""
    if not known.first_share_bp:
        return True, "no stage serves anybody"
    what = "an experiment begins" if known.is_experiment else "it begins"
    text = f"{what} with {known.first_share_bp / 100:g} % of the devices"
    return known.first_share_bp <= SMALL_BP, text


def _series(known: Known) -> Answer:
    text = "figures of the new version arrive" if known.has_figures else "none has arrived yet"
    return known.has_figures, text


CHECKLIST: Final[Mapping[str, Item]] = {
    "tested": Item(
        When.BEFORE, "model validated and tested", _found("hardware_tested", "simulation")
    ),
    "rollback": Item(
        When.BEFORE, "way back prepared and practised", _found("rollback_target", "drill")
    ),
    "monitoring": Item(When.BEFORE, "monitoring configured", _found("monitoring")),
    "approval": Item(When.BEFORE, "approved by another person", _found("approval")),
    "notified": Item(When.BEFORE, "team notified", _told("rollout.announced")),
    "small": Item(When.BEFORE, "an experiment, or a first stage of at most 5 %", _begins_small),
    "procedure": Item(When.BEFORE, "deployment procedure reviewed"),
    "documents": Item(When.BEFORE, "documentation is up to date"),
    "steps": Item(When.DURING, "each step verified before the next", _stages),
    "alerts": Item(When.DURING, "automated alerts checked", _found("alerts_tested")),
    "issues": Item(When.DURING, "issues documented (a note, or a tick that says none)", _issues),
    "performance": Item(When.AFTER, "performance verified", _figures),
    "series": Item(When.AFTER, "monitoring shows the new version", _series),
    "notified_after": Item(When.AFTER, "team notified of the end", _told("rollout.completed")),
    "summary": Item(When.AFTER, "summary shared with the team", _told("rollout.summary")),
    "documents_after": Item(When.AFTER, "documentation updated"),
    "lessons": Item(When.AFTER, "lessons learned documented"),
}
BY_HAND: Final = frozenset(
    {name for name, item in CHECKLIST.items() if item.source is None} | {"issues"}
)


@dataclass(frozen=True, slots=True)
class Line:
    """One item as it stands; `is_done` None: it needs a person, or time."""

    item: str
    when: When
    text: str
    is_done: bool | None
    found: str
    tick: Tick | None = None


def filled(known: Known) -> tuple[Line, ...]:
    """The whole list as it stands."""
    return tuple(_line(name, item, known) for name, item in CHECKLIST.items())


def _line(name: str, item: Item, known: Known) -> Line:
    tick = known.ticks.get(name)
    is_done, found = (None, "needs a person") if item.source is None else item.source(known)
    if is_done is None and tick is not None:
        is_done, found = True, f"{tick.who}: {tick.note}"
    return Line(name, item.when, item.text, is_done, found, tick)


def check_tick(name: str, note: str) -> None:
    """Raises WherryError(INVALID): an unknown item, one that fills in itself, or no note."""
    if name not in CHECKLIST:
        known = ", ".join(CHECKLIST)
        raise WherryError(f"the checklist has no {name!r}, its items are {known}", Code.INVALID)
    if name not in BY_HAND:
        raise WherryError(
            f"{name} is filled in by the rollout; by hand only {', '.join(sorted(BY_HAND))}",
            Code.INVALID,
        )
    if not note.strip():
        raise WherryError(f"a tick of {name} needs a note: what was done", Code.INVALID)
