"""Alerts: what stands, who is at it, what is over; and the self-test."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from wherry_controller.fleet import alerting, explaining, monitoring
from wherry_controller.http import streams, views
from wherry_controller.http.auth import Caller, authorize, desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.http.routes.deliveries import delivery_view, wait_tried
from wherry_controller.http.shapes import WithReason
from wherry_controller.store import alerts as kept
from wherry_controller.store import deliveries, registry

router = APIRouter(tags=["alerts"])
At = Annotated[Desk, Depends(desk_of)]
By = Annotated[Caller, Depends(authorize)]
Limit = Annotated[int, Query(ge=1, le=1000)]
StateQuery = Literal["open", "acknowledged", "resolved"] | None
TOLD_MAX = 100


@router.get("/alerts", operation_id="alerts.list")
def newest(desk: At, limit: Limit = 10, state: StateQuery = None) -> list[dict[str, Any]]:
    """Newest first."""
    return [views.plain(alert) for alert in kept.newest(desk.reader, limit, state)]


@router.get("/alerts/watch", operation_id="alerts.watch")
async def watch(request: Request, desk: At, limit: Limit = 100) -> StreamingResponse:
    """Server-sent events: each alert as it is now, then whenever it changes."""

    def look() -> list[dict[str, Any]]:
        return [views.plain(alert) for alert in kept.newest(desk.reader, limit)]

    async def stream() -> AsyncIterator[str]:
        shown: dict[int, dict[str, Any]] = {}
        async for rows in streams.changes(request, look):
            for row in reversed(rows):
                if shown.get(row["id"]) != row:
                    shown[row["id"]] = row
                    yield streams.event(row, "alert")

    return StreamingResponse(stream(), media_type="text/event-stream")


@router.get("/alerts/{alert_id}", operation_id="alerts.show")
def show(alert_id: int, desk: At) -> dict[str, Any]:
    """One alert, and who was told of it."""
    shown: dict[str, Any] = views.plain(kept.get(desk.reader, alert_id))
    told = deliveries.newest(desk.reader, TOLD_MAX, alert=alert_id)
    return shown | {"deliveries": [delivery_view(row) for row in told]}


@router.get("/alerts/{alert_id}/explain", operation_id="alerts.explain")
def explain(alert_id: int, desk: At) -> dict[str, Any]:
    """The rule that fired with its numbers, budget and baseline with their sources, figures."""
    return explaining.explain(desk.reader, alert_id)


@router.get("/monitoring", operation_id="monitoring")
def monitored(
    desk: At, target: str = "all", model: str | None = None, version: str | None = None
) -> dict[str, Any]:
    """Whether anybody is looking: fresh telemetry, limits, a route that was tested, series."""
    digest = None
    if model is not None and version is not None:
        digest = registry.version(desk.reader, model, version).digest
    found = monitoring.monitoring(desk.reader, desk.settings.routes, target, desk.clock(), digest)
    shown: dict[str, Any] = views.plain(found)
    return shown | {"is_configured": found.is_configured}


@router.post("/alerts/{alert_id}/acknowledge", operation_id="alerts.acknowledge")
def acknowledge(alert_id: int, body: WithReason, desk: At, by: By) -> dict[str, Any]:
    """Somebody is at it: it is not escalated further."""
    desk.do(lambda org, now_s: alerting.acknowledge(org, alert_id, by.name, body.reason, now_s))
    return show(alert_id, desk)


@router.post("/alerts/{alert_id}/resolve", operation_id="alerts.resolve")
def resolve(alert_id: int, body: WithReason, desk: At, by: By) -> dict[str, Any]:
    """Say that it is over; the next breach raises another."""
    desk.do(lambda org, now_s: alerting.close(org, alert_id, by.name, body.reason, now_s))
    return show(alert_id, desk)


@router.post("/alerts/test", operation_id="alerts.test")
def self_test(desk: At, by: By) -> dict[str, Any]:
    """A breach that never was goes through the guard and to every route that takes alerts."""
    alert_id = desk.do(lambda org, now_s: alerting.self_test(org, by.name, now_s))
    told = deliveries.newest(desk.reader, TOLD_MAX, alert=alert_id)
    rows = [wait_tried(desk, row.id or 0) for row in told]
    alert = views.plain(kept.get(desk.reader, alert_id))
    has_recovered = alert["state"] == "resolved"
    has_arrived = bool(rows) and all(row["state"] == "delivered" for row in rows)
    return {"alert": alert, "deliveries": rows, "is_passed": has_recovered and has_arrived}
