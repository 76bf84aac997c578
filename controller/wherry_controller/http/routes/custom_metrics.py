"""Custom metrics: pushed by whoever has figures that Wherry does not measure."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from wherry_controller.fleet import custom_metrics
from wherry_controller.fleet.custom_metrics import Push
from wherry_controller.http import views
from wherry_controller.http.auth import Caller, authorize, desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.http.shapes import NewMetric
from wherry_controller.store import custom_metrics as kept

router = APIRouter(tags=["telemetry"])
At = Annotated[Desk, Depends(desk_of)]
By = Annotated[Caller, Depends(authorize)]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.post("/custom-metrics", operation_id="custom_metrics.push", status_code=201)
def push(body: NewMetric, desk: At, by: By) -> dict[str, Any]:
    """Push a sample for one unit, a selector's units, one rollout, or everybody."""
    asked = Push(body.name, body.value, body.unit, body.target, body.rollout)
    desk.do(lambda org, now_s: custom_metrics.push(org, asked, by.name, now_s))
    return {"name": body.name, "value": body.value, "pushed_by": by.name}


@router.get("/custom-metrics", operation_id="custom_metrics.list")
def newest(desk: At, name: str | None = None, limit: Limit = 100) -> list[dict[str, Any]]:
    """The newest samples, oldest first."""
    return [views.plain(row) for row in kept.newest(desk.reader, name, limit)]
