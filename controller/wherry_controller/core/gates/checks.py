"""What a gate's check is: its verdict, its figures, and what its failure does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

Figure = float | int | str | None


class Verdict(Enum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Consequence(Enum):
    """What a failed check does."""

    REVERT = "revert"
    PAUSE = "pause"  # the rollout is paused, once until it has passed again
    HOLD = "hold"  # the stage is not left
    ALERT = "alert"


@dataclass(frozen=True, slots=True)
class Check:
    """One check's outcome with the numbers it used. `hardware_class` is empty for all classes."""

    name: str
    hardware_class: str
    verdict: Verdict
    text: str
    figures: Mapping[str, Figure]
    consequence: Consequence = Consequence.REVERT


def breaches(checks: Sequence[Check], consequence: Consequence) -> list[Check]:
    """The failed checks with that consequence."""
    return [c for c in checks if c.verdict is Verdict.FAIL and c.consequence is consequence]


def is_passed(checks: Sequence[Check], require: Sequence[str]) -> bool:
    """May the stage be left? Every required check passes, or fails in a way that only alerts."""
    return bool(checks) and not blocking(checks, require)


def blocking(checks: Sequence[Check], require: Sequence[str]) -> list[Check]:
    """The checks that keep the stage from being left; custom rules are always required."""
    return [
        check
        for check in checks
        if (check.name in require or check.name.startswith("custom "))
        and check.verdict is not Verdict.PASS
        and not (check.verdict is Verdict.FAIL and check.consequence is Consequence.ALERT)
    ]


def proof(evidence: float, false_abort: float) -> dict[str, Figure]:
    """The figures of a sequential test; it has proved its point when evidence is at its maximum."""
    return {"evidence": evidence, "evidence_max": 1 / false_abort, "alpha": false_abort}


def is_proved(evidence: float, false_abort: float) -> bool:
    """Is there as much evidence as the false-abort chance asks for?"""
    return evidence >= 1 / false_abort


def evidence_text(evidence: float, false_abort: float) -> str:
    """For people: how much there is of what is needed."""
    return f"evidence {evidence:.3g} of {1 / false_abort:g} needed (alpha {false_abort:.3g})"


def too_few(requests: int, requests_min: int) -> str:
    """Why a check says nothing yet."""
    return f"{requests} inferences, at least {requests_min} are needed"
