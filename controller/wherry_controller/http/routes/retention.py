"""Retention: what is kept of each model, what would go, and letting it go."""

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from wherry_controller.core.registry.retention import Retention
from wherry_controller.fleet import retaining, rollouts
from wherry_controller.fleet.retaining import Judged
from wherry_controller.http.auth import Caller, authorize, desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.http.shapes import RetentionPolicy, RetentionRun

router = APIRouter(tags=["registry"])
At = Annotated[Desk, Depends(desk_of)]
By = Annotated[Caller, Depends(authorize)]


@router.get("/retention", operation_id="retention.show")
def show(desk: At, model: str | None = None) -> dict[str, Any]:
    """The policy, and the fate of every version under it: a dry run, nothing is done."""
    db = desk.reader
    found = retaining.judge(db, rollouts.open_in(db, model), desk.clock(), model)
    return {"policy": _plain(retaining.policy(db)), "versions": [_judged(one) for one in found]}


@router.put("/retention", operation_id="retention.set")
def change(body: RetentionPolicy, desk: At, by: By) -> dict[str, Any]:
    """Set the policy; with `is_scheduled` it is applied from now on."""
    wanted = Retention(body.versions_max, body.accuracy_min, body.age_days_max, body.is_scheduled)
    desk.do(lambda org, now_s: retaining.set_policy(org, wanted, by.name, body.reason, now_s))
    return _plain(wanted)


@router.post("/retention/run", operation_id="retention.run")
def run(body: RetentionRun, desk: At, by: By) -> dict[str, Any]:
    """Delete what may go now; the fate of every version, with its reasons."""
    found = desk.do(lambda org, now_s: retaining.run(org, by.name, body.reason, now_s, body.model))
    return {"versions": [_judged(one) for one in found]}


def _plain(wanted: Retention) -> dict[str, Any]:
    return dataclasses.asdict(wanted) | {"keep_deployed": True}


def _judged(one: Judged) -> dict[str, Any]:
    return {
        "model": one.row.model,
        "version": one.row.version,
        "stage": one.row.stage,
        "accuracy": one.row.accuracy,
        "pushed_s": one.row.pushed_s,
        "is_kept": one.fate.is_kept,
        "reasons": list(one.fate.reasons),
    }
