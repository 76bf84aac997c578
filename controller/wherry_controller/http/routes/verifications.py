"""Suites on devices: started, and their reports."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from wherry_controller.core.assurance.limits import parse_limits
from wherry_controller.fleet import verifying
from wherry_controller.http import views_of_suites
from wherry_controller.http.auth import Caller, authorize, desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.http.shapes import NewVerification

router = APIRouter(tags=["verifications"])
At = Annotated[Desk, Depends(desk_of)]
By = Annotated[Caller, Depends(authorize)]


@router.post("/verifications", operation_id="verifications.start", status_code=201)
def start(body: NewVerification, desk: At, by: By) -> dict[str, Any]:
    """Begin a suite on every unit that the target selects."""
    run = verifying.Run(
        body.suite, body.target, body.model, body.version, body.reason,
        parse_limits(body.limits), body.plan,
    )  # fmt: skip
    run_id = desk.do(lambda org, now_s: verifying.start(org, run, by.name, now_s))
    return views_of_suites.verification(desk.reader, run_id)


@router.get("/verifications", operation_id="verifications.list")
def everything(desk: At, limit: int = 100) -> list[dict[str, Any]]:
    """Newest first."""
    return views_of_suites.verifications(desk.reader, min(max(limit, 1), 1000))


@router.get("/verifications/{run_id}", operation_id="verifications.show")
def show(run_id: str, desk: At, is_brief: bool = False) -> dict[str, Any]:
    """Its outcome, and each unit's steps with what they found; brief: counts, without units."""
    return views_of_suites.verification(desk.reader, run_id, is_brief=is_brief)
