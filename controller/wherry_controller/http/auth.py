"""Who calls, and whether they may: a bearer token names an operator, a table decides.

The dependency sits on the whole API and asks the table by the route's operation id, so that an
endpoint that nobody put into the table is for nobody.
"""

from dataclasses import dataclass

from fastapi import Request
from wherry_protocol.errors import ForbiddenError, WherryError

from wherry_controller.core.permissions import PERMISSIONS, Role, may
from wherry_controller.fleet.operators import role_of
from wherry_controller.http.desk import Desk
from wherry_controller.store import operators
from wherry_controller.tokens import token_hash


class UnauthenticatedError(WherryError):
    """No token, or one that this organization does not know: HTTP 401."""

    exit_status = ForbiddenError.exit_status
    default_code = ForbiddenError.default_code


@dataclass(frozen=True, slots=True)
class Caller:
    """The operator behind a request."""

    name: str
    role: Role


def desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def authorize(request: Request) -> Caller:
    """The caller, allowed to do this. Raises UnauthenticatedError or ForbiddenError."""
    caller = _authenticate(request)
    operation = getattr(request.scope.get("route"), "operation_id", None)
    if not may(caller.role, str(operation)):
        needed = PERMISSIONS.get(str(operation))
        wanted = "nobody" if needed is None else f"the role {needed.name.lower()} or above"
        raise ForbiddenError(
            f"{caller.name} is {caller.role.name.lower()}; {operation} is for {wanted}"
        )
    request.state.caller = caller
    return caller


def _authenticate(request: Request) -> Caller:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise UnauthenticatedError("send your token as `Authorization: Bearer TOKEN`")
    operator = operators.by_token_hash(desk_of(request).reader, token_hash(token.strip()))
    if operator is None:
        raise UnauthenticatedError("this token is not known here, or was disabled")
    return Caller(operator.name, role_of(operator))
