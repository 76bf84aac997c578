"""Answers for `wherry compare` and `wherry analyze`, from what is in the store; reads only."""

import json
from collections import defaultdict
from dataclasses import asdict
from typing import Any, Final

from sqlite_utils import Database
from wherry_protocol.errors import NotFoundError

from wherry_controller.core.analysis import Cell, analyze
from wherry_controller.core.baselines import Baseline, compare, summarize
from wherry_controller.core.baselines.document import from_text
from wherry_controller.core.windows import Window
from wherry_controller.fleet import baselining
from wherry_controller.store import baselines, classes, devices, performance
from wherry_controller.store.baselines import Scope

MEMORY_WATCH: Final = 0.80
CPU_WATCH: Final = 0.90
NOT_MEASURED: Final = {
    "layers": "layer hot spots need a profile of the device; telemetry has none",
    "transport": "an inference's latency is measured on the device, transport is no part of it",
}


def compared(
    db: Database,
    window_s: int,
    target: str,
    references: list[Baseline],
    duration_s: float,
    now_s: float,
) -> list[dict[str, Any]]:
    """What each baseline's (model, MAJOR, class) does now on that target, verdict by verdict.

    Raises NotFoundError where the target ran nothing of it.
    """
    scopes = baselining.windows_of(db, target, None, now_s - duration_s, now_s, now_s)
    found = []
    for one in references:
        windows = scopes.get((one.model, one.major, one.hardware_class))
        if windows:
            summary = summarize(windows, window_s)
            found.append(
                {
                    "model": one.model,
                    "major": one.major,
                    "class": one.hardware_class,
                    "versions": list(summary.versions),
                    "units": summary.units,
                    "inferences": summary.inferences,
                    "baseline_inferences": one.summary.inferences,
                    "verdicts": [asdict(verdict) for verdict in compare(summary, one.summary)],
                }
            )
    if not found:
        wanted = ", ".join(f"{r.model} {r.major}.x on {r.hardware_class}" for r in references)
        raise NotFoundError(
            f"target {target!r} reported nothing of {wanted} in the last {duration_s:g} s"
        )
    return found


def named(db: Database, name: str) -> list[Baseline]:
    """The baseline of that name. Raises NotFoundError."""
    return [from_text(baselines.by_name(db, name).document)]


def analyzed(
    db: Database, target: str, model: str | None, duration_s: float, now_s: float
) -> dict[str, Any]:
    """What explains that a target is slower than its baseline, and what speaks for a cause."""
    scopes = baselining.windows_of(db, target, model, now_s - duration_s, now_s, now_s)
    before = baselining.windows_of(
        db, target, model, now_s - 2 * duration_s, now_s - duration_s, now_s
    )
    rollouts = _rollouts(db)
    cells: list[Cell] = []
    sources: dict[str, str] = {}
    for scope, windows in scopes.items():
        reference, source = _reference(db, scope, before.get(scope, []))
        sources["{} {}.x on {}".format(*scope)] = source
        cells += _cells(windows, scope, reference, rollouts)
    result = analyze(cells)
    names = {one.name for one in result.explanations if one.dimension == "device"}
    shown = asdict(result)
    shown["explanations"] = [
        asdict(one) | {"lift": one.lift, "signs": _signs(db, one.name) if one.name in names else []}
        for one in result.explanations
    ]
    return shown | {"references": sources, "not_measured": NOT_MEASURED}


def _reference(db: Database, scope: Scope, before: list[Window]) -> tuple[float | None, str]:
    held = baselines.current(db, scope)
    if held is not None and held.baseline is not None:
        row = baselines.by_id(db, held.baseline)
        return from_text(row.document).summary.mean_us, f"baseline {row.name}"
    counted = sum(row.latency_count for row in before)
    if counted:
        mean_us = sum(row.latency_sum_ns for row in before) / counted / 1e3
        return mean_us, "the same class, as long before"
    return None, "none: no baseline is applied and nothing was measured before"


def _cells(
    windows: list[Window],
    scope: Scope,
    reference_us: float | None,
    rollouts: dict[tuple[str, str], str],
) -> list[Cell]:
    groups: defaultdict[tuple[str, str, str], list[Window]] = defaultdict(list)
    for row in windows:
        groups[f"{row.connection}/{row.unit}", row.version, row.slot].append(row)
    cells = []
    for (unit, version, slot), rows in groups.items():
        count = sum(row.latency_count for row in rows)
        if count:
            mean_us = sum(row.latency_sum_ns for row in rows) / count / 1e3
            rollout = rollouts.get((unit, version), "none")
            names = {"device": unit, "class": scope[2], "version": version, "slot": slot,
                     "rollout": rollout}  # fmt: skip
            cells.append(Cell(names, count, mean_us, reference_us))
    return cells


def _rollouts(db: Database) -> dict[tuple[str, str], str]:
    """(unit, version) -> the rollout that brought it there, as the assignment says."""
    return {
        (f"{connection}/{unit}", version): rollout
        for connection, unit, version, rollout in devices.brought_by(db)
    }


def _signs(db: Database, unit_id: str) -> list[str]:
    """What the device's newest resource report says for a cause; evidence, not proof."""
    connection, name = devices.split_id(unit_id)
    unit = devices.find_unit(db, connection, name)
    told = performance.resources(db, connection, name)
    if unit is None or told is None:
        return ["no resource report"]
    figures = json.loads(told[1])
    profile = classes.find(db, unit.hardware_class)
    signs = []
    celsius = figures.get("temperature")
    highest = None if profile is None else profile.temperature_c_max
    if isinstance(celsius, float) and highest is not None and celsius > highest:
        signs.append(f"thermal: {celsius:.1f} C, the class allows {highest:g} C")
    used, budget = figures.get("memory.rss"), figures.get("memory.budget")
    if isinstance(used, float) and isinstance(budget, float) and used > MEMORY_WATCH * budget:
        signs.append(f"memory: {used / budget:.0%} of the budget")
    cpu = figures.get("cpu")
    if isinstance(cpu, float) and cpu > CPU_WATCH:
        signs.append(f"processor: {cpu:.0%} busy")
    return signs or ["nothing in its resource report stands out"]
