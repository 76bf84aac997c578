"""The life of a version as a table: every pair has a rule, and nothing moves beside it."""

import itertools

import pytest
from wherry_controller.core.permissions import Role
from wherry_controller.core.registry.stages import (
    ASKED,
    TRANSITIONS,
    Move,
    Request,
    Stage,
    approve,
    archive,
    ask,
    move,
)
from wherry_protocol.errors import ForbiddenError, StateError, WherryError


@pytest.mark.parametrize(("stage", "one"), list(itertools.product(Stage, Move)))
def test_every_pair_of_stage_and_move_has_a_rule(stage: Stage, one: Move) -> None:
    assert TRANSITIONS[stage, one] in Stage


@pytest.mark.parametrize(("source", "target"), list(itertools.product(Stage, Stage)))
def test_a_promotion_goes_by_the_table_or_is_refused(source: Stage, target: Stage) -> None:
    found = move(source, target)
    if found is None:
        with pytest.raises(StateError):
            ask(source, target, skips_staging=True, role=Role.ADMIN)
        return
    assert (found in ASKED, TRANSITIONS[source, found]) == (True, target)
    assert ask(source, target, skips_staging=True, role=Role.ADMIN) is found
    assert approve(Request(source, target, "ada"), source, "bob") is target
    with pytest.raises(ForbiddenError):
        approve(Request(source, target, "ada"), source, "ada")
    for other in set(Stage) - {source}:
        with pytest.raises(StateError):
            approve(Request(source, target, "ada"), other, "bob")


def test_staging_is_skipped_by_an_admin_who_says_so_and_by_nobody_else() -> None:
    source, target = Stage.DEVELOPMENT, Stage.PRODUCTION
    with pytest.raises(StateError, match="skips staging"):
        ask(source, target, skips_staging=False, role=Role.ADMIN)
    for role in set(Role) - {Role.ADMIN}:
        with pytest.raises(ForbiddenError):
            ask(source, target, skips_staging=True, role=role)
    assert ask(source, target, skips_staging=True, role=Role.ADMIN) is Move.SKIP


@pytest.mark.parametrize("stage", Stage)
def test_only_what_nobody_needs_is_archived(stage: Stage) -> None:
    with pytest.raises(WherryError):
        archive(stage, "serves on pump-1/self")
    if stage is not Stage.ARCHIVED:
        assert archive(stage, "") is Stage.ARCHIVED
