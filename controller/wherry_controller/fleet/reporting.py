"""The fleet's report from the store, and the schedule it is made on; reads on any connection."""

import json
from dataclasses import asdict
from hashlib import sha256
from typing import Any, Final

from sqlite_utils import Database

from wherry_controller.core.fleet_report import as_markdown
from wherry_controller.core.notify import Cause, Kind, Matter, chosen
from wherry_controller.fleet import alerting, targets
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import alerts, deliveries, performance, summaries, watches
from wherry_controller.store import rollouts as kept
from wherry_controller.store.summaries import SummaryRow

RECENT_S: Final = 900
STANDING_MAX: Final = 20
DEAD_MAX: Final = 1000


def fleet_report(db: Database, organization: str, now_s: float) -> dict[str, Any]:
    """Health, figures per version, rollouts, alerts; JSON values."""
    units: dict[str, int] = {}
    for facts in targets.facts(db):
        units[facts.health] = units.get(facts.health, 0) + 1
    standing = [a for state in ("open", "acknowledged")
                for a in alerts.newest(db, STANDING_MAX, state)]  # fmt: skip
    return {
        "organization": organization,
        "at_s": now_s,
        "recent_s": RECENT_S,
        "units": units,
        "models": [asdict(row) for row in performance.totals(db, now_s - RECENT_S)],
        "rollouts": [{"id": row.id, "state": row.state} for row in kept.open_ones(db)],
        "alerts": alerts.counts(db),
        "standing": [
            {"id": a.id, "severity": a.severity, "state": a.state, "count": a.count, "text": a.text}
            for a in standing
        ],
        "dead_messages": len(deliveries.newest(db, DEAD_MAX, state="dead")),
    }


def is_due(db: Database, interval_s: int, now_s: float) -> bool:
    """Whether the schedule asks for another one; an interval of 0 is no schedule."""
    last_s = watches.last_report_s(db)
    return interval_s > 0 and (last_s is None or now_s - last_s >= interval_s or now_s < last_s)


def keep_summary(org: Organization, rollout: str, markdown: str, now_s: float) -> None:
    """Keep the report of a rollout that has ended, and send it to whoever takes it; once."""
    if summaries.find(org.db, rollout) is not None:
        return
    digest = sha256(markdown.encode())
    summaries.put(org.db, SummaryRow(rollout, now_s, digest.digest(), markdown))
    body = {"text": f"summary of rollout {rollout}", "severity": "info", "markdown": markdown,
            "digest": digest.hexdigest(), "path": f"/api/v1/rollouts/{rollout}/report"}  # fmt: skip
    for route in chosen(org.routes, Matter(Kind.SUMMARY.value, "info", Cause.ROLLOUT.value)):
        alerting.queue(org, route, Kind.SUMMARY, body, now_s, rollout=rollout)


def keep(org: Organization, report: dict[str, Any], now_s: float) -> None:
    """Keep a scheduled report and send it to whoever takes it."""
    watches.put_report(org.db, now_s, json.dumps(report, sort_keys=True))
    body = {"text": f"report of the fleet of {org.name}", "severity": "info", "report": report,
            "markdown": as_markdown(report)}  # fmt: skip
    for route in chosen(org.routes, Matter(Kind.REPORT.value, "info", "other")):
        alerting.queue(org, route, Kind.REPORT, body, now_s)
