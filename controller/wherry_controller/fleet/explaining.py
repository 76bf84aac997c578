"""Why an alert stands: the rule, its numbers, where they come from, and the figures themselves."""

from dataclasses import asdict
from typing import Any, Final

from sqlite_utils import Database
from wherry_protocol import sketch

from wherry_controller.core.alerts import Alert
from wherry_controller.core.baselines.document import from_text
from wherry_controller.core.guard.limits import GuardLimits
from wherry_controller.core.guard.standing import Figure
from wherry_controller.core.notify import Cause
from wherry_controller.core.windows import Window
from wherry_controller.fleet.desires import manifest_of
from wherry_controller.fleet.guarding import LIMITS
from wherry_controller.store import alerts, audit, baselines, devices, performance, registry
from wherry_controller.store import guard as kept

WINDOWS_SHOWN: Final = 5
LOOK_S: Final = 3600.0
ROWS_SHOWN: Final = 5


def rule_of(cause: str, limits: GuardLimits) -> str:
    """The standing guard's rule for a figure, in numbers; empty for what it does not judge."""
    if cause == Cause.SELF_TEST.value:
        cause = Figure.ERRORS.value  # the breach that never was is one of errors
    return {
        "errors": f"watch from {limits.error_watch:.0%}, alert above {limits.error_alert:.0%}, "
        f"roll back above {limits.error_rollback:.0%} for {limits.error_rollback_s:g} s; windows "
        f"of at least {limits.samples_min} inferences",
        "latency": f"watch p95 from {limits.latency_watch:g}x the baseline, alert p95 above "
        f"{limits.latency_alert:g}x the budget (above {limits.latency_us_unbudgeted:g} us without "
        f"one), roll back a mean above {limits.latency_rollback:g}x the budget",
        "energy": f"watch above {limits.energy_watch:g}x the budget, alert above "
        f"{limits.energy_alert:g}x, roll back above {limits.energy_rollback:g}x (measured or "
        "calibrated only)",
        "memory": f"watch above {limits.memory_watch:.0%} of the budget, alert from "
        f"{limits.memory_alert:.0%} on, or when a load is refused",
        "temperature": "alert outside of the range of the hardware class",
        "storage": f"watch below {limits.storage_watch:.0%} of the storage budget, alert below "
        f"{limits.storage_alert:.0%}",
        "silence": f"alert after {limits.silent_s:g} s without a report, or three intervals",
        "crash": "roll back at once",
    }.get(cause, "")


def explain(db: Database, alert_id: int) -> dict[str, Any]:
    """Raises NotFoundError."""
    alert = alerts.get(db, alert_id)
    rule = rule_of(alert.cause, LIMITS)
    found: dict[str, Any] = {"id": alert.id, "text": alert.text, "cause": alert.cause, "rule": rule}
    if alert.unit and alert.model:
        found |= _held_to(db, alert)
    if alert.rollout:
        rows = audit.newest(db, ROWS_SHOWN, subject=alert.rollout)
        found["rollout"] = [
            {"at_s": r.at_s, "who": r.who, "action": r.action, "reason": r.reason} for r in rows
        ]
    return found


def _held_to(db: Database, alert: Alert) -> dict[str, Any]:
    """Budget and baseline with their sources; levels and figures of now."""
    connection, name = devices.split_id(alert.unit)
    unit = devices.find_unit(db, connection, name)
    levels = {row.model: row.levels for row in kept.of_connections(db, [connection])
              if row.unit == name}  # fmt: skip
    windows = [
        row
        for row in performance.windows(
            db, since_s=alert.last_s - LOOK_S, connection=connection, limit=1000
        )
        if (row.unit, row.model, row.slot) == (name, alert.model, "active")
    ][-WINDOWS_SHOWN:]
    found: dict[str, Any] = {
        "levels": levels.get(alert.model, ""),
        "windows": [_window(row) for row in windows],
    }
    model = devices.find_model(db, connection, name, alert.model)
    bundle = None
    if model is not None and model.active_digest is not None:
        bundle = registry.find_bundle(db, model.active_digest)
    if unit is None or bundle is None:
        return found | {"budget": None, "baseline": None, "edits": []}
    budget = manifest_of(bundle.manifest).budgets.get(unit.hardware_class)
    scope = (alert.model, bundle.major, unit.hardware_class)
    return found | {
        "budget": None if budget is None else {
            "source": f"{bundle.model}:{bundle.version} for {unit.hardware_class}",
            "latency_us_p95": budget.latency_us_p95,
            "energy_uj": budget.energy_uj,
        },
        "baseline": _baseline(db, scope),
        "edits": [asdict(change) for change in baselines.changes(db, scope)][-ROWS_SHOWN:],
    }  # fmt: skip


def _baseline(db: Database, scope: baselines.Scope) -> dict[str, Any] | None:
    held = baselines.current(db, scope)
    if held is None or held.baseline is None:
        return None
    row = baselines.by_id(db, held.baseline)
    summary = from_text(row.document).summary
    return {
        "source": row.name,
        "latency_us_p95": held.latency_us,
        "inferences": summary.inferences,
        "units": summary.units,
        "recorded_s": row.recorded_s,
        "recorded_by": row.recorded_by,
        "applied_s": held.at_s,
        "applied_by": held.who,
        "reason": held.reason,
    }


def _window(row: Window) -> dict[str, Any]:
    latency = sketch.from_bytes(row.sketch)
    p95_ns = latency.quantile_ns(0.95)
    return {
        "window_s": row.window_s,
        "version": row.version,
        "inferences": row.inferences,
        "errors": row.errors,
        "latency_us_mean": None if latency.mean_ns is None else latency.mean_ns / 1e3,
        "latency_us_p95": None if p95_ns is None else p95_ns / 1e3,
        "energy_uj": row.energy_sum_uj / row.energy_count if row.energy_count else None,
    }
