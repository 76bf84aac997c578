"""Custom metrics: kept, and told to the open rollouts that have a rule of that name.

Rules:
1. A sample is for one unit, for the units of a selector, for one rollout, or for everybody.
2. A device pushes one as a record `metric.NAME` of its unit in a telemetry pack; it is that unit's.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from wherry_protocol.errors import Code, WherryError
from wherry_protocol.names import LABEL, check_name

from wherry_controller.core.rollouts.events import Metric
from wherry_controller.fleet import rollouts, targets
from wherry_controller.fleet.organization import Organization
from wherry_controller.fleet.reports import Seen
from wherry_controller.store import custom_metrics, devices
from wherry_controller.store import rollouts as kept
from wherry_controller.store.custom_metrics import CustomMetric

VALUE_MAX = 1e15
PREFIX = "metric."
PER_REPORT_MAX = 16


@dataclass(frozen=True, slots=True)
class Push:
    """One sample, as asked for; at most one of unit, target and rollout."""

    name: str
    value: float
    unit: str | None = None
    target: str | None = None
    rollout: str | None = None


def push(org: Organization, asked: Push, who: str, now_s: float) -> None:
    """Keep it and tell it. Raises WherryError(INVALID), NotFoundError."""
    check_name("metric", LABEL, asked.name)
    if not math.isfinite(asked.value) or abs(asked.value) > VALUE_MAX:
        raise WherryError(
            f"metric {asked.name} is {asked.value!r}, must be a number within ±{VALUE_MAX:g}",
            Code.INVALID,
        )
    scope, subject = _scope(asked)
    units = _units(org, asked, now_s)
    if asked.rollout is not None:
        kept.get(org.db, asked.rollout)
    row = CustomMetric(None, now_s, asked.name, asked.value, scope, subject, who)
    custom_metrics.put(org.db, row)
    event = Metric(asked.name, asked.value, units)
    for rollout in rollouts.open_ones(org):
        if asked.rollout in (None, rollout.rollout_id):
            rollouts.tell(org, rollout.rollout_id, event, now_s)


def _scope(asked: Push) -> tuple[str, str]:
    given = [
        (scope, subject)
        for scope, subject in (
            ("unit", asked.unit),
            ("target", asked.target),
            ("rollout", asked.rollout),
        )
        if subject is not None
    ]
    is_result = asked.unit is not None and asked.rollout is not None and len(given) == 2
    if len(given) > 1 and not is_result:
        names = " and ".join(scope for scope, _ in given)
        raise WherryError(
            f"metric {asked.name} is for {names}; give one (or unit with rollout)", Code.INVALID
        )
    return given[0] if given else ("all", "")


def _units(org: Organization, asked: Push, now_s: float) -> tuple[str, ...] | None:
    if asked.unit is not None:
        return (devices.unit(org.db, *devices.split_id(asked.unit)).id,)
    if asked.target is not None:
        return tuple(facts.name for facts in targets.chosen(org.db, asked.target, now_s))
    return None


def watch(org: Organization, seen: Iterable[Seen], now_s: float) -> None:
    """Take in what devices pushed (rule 2); names and numbers beyond bounds are left out."""
    for report in seen:
        pushed = [name for name in report.resources if name.startswith(PREFIX)]
        for name in sorted(pushed)[:PER_REPORT_MAX]:
            value, short = report.resources[name], name.removeprefix(PREFIX)
            if isinstance(value, float) and LABEL.fullmatch(short) and abs(value) <= VALUE_MAX:
                unit = f"{report.connection}/{report.unit}"
                push(org, Push(short, value, unit=unit), f"device:{report.connection}", now_s)
