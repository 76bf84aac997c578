"""After a rollout has succeeded it is watched against the baseline, for a day or two.

Once an hour the last hour of its devices (at most `UNITS_MAX` of them, the first of its order) is
compared with the applied baseline of the MAJOR and class; without one, with each device's own
day before the new version served on it. What is worse is a warning until it is no longer; the end
is in the audit log, and names the classes of which nothing could be compared.
"""

import json
from collections import defaultdict
from dataclasses import asdict
from typing import Any, Final

from sqlite_utils import Database
from wherry_protocol.replacing import replace

from wherry_controller.core.baselines import Summary, compare, major_of, summarize
from wherry_controller.core.baselines.document import from_text
from wherry_controller.core.notify import Cause
from wherry_controller.core.rollouts import Rollout, State, restore
from wherry_controller.core.rollouts.members import MemberPhase
from wherry_controller.core.windows import Window
from wherry_controller.fleet.organization import SYSTEM, Organization
from wherry_controller.store import alerts, baselines, devices, performance, watches
from wherry_controller.store import rollouts as kept
from wherry_controller.store.rollouts import Notice
from wherry_controller.store.watches import WatchRow

LOOK_S: Final = 3600.0
DAY_S: Final = 86_400.0
UNITS_MAX: Final = 50
CAUSES: Final = {
    "error_rate": Cause.ERRORS,
    "latency_us_mean": Cause.LATENCY,
    "latency_us_p95": Cause.LATENCY,
    "energy_uj": Cause.ENERGY,
}
Findings = dict[str, list[dict[str, Any]]]  # class -> verdicts


def rollout_finished(org: Organization, rollout: str, state: str, now_s: float) -> None:
    """A rollout that succeeded is watched from now on."""
    if state == State.SUCCEEDED.value and org.alerts.watch_s > 0:
        row = WatchRow(rollout, now_s, now_s + org.alerts.watch_s, now_s, "watching", "{}")
        watches.put(org.db, row)


def look(db: Database, row: WatchRow, window_s: int, now_s: float) -> Findings:
    """Compare the last hour; reads only."""
    rollout = restore(kept.parts(db, row.rollout))
    found: Findings = {}
    for hardware_class, units in _members(rollout).items():
        now, before = [], []
        for unit_id in units:
            unit = devices.split_id(unit_id)
            served = performance.serving_windows(db, unit, rollout.model, now_s - LOOK_S, now_s)
            now += [window for window in served if window.digest == rollout.digest]
            before += _day_before(db, rollout, unit)
        reference = _reference(db, rollout, hardware_class, before, window_s)
        found[hardware_class] = []
        if now and reference is not None:
            verdicts = compare(summarize(now, window_s), reference[0])
            found[hardware_class] = [asdict(v) | {"against": reference[1]} for v in verdicts]
    return found


def _day_before(db: Database, rollout: Rollout, unit: tuple[str, str]) -> list[Window]:
    """What another version did on the unit in the day before this one served on it."""
    started_s = rollout.progress.started_s or rollout.created_s
    swap_s = performance.first_served_s(db, unit, rollout.model, rollout.digest, started_s)
    if swap_s is None:
        return []
    served = performance.serving_windows(db, unit, rollout.model, swap_s - DAY_S, swap_s)
    return [window for window in served if window.digest != rollout.digest]


def _members(rollout: Rollout) -> dict[str, list[str]]:
    """Class -> the units that confirmed, at most UNITS_MAX in all."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    confirmed = [m for m in (rollout.members[u] for u in rollout.order)
                 if m.phase is MemberPhase.CONFIRMED]  # fmt: skip
    for member in confirmed[:UNITS_MAX]:
        found[member.hardware_class].append(member.unit)
    return dict(found)


def _reference(
    db: Database, rollout: Rollout, hardware_class: str, before: list[Window], window_s: int
) -> tuple[Summary, str] | None:
    scope = (rollout.model, major_of(rollout.version), hardware_class)
    held = baselines.current(db, scope)
    if held is not None and held.baseline is not None:
        row = baselines.by_id(db, held.baseline)
        return from_text(row.document).summary, f"baseline {row.name}"
    return (summarize(before, window_s), "the time before the rollout") if before else None


def take(org: Organization, row: WatchRow, found: Findings, now_s: float) -> None:
    """Keep what was found, tell what is worse or no longer is, and end the watch in time."""
    standing = {a.topic for a in alerts.unresolved_of_rollout(org.db, row.rollout)}
    for hardware_class, verdicts in found.items():
        for verdict in verdicts:
            topic = f"watch {verdict['metric']} {hardware_class}"
            is_worse = verdict["verdict"] == "worse"
            if is_worse or (topic in standing and verdict["verdict"] in ("same", "better")):
                _tell(org, row.rollout, topic, verdict, is_worse, now_s)
    is_over = now_s >= row.until_s
    document = json.dumps({"classes": found}, sort_keys=True)
    state = "ended" if is_over else "watching"
    watches.put(org.db, replace(row, looked_s=now_s, state=state, document=document))
    if is_over:
        org.record(now_s, SYSTEM, "rollout.watched", row.rollout, _outcome(found), classes=found)


def _outcome(found: Findings) -> str:
    """What the audit log says at the end."""
    worse = sorted({v["metric"] for vs in found.values() for v in vs if v["verdict"] == "worse"})
    unknown = sorted(name for name, vs in found.items()
                     if all(v["verdict"] == "inconclusive" for v in vs))  # fmt: skip
    said = [f"worse: {', '.join(worse)}"] if worse else []
    if not worse and len(unknown) < len(found):
        said.append("nothing is worse than before")
    if unknown or not found:
        said.append(f"not compared: {', '.join(unknown) or 'nobody serves it'}")
    return "; ".join(said)


def _tell(
    org: Organization,
    rollout: str,
    topic: str,
    verdict: dict[str, Any],
    is_worse: bool,
    now_s: float,
) -> None:
    how = "worse than" if is_worse else "no longer worse than"
    text = f"{rollout}: {verdict['metric']} is {how} {verdict['against']}: {verdict['text']}"
    severity, cause = ("warning" if is_worse else "info"), CAUSES[verdict["metric"]].value
    notice = Notice(None, now_s, severity, topic, rollout, text, cause, "", "", int(not is_worse))
    kept.put_notice(org.db, notice)
