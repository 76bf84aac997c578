"""The service itself: status, stop, roots, doctor, backup, metrics."""

import platform
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from wherry_controller import backup as backups
from wherry_controller import doctor as checks
from wherry_controller.fleet import Organization, rollouts, trustees
from wherry_controller.http import metrics as exposition
from wherry_controller.http import views
from wherry_controller.http.auth import Caller, authorize, desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.http.routes.devices import base64_bytes
from wherry_controller.http.shapes import NewRoot, StopOrder

router = APIRouter(tags=["service"])
At = Annotated[Desk, Depends(desk_of)]
By = Annotated[Caller, Depends(authorize)]


@router.get("/status", operation_id="status")
def status(desk: At) -> dict[str, Any]:
    """The organization at a glance."""
    about = {"version": version("wherry"), "python": platform.python_version()}
    return about | views.status(desk.reader, desk.settings, desk.writer, desk.clock())


@router.post("/stop", operation_id="stop")
def stop(body: StopOrder, desk: At, by: By) -> dict[str, Any]:
    """Halt every update of the fleet (running rollouts are paused), or let them go on."""

    def run(org: Organization, now_s: float) -> int:
        order = trustees.stop(org, body.is_stopped, by.name, body.reason, now_s)
        if body.is_stopped:
            rollouts.pause_all(org, by.name, f"stop: {body.reason}", now_s)
        return order.sequence

    return {"sequence": desk.do(run), "is_stopped": body.is_stopped}


@router.post("/roots", operation_id="roots.publish")
def publish_root(body: NewRoot, desk: At, by: By) -> dict[str, Any]:
    """Take in the next root document, signed by the old and the new threshold."""
    root = base64_bytes(body.root, "the root")

    def run(org: Organization, now_s: float) -> int:
        trustees.advance_root(org, root, by.name, now_s)
        return org.trust.root.number

    return {"number": desk.do(run)}


@router.post("/backup", operation_id="backup")
def backup(desk: At, by: By) -> dict[str, Any]:
    """Write a backup below the data directory: database, keys, vault."""
    desk.do(lambda org, now_s: org.record(now_s, by.name, "backup", org.name))
    made = backups.make(desk.data, desk.data.root / "backups", desk.clock())
    return {"path": str(made)}


@router.get("/doctor", operation_id="doctor")
def doctor(desk: At) -> list[dict[str, Any]]:
    """Each check: passed or not, and what to do."""
    found = checks.run(desk.data, desk.settings, desk.clock(), is_link_up=desk.writer.is_link_up)
    return [{"name": c.name, "passed": c.passed, "text": c.text} for c in found]


@router.get("/metrics", operation_id="metrics")
def metrics(desk: At) -> Response:
    """Prometheus exposition; scrape it with a viewer's token."""
    content = exposition.render(desk.reader, desk.writer.counters, desk.writer.is_link_up)
    return Response(content, media_type=exposition.CONTENT_TYPE)
