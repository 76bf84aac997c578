"""What the API shows beside a rollout: its checklist, and the report at its end."""

import json
from math import inf
from typing import Any

from sqlite_utils import Database

from wherry_controller.core.assurance.checklist import Known, Tick, filled
from wherry_controller.core.audit_chain import AuditRow
from wherry_controller.core.notify import Kind
from wherry_controller.core.plans.stages import SERVING
from wherry_controller.core.rollouts import Rollout, restore
from wherry_controller.fleet import assuring
from wherry_controller.http import views, views_of_suites
from wherry_controller.store import assurance, audit, deliveries, performance, verifications
from wherry_controller.store import rollouts as kept

HISTORY_MAX = 1_000
TOLD_MAX = 200
GOOD = ("pass",)
EXPERIMENT = "ab"
TOLD = (Kind.ANNOUNCED, Kind.COMPLETED, Kind.SUMMARY)


def checklist(db: Database, rollout_id: str) -> list[dict[str, Any]]:
    """Each item as it stands."""
    return [
        {
            "item": line.item,
            "when": line.when.value,
            "text": line.text,
            "is_done": line.is_done,
            "found": line.found,
            "ticked_by": None if line.tick is None else line.tick.who,
            "ticked_s": None if line.tick is None else line.tick.at_s,
        }
        for line in filled(_known(db, rollout_id))
    ]


def _known(db: Database, rollout_id: str) -> Known:
    row = kept.get(db, rollout_id)
    history = audit.newest(db, HISTORY_MAX, subject=rollout_id)
    findings = json.loads(assurance.papers(db, rollout_id).findings)
    done = [_details(a) for a in history if a.action == "rollout.stage-done"]
    rollout = restore(kept.parts(db, rollout_id))
    plan = rollout.plan
    required = plan.gate.require
    first = next((stage for stage in plan.stages if stage.action in SERVING), None)
    ended_s = max((a.at_s for a in history if a.action == "rollout.finished"), default=inf)
    return Known(
        row.state,
        {f["item"]: (f["verdict"] == "passed" or f["is_forced"], f["text"]) for f in findings},
        stages_done=len(done),
        green_stages=sum(_is_green(left["checks"], required) for left in done),
        notes=sum(a.action == "rollout.note" for a in history),
        has_figures=performance.has_digest(db, row.bundle_digest),
        figures_passed=_figures_passed(db, rollout, ended_s),
        told={kind.value: deliveries.is_delivered(db, kind.value, rollout_id) for kind in TOLD},
        first_share_bp=0 if first is None else min(first.share_bp, plan.subset_bp),
        is_experiment=plan.strategy == EXPERIMENT,
        ticks={
            _details(a)["item"]: Tick(a.who, a.at_s, a.reason)
            for a in history
            if a.action == "rollout.tick"
        },
    )


def _figures_passed(db: Database, rollout: Rollout, ended_s: float) -> bool:
    """Did the newest check against limits, after its end and on devices of its own, pass?"""
    found = [
        one
        for one in verifications.held_to_limits(db, rollout.digest, ended_s)
        if one[1] in rollout.members
    ]
    return bool(found) and all(
        outcome == "passed" for run, _, outcome in found if run == found[0][0]
    )


def _is_green(checks: list[dict[str, Any]], required: tuple[str, ...]) -> bool:
    """Did everything that the gate requires pass?"""
    return all(c["verdict"] in GOOD for c in checks if c["check"] in required)


def _details(row: AuditRow) -> dict[str, Any]:
    return dict(json.loads(row.details))


def report(db: Database, rollout_id: str, now_s: float) -> dict[str, Any]:
    """The whole story of a rollout; lists of names are bounded."""
    rollout = views.rollout(db, rollout_id, now_s)
    history = audit.newest(db, HISTORY_MAX, subject=rollout_id)
    papers = assurance.papers(db, rollout_id)
    forced = [_details(a) for a in history if a.action == "rollout.force"]
    return {
        "rollout": {key: value for key, value in rollout.items() if key != "units"},
        "duration_s": rollout["updated_s"] - rollout["created_s"],
        "checks": assuring.shown(json.loads(papers.findings), papers),
        "overrides": [
            *rollout["overrides"],
            *(f"forced: {f['item']}: {f['found']}" for f in forced),
        ],
        "checklist": checklist(db, rollout_id),
        "incidents": [views.plain(notice) for notice in kept.notices_of(db, rollout_id)],
        "notes": [
            {"at_s": a.at_s, "who": a.who, "text": a.reason}
            for a in history
            if a.action == "rollout.note"
        ],
        "verifications": views_of_suites.about(db, rollout_id, bytes.fromhex(rollout["digest"])),
        "told": [
            {"route": d.route, "kind": d.kind, "state": d.state, "at_s": d.ended_s, "text": d.text}
            for d in deliveries.of_rollout(db, rollout_id)[-TOLD_MAX:]
        ],
        "history": [
            {"at_s": a.at_s, "who": a.who, "action": a.action, "reason": a.reason} for a in history
        ],
    }
