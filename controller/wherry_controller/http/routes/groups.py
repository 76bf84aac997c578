"""Groups: named parts of the fleet, fixed or following their selector."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from sqlite_utils import Database

from wherry_controller.fleet import groups as naming
from wherry_controller.http.auth import Caller, authorize, desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.http.shapes import NewGroup, WithReason
from wherry_controller.store import groups, rollouts
from wherry_controller.store.groups import GroupRow

router = APIRouter(tags=["groups"])
At = Annotated[Desk, Depends(desk_of)]
By = Annotated[Caller, Depends(authorize)]


def shown(db: Database, row: GroupRow, now_s: float) -> dict[str, Any]:
    units = sorted(facts.name for facts in naming.members(db, row, now_s))
    runs = {run.model: run.rollout for run in groups.runs(db, row.name)}
    return {
        "name": row.name,
        "target": row.target,
        "is_dynamic": bool(row.is_dynamic),
        "created_s": row.created_s,
        "created_by": row.created_by,
        "units": units,
        "runs": {model: rollouts.get(db, rollout).id for model, rollout in runs.items()},
    }


@router.get("/groups", operation_id="groups.list")
def everyone(desk: At) -> list[dict[str, Any]]:
    """All groups, by name."""
    return [shown(desk.reader, row, desk.clock()) for row in groups.everyone(desk.reader)]


@router.post("/groups", operation_id="groups.create", status_code=201)
def create(body: NewGroup, desk: At, by: By) -> dict[str, Any]:
    """Name the units that a selector takes: those of now, or whoever matches at any time."""
    row = desk.do(
        lambda org, now_s: naming.create(
            org, body.name, body.target, body.is_dynamic, by.name, now_s
        )
    )
    return shown(desk.reader, row, desk.clock())


@router.get("/groups/{name}", operation_id="groups.show")
def show(name: str, desk: At) -> dict[str, Any]:
    """One group: its units now, and the rollouts that brought what it runs."""
    return shown(desk.reader, groups.get(desk.reader, name), desk.clock())


@router.post("/groups/{name}/delete", operation_id="groups.delete")
def delete(name: str, body: WithReason, desk: At, by: By) -> dict[str, Any]:
    """Forget the name; what its units run stays."""
    desk.do(lambda org, now_s: naming.delete(org, name, by.name, body.reason, now_s))
    return {"name": name}
