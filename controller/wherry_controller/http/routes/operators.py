"""Operators: who may do what, and tokens that are shown once."""

import os
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from wherry_controller.core.permissions import Role
from wherry_controller.fleet.operators import add_operator, disable_operator
from wherry_controller.http.auth import Caller, authorize, desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.http.shapes import NewOperator, WithReason
from wherry_controller.store import operators

router = APIRouter(tags=["operators"])
At = Annotated[Desk, Depends(desk_of)]
By = Annotated[Caller, Depends(authorize)]


@router.get("/whoami", operation_id="whoami")
def whoami(by: By) -> dict[str, str]:
    """The name and role behind the token."""
    return {"name": by.name, "role": by.role.name.lower()}


@router.get("/operators", operation_id="operators.list")
def everyone(desk: At) -> list[dict[str, Any]]:
    """All operators, without their tokens."""
    return [
        {"name": o.name, "role": o.role, "created_s": o.created_s, "is_disabled": o.is_disabled > 0}
        for o in operators.everyone(desk.reader)
    ]


@router.post("/operators", operation_id="operators.add", status_code=201)
def add(body: NewOperator, desk: At, by: By) -> dict[str, str]:
    """A new operator; the token in the answer cannot be read again."""
    role = Role[body.role.upper()]
    token = desk.do(
        lambda org, now_s: add_operator(org.db, body.name, role, by.name, now_s, os.urandom)
    )
    return {"name": body.name, "role": body.role, "token": token}


@router.post("/operators/{name}/disable", operation_id="operators.disable")
def disable(name: str, body: WithReason, desk: At, by: By) -> dict[str, str]:
    """End an operator's token."""
    desk.do(lambda org, now_s: disable_operator(org.db, name, by.name, body.reason, now_s))
    return {"name": name}
