"""Telemetry, performance windows and events, as lists and as a live tail."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from wherry_controller.http import streams, views
from wherry_controller.http.auth import desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.store import events, performance
from wherry_controller.store import rollouts as kept

router = APIRouter(tags=["telemetry"])
At = Annotated[Desk, Depends(desk_of)]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("/telemetry", operation_id="telemetry.list")
def newest(
    desk: At, device: str | None = None, after_id: int = 0, limit: Limit = 100
) -> list[dict[str, Any]]:
    """The newest raw reports, oldest first, as SenML in JSON."""
    found = performance.newest_reports(
        desk.reader, after_id=after_id, connection=device, limit=limit
    )
    return [views.report(row) for row in found]


@router.get("/telemetry/tail", operation_id="telemetry.tail")
async def tail(request: Request, desk: At, device: str | None = None) -> StreamingResponse:
    """Server-sent events: reports and events as they are committed."""

    def look() -> list[dict[str, Any]]:
        reports = performance.newest_reports(desk.reader, connection=device, limit=500)
        told = events.newest(desk.reader, connection=device, limit=500)
        both = [views.report(row) for row in reports] + [views.event(row) for row in told]
        return sorted(both, key=lambda row: float(row["received_s"]))

    async def stream() -> AsyncIterator[str]:
        sent: dict[str, int] = {}
        is_first = True
        async for rows in streams.changes(request, look):
            for row in rows:
                if row["id"] > sent.get(row["kind"], 0):
                    sent[row["kind"]] = row["id"]
                    if not is_first:
                        yield streams.event(row, row["kind"])
            if is_first:
                is_first = False
                yield ": tail begins\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


@router.get("/performance", operation_id="performance.list")
def windows(
    desk: At, device: str | None = None, since_s: float = 0.0, limit: Limit = 1000
) -> list[dict[str, Any]]:
    """Performance windows: figures per device, model and version."""
    found = performance.windows(desk.reader, since_s=since_s, connection=device, limit=limit)
    return [views.window(row) for row in found]


@router.get("/events", operation_id="events.list")
def told(
    desk: At, device: str | None = None, after_id: int = 0, limit: Limit = 100
) -> list[dict[str, Any]]:
    """The newest events of devices, oldest first."""
    found = events.newest(desk.reader, after_id=after_id, connection=device, limit=limit)
    return [views.event(row) for row in found]


@router.get("/notices", operation_id="notices.list")
def notices(desk: At, limit: Limit = 100) -> list[dict[str, Any]]:
    """What people were told: by rollouts and by the standing guard, oldest first."""
    return [views.plain(row) for row in kept.notices(desk.reader, limit)]
