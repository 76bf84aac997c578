"""The audit log and its proof."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from wherry_controller.core import audit_chain
from wherry_controller.http import views
from wherry_controller.http.auth import desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.store import audit

router = APIRouter(tags=["audit"])
At = Annotated[Desk, Depends(desk_of)]


@router.get("/audit", operation_id="audit.log")
def log(
    desk: At, subject: str | None = None, limit: Annotated[int, Query(ge=1, le=10_000)] = 100
) -> list[dict[str, Any]]:
    """The newest rows, oldest first: who changed what, and why."""
    return [views.audit_row(row) for row in audit.newest(desk.reader, limit, subject=subject)]


@router.get("/audit/verify", operation_id="audit.verify")
def verify(desk: At) -> dict[str, Any]:
    """Walk the whole hash chain; `bad_id` is the first row that does not fit."""
    verdict = audit_chain.verify(audit.everything(desk.reader))
    return {
        "is_intact": verdict.bad_id is None,
        "count": verdict.count,
        "last_hash": verdict.last_hash.hex(),
        "bad_id": verdict.bad_id,
        "problem": verdict.problem,
    }
