"""Where a version stands: development, staging, production, archived.

Rules, in order:
1. A version is pushed into development. It moves by the table and in no other way.
2. A promotion is asked for with a justification and let through or rejected by somebody else.
3. From development straight to production only an admin may ask, and the audit log says so.
4. A rollout in production that succeeded moves its version there: the stage tells the truth.
5. What is in use is not archived; what is archived is not rolled out, and comes back by promotion
   to development.

    may_ask(Stage.DEVELOPMENT, Stage.STAGING)   # Move.PROMOTE
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from wherry_protocol.errors import ForbiddenError, StateError

from wherry_controller.core.permissions import Role


class Stage(Enum):
    """A version's place in its life."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"


class Move(Enum):
    """What can happen to a version's stage."""

    PROMOTE = "promotion approved"
    SKIP = "promotion without staging approved"
    RESTORE = "restoration approved"
    ARCHIVE = "archive"
    DEPLOY = "rollout in production succeeded"


D, S, P, A = Stage.DEVELOPMENT, Stage.STAGING, Stage.PRODUCTION, Stage.ARCHIVED
# A pair that leads to the same stage is no move: nothing happens, or it is refused.
TRANSITIONS: Final[Mapping[tuple[Stage, Move], Stage]] = {
    (D, Move.PROMOTE): S,
    (D, Move.SKIP): P,
    (D, Move.RESTORE): D,
    (D, Move.ARCHIVE): A,
    (D, Move.DEPLOY): P,
    (S, Move.PROMOTE): P,
    (S, Move.SKIP): S,
    (S, Move.RESTORE): S,
    (S, Move.ARCHIVE): A,
    (S, Move.DEPLOY): P,
    (P, Move.PROMOTE): P,
    (P, Move.SKIP): P,
    (P, Move.RESTORE): P,
    (P, Move.ARCHIVE): A,
    (P, Move.DEPLOY): P,
    (A, Move.PROMOTE): A,
    (A, Move.SKIP): A,
    (A, Move.RESTORE): D,
    (A, Move.ARCHIVE): A,
    (A, Move.DEPLOY): A,
}
ASKED: Final = (Move.PROMOTE, Move.RESTORE, Move.SKIP)


@dataclass(frozen=True, slots=True)
class Request:
    """A promotion that waits for its decision."""

    source: Stage
    target: Stage
    requested_by: str


def move(stage: Stage, target: Stage) -> Move | None:
    """The asked-for move between two stages, or None where there is none."""
    for one in ASKED:
        if stage is not target and TRANSITIONS[stage, one] is target:
            return one
    return None


def ask(stage: Stage, target: Stage, *, skips_staging: bool, role: Role) -> Move:
    """The move that a promotion asks for. Raises StateError or ForbiddenError."""
    found = move(stage, target)
    if found is None:
        ways = [one.value for one in Stage if move(stage, one) is not None]
        raise StateError(
            f"there is no promotion from {stage.value} to {target.value}; from {stage.value} it "
            f"goes to {' or '.join(ways) or 'nowhere'}"
        )
    if found is not Move.SKIP:
        return found
    if not skips_staging:
        raise StateError(
            f"from {stage.value} to {target.value} skips staging: promote it to staging first, or "
            "let an admin ask with --skip-staging"
        )
    if role < Role.ADMIN:
        raise ForbiddenError(f"only an admin may skip staging, you are {role.name.lower()}")
    return found


def approve(request: Request, stage: Stage, who: str) -> Stage:
    """The stage after somebody else approved. Raises ForbiddenError or StateError."""
    if who == request.requested_by:
        raise ForbiddenError(f"{who} asked for this promotion; somebody else has to approve it")
    found = move(request.source, request.target)
    if found is None or stage is not request.source:
        raise StateError(
            f"it is in {stage.value} now, the promotion was asked for from {request.source.value}: "
            "reject it and ask again"
        )
    return TRANSITIONS[stage, found]


def archive(stage: Stage, in_use: str) -> Stage:
    """`in_use` says who needs the version, empty for nobody. Raises StateError."""
    if stage is Stage.ARCHIVED:
        raise StateError("it is archived already")
    if in_use:
        raise StateError(f"it is not archived while it is in use: {in_use}")
    return TRANSITIONS[stage, Move.ARCHIVE]
