"""Is anybody looking? Facts for checklists: telemetry is fresh, rules apply, people are reached."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlite_utils import Database

from wherry_controller.core.guard.limits import silent_after_s
from wherry_controller.core.notify import Kind, Matter, Route, chosen
from wherry_controller.fleet import alerting, guarding, targets
from wherry_controller.store import classes, devices, performance

TESTED_S_MAX: Final = 30 * 86_400.0
NAMES_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What is missing, by name; empty lists and True everywhere mean that somebody is looking."""

    units: int
    stale: tuple[str, ...]  # silent, as the guard counts it
    without_rules: tuple[str, ...]  # no hardware class here, so no limits
    without_series: tuple[str, ...]  # no figures of the version that was asked for
    has_route: bool  # somebody is told of a critical alert
    is_tested: bool  # the self-test arrived within 30 days

    @property
    def is_configured(self) -> bool:
        is_seen = not (self.stale or self.without_rules or self.without_series)
        return self.units > 0 and is_seen and self.has_route and self.is_tested


def monitoring(
    db: Database, routes: Iterable[Route], target: str, now_s: float, digest: bytes | None = None
) -> Monitoring:
    """Of what a selector takes; with `digest`, whether its series is there on each unit."""
    found = targets.chosen(db, target, now_s)
    known = {profile.name for profile in classes.everyone(db)}
    stale, without_rules, without_series = [], [], []
    for facts in found:
        unit = devices.unit(db, facts.connection, facts.unit)
        patience_s = silent_after_s(unit.performance_s, unit.resources_s, guarding.LIMITS)
        if unit.seen_s is None or now_s - unit.seen_s > patience_s:
            stale.append(unit.id)
        if unit.hardware_class not in known:
            without_rules.append(unit.id)
        if digest is not None and not performance.has_series(
            db, unit.connection, unit.unit, digest
        ):
            without_series.append(unit.id)
    matter = Matter(Kind.RAISED.value, "critical", "errors")
    tested = alerting.last_self_test(db)
    return Monitoring(
        len(found),
        tuple(stale),
        tuple(without_rules),
        tuple(without_series),
        bool(chosen(routes, matter)),
        tested is not None and tested[1] and now_s - tested[0] <= TESTED_S_MAX,
    )
