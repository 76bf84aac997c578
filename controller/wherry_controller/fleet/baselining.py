"""Baselines recorded from what is in the store, applied to the standing guard, and taken back."""

from collections import defaultdict
from typing import Any, Final

from sqlite_utils import Database
from wherry_protocol.errors import Code, LimitError, NotFoundError, StateError, WherryError

from wherry_controller.core.baselines import (
    Baseline,
    Summary,
    difference,
    major_of,
    summarize,
)
from wherry_controller.core.baselines.document import from_text, to_text
from wherry_controller.core.windows import Window
from wherry_controller.fleet import targets
from wherry_controller.fleet.desires import manifest_of
from wherry_controller.fleet.guarding import LIMITS
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import baselines, performance, registry
from wherry_controller.store.baselines import BaselineRow, Change, Scope

SERVING: Final = "active"
INFERENCES_MIN: Final = 100
WINDOWS_MAX: Final = 1_000_000


def windows_of(
    db: Database, target: str, model: str | None, since_s: float, until_s: float, now_s: float
) -> dict[Scope, list[Window]]:
    """The serving windows of what a selector takes, by (model, major, class).

    Raises WherryError where it selects nobody.
    """
    chosen = targets.chosen(db, target, now_s)
    if not chosen:
        raise WherryError(f"target {target!r} selects no unit", Code.NOT_FOUND)
    classes = {(unit.connection, unit.unit): unit.hardware_class for unit in chosen}
    found: defaultdict[Scope, list[Window]] = defaultdict(list)
    only = chosen[0].connection if len({unit.connection for unit in chosen}) == 1 else None
    rows = performance.windows(db, since_s=since_s, connection=only, limit=WINDOWS_MAX)
    if len(rows) == WINDOWS_MAX:
        raise LimitError(f"more than {WINDOWS_MAX} windows; give a shorter --duration")
    for row in rows:
        hardware_class = classes.get((row.connection, row.unit))
        is_wanted = row.slot == SERVING and row.window_s < until_s and model in (None, row.model)
        if hardware_class is not None and is_wanted:
            found[row.model, major_of(row.version), hardware_class].append(row)
    return dict(found)


def measured(
    db: Database, window_s: int, model: str, target: str, duration_s: float, now_s: float
) -> list[Baseline]:
    """A baseline per (MAJOR, class) from the last `duration_s`; reads only.

    Raises NotFoundError where too little was measured.
    """
    scopes = windows_of(db, target, model, now_s - duration_s, now_s, now_s)
    made = []
    for scope, windows in sorted(scopes.items()):
        summary = summarize(windows, window_s)
        if summary.inferences >= INFERENCES_MIN:
            made.append(Baseline(*scope, _engine_abi(db, windows), summary))
    if not made:
        counted = sum(row.inferences for windows in scopes.values() for row in windows)
        raise NotFoundError(
            f"{model} on {target!r}: {counted} inferences in the last {duration_s:g} s, a baseline "
            f"needs {INFERENCES_MIN} per class; wait for telemetry or give a longer --duration"
        )
    return made


def _engine_abi(db: Database, windows: list[Window]) -> tuple[int, ...]:
    digests = {row.digest for row in windows}
    bundles = [registry.find_bundle(db, digest) for digest in digests]
    return tuple(sorted({manifest_of(row.manifest).engine_abi for row in bundles if row}))


def keep(org: Organization, one: Baseline, who: str, now_s: float) -> BaselineRow:
    """Store a baseline, recorded here or brought as a file."""
    number = baselines.next_number(org.db)
    name = f"{one.model}-{one.major}-{one.hardware_class}-{number}"
    row = BaselineRow(
        None, name, one.model, one.major, one.hardware_class, to_text(one), now_s, who
    )
    kept = baselines.add(org.db, row)
    org.record(now_s, who, "baseline.record", name, "", inferences=one.summary.inferences,
               units=one.summary.units)  # fmt: skip
    return kept


def _summary(db: Database, baseline_id: int | None) -> Summary | None:
    if baseline_id is None:
        return None
    return from_text(baselines.by_id(db, baseline_id).document).summary


def preview(db: Database, name: str) -> dict[str, Any]:
    """What `apply` would change. Raises NotFoundError."""
    row = baselines.by_name(db, name)
    held = baselines.current(db, (row.model, row.major, row.hardware_class))
    before = None if held is None else held.baseline
    return _shown(db, row.model, row.major, row.hardware_class, before, row.id)


def _shown(
    db: Database, model: str, major: int, hardware_class: str, before: int | None, after: int | None
) -> dict[str, Any]:
    def name(baseline_id: int | None) -> str | None:
        return None if baseline_id is None else baselines.by_id(db, baseline_id).name

    thresholds = difference(_summary(db, before), _summary(db, after), LIMITS)
    return {
        "model": model,
        "major": major,
        "class": hardware_class,
        "before": name(before),
        "after": name(after),
        "thresholds": [{"name": t.name, "before": t.before, "after": t.after} for t in thresholds],
    }


def apply(org: Organization, name: str, who: str, reason: str, now_s: float) -> dict[str, Any]:
    """Hold the guard to that baseline from now on. What changed. Raises NotFoundError."""
    row = baselines.by_name(org.db, name)
    scope = (row.model, row.major, row.hardware_class)
    return _change(org, scope, row.id, who, reason, now_s, is_revert=False)


def revert(org: Organization, scope: Scope, who: str, reason: str, now_s: float) -> dict[str, Any]:
    """Take the last application back that was not taken back yet. Raises StateError."""
    stack: list[int | None] = [None]
    for change in baselines.changes(org.db, scope):
        if change.is_revert:
            stack.pop()
        else:
            stack.append(change.baseline)
    if len(stack) < 2:
        model, major, hardware_class = scope
        raise StateError(f"no baseline is applied to {model} {major}.x on {hardware_class}")
    return _change(org, scope, stack[-2], who, reason, now_s, is_revert=True)


def _change(
    org: Organization,
    scope: Scope,
    after: int | None,
    who: str,
    reason: str,
    now_s: float,
    *,
    is_revert: bool,
) -> dict[str, Any]:
    held = baselines.current(org.db, scope)
    before = None if held is None else held.baseline
    summary = _summary(org.db, after)
    p95 = None if summary is None else summary.quantile_us(0.95)
    version = 1 if held is None else held.version + 1
    change = Change(*scope, version, after, p95, now_s, who, reason, int(is_revert))
    baselines.put_change(org.db, change)
    shown = _shown(org.db, *scope, before, after) | {"version": version}
    action = "baseline.revert" if is_revert else "baseline.apply"
    org.record(now_s, who, action, f"{scope[0]}-{scope[1]}-{scope[2]}", reason, **shown)
    return shown
