"""Reports: of the fleet, now and as kept on schedule; rollouts that are watched."""

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response

from wherry_controller.core.fleet_report import as_markdown
from wherry_controller.fleet import reporting
from wherry_controller.http import views
from wherry_controller.http.auth import desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.store import watches

router = APIRouter(tags=["reports"])
At = Annotated[Desk, Depends(desk_of)]
Limit = Annotated[int, Query(ge=1, le=400)]


@router.get("/reports/fleet", operation_id="reports.fleet")
def fleet(desk: At, format: Literal["json", "markdown"] = "json") -> Response:
    """The fleet now: health, figures per version, rollouts, alerts."""
    report = reporting.fleet_report(desk.reader, desk.settings.organization, desk.clock())
    if format == "markdown":
        return Response(as_markdown(report), media_type="text/markdown; charset=utf-8")
    return Response(json.dumps(report), media_type="application/json")


@router.get("/reports/kept", operation_id="reports.kept")
def kept(desk: At, limit: Limit = 10) -> list[dict[str, Any]]:
    """The reports that were made on schedule, newest first."""
    return [json.loads(document) for _, document in watches.reports(desk.reader, limit)]


@router.get("/reports/watched", operation_id="reports.watched")
def watched(desk: At, limit: Limit = 10) -> list[dict[str, Any]]:
    """Rollouts that are or were watched after their end, with the newest verdicts."""
    rows = watches.newest(desk.reader, limit)
    return [views.plain(row) | {"document": json.loads(row.document)} for row in rows]
