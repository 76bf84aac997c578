"""Who is told of what: routes, and every message that is or was on its way."""

import json
import time
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query

from wherry_controller.fleet import delivering
from wherry_controller.http import views
from wherry_controller.http.auth import Caller, authorize, desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.http.shapes import WithReason
from wherry_controller.store import deliveries as kept
from wherry_controller.store.deliveries import Delivery

router = APIRouter(tags=["notify"])
At = Annotated[Desk, Depends(desk_of)]
By = Annotated[Caller, Depends(authorize)]
Limit = Annotated[int, Query(ge=1, le=1000)]
LOOK_S: Final = 0.05
TRIED_S_MAX: Final = 30.0


def delivery_view(row: Delivery) -> dict[str, Any]:
    """A delivery without its message."""
    return {key: value for key, value in views.plain(row).items() if key != "payload"}


def wait_tried(desk: Desk, delivery_id: int) -> dict[str, Any]:
    """The delivery after its first attempt, or as it is when nobody has tried in time."""
    deadline = time.monotonic() + TRIED_S_MAX
    while time.monotonic() < deadline:
        row = kept.get(desk.reader, delivery_id)
        if row.state != kept.WAITING or row.text:
            break
        time.sleep(LOOK_S)
    return delivery_view(kept.get(desk.reader, delivery_id))


@router.get("/routes", operation_id="routes.list")
def routes(desk: At) -> list[dict[str, Any]]:
    """The routes of wherry.toml; secrets lie in files and are not shown."""
    waiting = {route.name: kept.waiting_count(desk.reader, route.name)
               for route in desk.settings.routes}  # fmt: skip
    return [views.plain(route) | {"waiting": waiting[route.name]} for route in desk.settings.routes]


@router.post("/routes/{name}/test", operation_id="routes.test")
def try_one(name: str, desk: At, by: By) -> dict[str, Any]:
    """Send a message by one route, and wait for how its first attempt ends."""
    delivery_id = desk.do(lambda org, now_s: delivering.try_route(org, name, by.name, now_s))
    return wait_tried(desk, delivery_id)


@router.get("/deliveries", operation_id="deliveries.list")
def newest(
    desk: At, limit: Limit = 100, state: Literal["waiting", "delivered", "dead"] | None = None
) -> list[dict[str, Any]]:
    """Newest first; `state=dead` is what was given up."""
    return [delivery_view(row) for row in kept.newest(desk.reader, limit, state=state)]


@router.get("/deliveries/{delivery_id}", operation_id="deliveries.show")
def show(delivery_id: int, desk: At) -> dict[str, Any]:
    """One message, what was tried and when, and what it says."""
    row = kept.get(desk.reader, delivery_id)
    tried = [views.plain(attempt) for attempt in kept.attempts_of(desk.reader, delivery_id)]
    return delivery_view(row) | {"tried": tried, "payload": json.loads(row.payload)}


@router.post("/deliveries/{delivery_id}/resend", operation_id="deliveries.resend")
def resend(delivery_id: int, body: WithReason, desk: At, by: By) -> dict[str, Any]:
    """A dead message waits again, under a number of its own."""
    row = desk.do(
        lambda org, now_s: delivering.resend(org, delivery_id, by.name, body.reason, now_s)
    )
    return delivery_view(row)
