"""Rollouts and the way back: created, watched, steered."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from wherry_protocol.errors import ForbiddenError

from wherry_controller.core.permissions import Role
from wherry_controller.core.rollouts import events as told
from wherry_controller.core.subset import parse_share
from wherry_controller.fleet import (
    assuring,
    deploying,
    previewing,
    rollouts,
)
from wherry_controller.http import streams, views
from wherry_controller.http.auth import Caller, authorize, desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.http.shapes import (
    Approval,
    Decommissioning,
    NewRollout,
    Rollback,
    SlotChange,
    Widening,
    WithReason,
)
from wherry_controller.store import rollouts as kept

router = APIRouter(tags=["rollouts"])
At = Annotated[Desk, Depends(desk_of)]
By = Annotated[Caller, Depends(authorize)]
LARGE: Final = 1_000  # devices
LARGE_LOOK_S: Final = 1.0


def _order(body: NewRollout, by: Caller, *, is_started: bool) -> deploying.Order:
    papers = assuring.Papers(body.emergency, forced_by(by, body.force))
    return deploying.Order(
        body.model, body.version, body.target, body.plan, body.reason, is_started,
        body.acknowledge_notes, papers,
    )  # fmt: skip


def forced_by(by: Caller, items: list[str]) -> frozenset[str]:
    """Raises ForbiddenError: what does not hold is let pass by an admin only."""
    if items and by.role < Role.ADMIN:
        raise ForbiddenError(f"force needs the role admin, {by.name} is {by.role.name.lower()}")
    return frozenset(items)


@router.post(
    "/rollouts", operation_id="rollouts.create", status_code=201, response_model=dict[str, Any]
)
def create(body: NewRollout, desk: At, by: By) -> Response:
    """Draft a rollout and, unless told otherwise, start it."""
    may_start = not desk.settings.fleet.needs_approver or by.role >= Role.APPROVER
    order = _order(body, by, is_started=body.start and (may_start or body.emergency))
    rollout_id = desk.do(lambda org, now_s: deploying.create(org, order, by.name, now_s))
    return _shown(desk, rollout_id, status_code=201)


@router.post("/rollouts/preview", operation_id="rollouts.preview")
def preview(body: NewRollout, desk: At, by: By) -> dict[str, Any]:
    """A dry run: which units each stage would add, in order. Nothing is kept."""
    order = _order(body, by, is_started=False)
    with desk.snapshot() as db:
        open_ones = rollouts.open_in(db, body.model)
        return previewing.preview(db, _rules(desk), open_ones, order, by.name, desk.clock())


def _rules(desk: Desk) -> assuring.Rules:
    return assuring.Rules(desk.settings.environments, desk.settings.registry)


@router.get("/rollouts", operation_id="rollouts.list")
def everything(desk: At, limit: int = 100) -> list[dict[str, Any]]:
    """Newest first."""
    return views.rollouts(desk.reader, min(max(limit, 1), 1000))


@router.get("/rollouts/{rollout_id}", operation_id="rollouts.show", response_model=dict[str, Any])
def show(rollout_id: str, desk: At) -> Response:
    """State, stage, counts, checks, members, and what it waits for."""
    return _shown(desk, rollout_id)


def _shown(desk: Desk, rollout_id: str, status_code: int = 200) -> Response:
    """With every unit; they are JSON values already, and looking again at each takes seconds."""
    view = views.rollout(desk.reader, rollout_id, desk.clock())
    return Response(json.dumps(view), status_code, media_type="application/json")


@router.get("/rollouts/{rollout_id}/checks", operation_id="rollouts.checks")
def checks(rollout_id: str, desk: At, by: By) -> dict[str, Any]:
    """Its preconditions: as they stand now, or as they stood when it started."""
    with desk.snapshot() as db:
        return assuring.checks(db, _rules(desk), rollout_id, by.name, desk.clock())


@router.get("/rollouts/{rollout_id}/watch", operation_id="rollouts.watch")
async def watch(rollout_id: str, request: Request, desk: At) -> StreamingResponse:
    """Server-sent events: the rollout's summary whenever it changes, until it has ended and
    takes nothing back any more."""
    look = _watcher(desk, rollout_id)
    await run_in_threadpool(look)  # a rollout that does not exist is a 404, not a stream

    async def events() -> AsyncIterator[str]:
        async for view in streams.changes(request, look):
            yield streams.event(view)
            if not view["is_open"] and not view["is_winding_down"]:
                return

    return StreamingResponse(events(), media_type="text/event-stream")


def _watcher(desk: Desk, rollout_id: str) -> Callable[[], dict[str, Any]]:
    """Looks at a rollout; a summary costs what was opened, so a large one is made once a second."""
    seen: dict[str, Any] = {}

    def look() -> dict[str, Any]:
        nonlocal seen
        is_large = sum(seen.get("members", {}).values()) > LARGE
        if not is_large or not 0 <= desk.clock() - seen["seen_s"] < LARGE_LOOK_S:
            seen = _summary(desk, rollout_id)
        return seen

    return look


def _summary(desk: Desk, rollout_id: str) -> dict[str, Any]:
    """Of a live rollout from the writer's memory, since restoring a large one takes seconds."""
    row = kept.get(desk.reader, rollout_id)
    if row.is_open or row.is_winding_down:
        return desk.do(
            lambda org, now_s: views.rollout_summary(rollouts.load(org, rollout_id), now_s)
        )
    shown = views.rollout(desk.reader, rollout_id, desk.clock())
    return {key: value for key, value in shown.items() if key != "units"}


def _command(desk: Desk, rollout_id: str, make: Callable[[], told.Event]) -> dict[str, Any]:
    desk.do(lambda org, now_s: rollouts.tell(org, rollout_id, make(), now_s) and None)
    return views.rollout(desk.reader, rollout_id, desk.clock())


@router.post("/rollouts/{rollout_id}/approve", operation_id="rollouts.approve")
def approve(rollout_id: str, body: Approval, desk: At, by: By) -> dict[str, Any]:
    """Approve a draft and start it."""
    forced = forced_by(by, body.force)
    desk.do(
        lambda org, now_s: deploying.start(org, rollout_id, by.name, body.reason, now_s, forced)
    )
    return views.rollout(desk.reader, rollout_id, desk.clock())


@router.post("/rollouts/{rollout_id}/pause", operation_id="rollouts.pause")
def pause(rollout_id: str, body: WithReason, desk: At, by: By) -> dict[str, Any]:
    """Touch nobody else until it is resumed."""
    return _command(desk, rollout_id, lambda: told.Pause(by.name, body.reason))


@router.post("/rollouts/{rollout_id}/resume", operation_id="rollouts.resume")
def resume(rollout_id: str, body: WithReason, desk: At, by: By) -> dict[str, Any]:
    """Go on."""
    return _command(desk, rollout_id, lambda: told.Resume(by.name, body.reason))


@router.post("/rollouts/{rollout_id}/advance", operation_id="rollouts.advance")
def advance(rollout_id: str, body: WithReason, desk: At, by: By) -> dict[str, Any]:
    """Open the next stage without waiting for soak and gate; audited."""
    return _command(desk, rollout_id, lambda: told.Advance(by.name, body.reason))


@router.post("/rollouts/{rollout_id}/abort", operation_id="rollouts.abort")
def abort(rollout_id: str, body: WithReason, desk: At, by: By) -> dict[str, Any]:
    """Stop the spread; what has swapped stays."""
    return _command(desk, rollout_id, lambda: told.Abort(by.name, body.reason))


@router.post("/rollouts/{rollout_id}/revert", operation_id="rollouts.revert")
def revert(rollout_id: str, body: WithReason, desk: At, by: By) -> dict[str, Any]:
    """Stop the spread and send every swapped device back."""
    return _command(desk, rollout_id, lambda: told.Revert(by.name, body.reason))


@router.post("/rollouts/{rollout_id}/widen", operation_id="rollouts.widen")
def widen(rollout_id: str, body: Widening, desk: At, by: By) -> dict[str, Any]:
    """Raise the subset and go on; devices that confirmed are not touched."""
    share = parse_share(body.subset)
    return _command(desk, rollout_id, lambda: told.Widen(by.name, share, body.reason))


@router.post("/rollouts/{rollout_id}/switch", operation_id="rollouts.switch")
def switch(rollout_id: str, body: SlotChange, desk: At, by: By) -> dict[str, Any]:
    """Let the other slot serve, if `from_slot` serves now (compare-and-swap)."""
    event = told.Switch(by.name, body.from_slot, body.to_slot, body.reason)
    return _command(desk, rollout_id, lambda: event)


@router.post("/rollouts/{rollout_id}/decommission", operation_id="rollouts.decommission")
def decommission(rollout_id: str, body: Decommissioning, desk: At, by: By) -> dict[str, Any]:
    """Unload what served before, once the bake has ended; its bytes stay unless purged."""
    return _command(
        desk, rollout_id, lambda: told.Decommission(by.name, body.reason, body.is_purged)
    )


@router.post("/rollback", operation_id="rollback")
def rollback(body: Rollback, desk: At, by: By) -> dict[str, Any]:
    """Send units back to a version, or each to the one it ran before."""
    order = deploying.WayBack(body.model, body.target, body.to_version, body.reason, body.plan,
                              body.emergency)  # fmt: skip
    return desk.do(lambda org, now_s: deploying.roll_back(org, order, by.name, now_s))
