"""Rules on figures that others push: business figures, complaints, what a device's owner measures.

    [[gate.custom]]
    name = "complaints"
    operator = ">"                 # breached where the figure is above the limit
    limit = 5
    aggregate = "sum"              # of the window's samples; also mean (default), min, max, last
    window_s = 3600
    samples_min = 3                # and requests_min: inferences of the new version
    consequence = "pause"          # also revert, hold, alert

Rules:
1. Wherry gives a figure no meaning; the rule does.
2. A figure that is missing or too rare is inconclusive, whatever the consequence, and the stage is
   not left.
3. What is pushed for units counts while one of them is on the new version; what is pushed for the
   rollout or for the whole organization always counts.
4. Samples are kept as sums of `BUCKETS` parts of the window, so their number costs nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import ge, gt, le, lt
from typing import Any, Final

from wherry_protocol.names import LABEL

from wherry_controller.core.gates.checks import Check, Consequence, Figure, Verdict
from wherry_controller.core.tables import invalid, known, numbers, one_of

BUCKETS: Final = 16
RULES_MAX: Final = 16
OPERATORS: Final = {">": gt, ">=": ge, "<": lt, "<=": le}
AGGREGATES: Final = ("mean", "sum", "min", "max", "last")
CONSEQUENCES: Final = tuple(consequence.value for consequence in Consequence)
REALS: Final = {"limit": (-1e15, 1e15), "window_s": (1.0, 31 * 86_400.0)}
COUNTS: Final = {"samples_min": (1, 10**6), "requests_min": (0, 10**9)}
CUSTOM: Final = "custom"


@dataclass(frozen=True, slots=True)
class CustomRule:
    """One rule; breached where `aggregate` of the window's samples is `operator` the limit."""

    name: str
    operator: str
    limit: float
    window_s: float = 3_600.0
    aggregate: str = "mean"
    samples_min: int = 1
    requests_min: int = 0
    consequence: str = "revert"

    def __str__(self) -> str:
        """As overrides show it."""
        return f"{self.name} {self.operator} {self.limit:g}: {self.consequence}"


def parse_rules(rows: object) -> tuple[CustomRule, ...]:
    """The rules of a rollout file. Raises WherryError(INVALID)."""
    if not isinstance(rows, list) or len(rows) > RULES_MAX:
        raise invalid(f"gate: custom must be a list of at most {RULES_MAX} tables")
    found = tuple(_rule(f"gate: custom rule {number}", row) for number, row in enumerate(rows, 1))
    names = [rule.name for rule in found]
    if len(set(names)) < len(names):
        raise invalid(f"gate: custom has two rules of one name ({', '.join(names)})")
    return found


def _rule(where: str, row: object) -> CustomRule:
    texts = ("name", "operator", "aggregate", "consequence")
    if not isinstance(row, Mapping) or not {"name", "operator", "limit"} <= set(row):
        raise invalid(f"{where} must be a table with name, operator and limit")
    known(where, row, (*texts, *REALS, *COUNTS))
    name = row["name"]
    if not isinstance(name, str) or not LABEL.fullmatch(name):
        raise invalid(f"{where}: name is {name!r}, must match {LABEL.pattern}")
    words: dict[str, Any] = {
        "operator": one_of(f"{where}: operator", row["operator"], tuple(OPERATORS)),
        "aggregate": one_of(f"{where}: aggregate", row.get("aggregate", "mean"), AGGREGATES),
        "consequence": one_of(
            f"{where}: consequence", row.get("consequence", "revert"), CONSEQUENCES
        ),
    }
    return CustomRule(name, **words, **numbers(where, row, REALS, COUNTS))


@dataclass(slots=True)
class Samples:
    """What came in one part of the window."""

    bucket: int
    count: int = 0
    total: float = 0.0
    low: float = 0.0
    high: float = 0.0
    last: float = 0.0

    def add(self, value: float) -> None:
        """One more sample."""
        self.low = min(self.low, value) if self.count else value
        self.high = max(self.high, value) if self.count else value
        self.count += 1
        self.total += value
        self.last = value


@dataclass(slots=True)
class Series:
    """The samples of one rule, oldest part first; at most BUCKETS + 1 parts."""

    parts: list[Samples] = field(default_factory=list)

    def add(self, rule: CustomRule, value: float, at_s: float) -> None:
        """A sample; one that is older than everything kept joins the oldest part."""
        bucket = int(at_s // (rule.window_s / BUCKETS))
        if not self.parts or bucket > self.parts[-1].bucket:
            self.parts.append(Samples(bucket))
            del self.parts[: -BUCKETS - 1]
        same = [part for part in self.parts if part.bucket <= bucket]
        (same[-1] if same else self.parts[0]).add(value)

    def figure(self, rule: CustomRule, now_s: float) -> tuple[float | None, int]:
        """(the aggregate, samples) of the window that ends now; None without samples."""
        first = int((now_s - rule.window_s) // (rule.window_s / BUCKETS)) + 1
        parts = [part for part in self.parts if part.bucket >= first]
        count = sum(part.count for part in parts)
        if not count:
            return None, 0
        total = sum(part.total for part in parts)
        found = {
            "mean": total / count,
            "sum": total,
            "min": min(part.low for part in parts),
            "max": max(part.high for part in parts),
            "last": parts[-1].last,
        }
        return found[rule.aggregate], count


def check_custom(rule: CustomRule, series: Series, requests: int, now_s: float) -> Check:
    """One rule now (rule 2)."""
    value, samples = series.figure(rule, now_s)
    figures: dict[str, Figure] = {
        rule.aggregate: value,
        "operator": rule.operator,
        "limit": rule.limit,
        "window_s": rule.window_s,
        "samples": samples,
        "samples_min": rule.samples_min,
        "requests": requests,
        "requests_min": rule.requests_min,
    }
    consequence = Consequence(rule.consequence)
    name = f"{CUSTOM} {rule.name}"
    if value is None or samples < rule.samples_min:
        text = f"{samples} samples in {rule.window_s:g} s, at least {rule.samples_min} are needed"
        return Check(name, "", Verdict.INCONCLUSIVE, text, figures, consequence)
    if requests < rule.requests_min:
        text = f"{requests} inferences, at least {rule.requests_min} are needed"
        return Check(name, "", Verdict.INCONCLUSIVE, text, figures, consequence)
    is_breach = OPERATORS[rule.operator](value, rule.limit)
    text = (
        f"{rule.aggregate} {value:g} of {samples} samples,"
        f" {'breached' if is_breach else 'in order'}: {rule.operator} {rule.limit:g} is a breach"
    )
    verdict = Verdict.FAIL if is_breach else Verdict.PASS
    return Check(name, "", verdict, text, figures, consequence)
