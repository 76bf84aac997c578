"""Operators and their tokens."""

from collections.abc import Callable
from dataclasses import replace

from sqlite_utils import Database
from wherry_protocol.errors import NotFoundError, StateError, WherryError

from wherry_controller.core.permissions import Role
from wherry_controller.store import audit, operators
from wherry_controller.store.operators import Operator
from wherry_controller.tokens import make_token, token_hash

NAME_MAX = 64


def add_operator(
    db: Database,
    name: str,
    role: Role,
    who: str,
    now_s: float,
    random: Callable[[int], bytes],
) -> str:
    """A new operator's token, which nobody can read again. Raises StateError for a taken name."""
    if not name or len(name) > NAME_MAX or not name.isprintable():
        raise WherryError(f"operator name {name!r}: 1 to {NAME_MAX} printable characters")
    if operators.get(db, name) is not None:
        raise StateError(f"operator {name!r} exists already; choose another name")
    token = make_token(random)
    operators.put(db, Operator(name, role.name.lower(), token_hash(token), now_s))
    audit.add(db, now_s, who, "operator.add", name, details={"role": role.name.lower()})
    return token


def disable_operator(db: Database, name: str, who: str, reason: str, now_s: float) -> None:
    """The operator's token ends. Raises NotFoundError, StateError for the last admin."""
    row = operators.get(db, name)
    if row is None:
        raise NotFoundError(f"operator {name!r} does not exist")
    admins = [o.name for o in operators.everyone(db) if o.role == "admin" and not o.is_disabled]
    if admins == [name]:
        raise StateError(f"operator {name!r} is the last admin; add another one first")
    operators.put(db, replace(row, is_disabled=1))
    audit.add(db, now_s, who, "operator.disable", name, reason)


def role_of(operator: Operator) -> Role:
    return Role[operator.role.upper()]
