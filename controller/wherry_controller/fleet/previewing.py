"""What a rollout would be, as far as the store knows. Nothing is written, so it is asked beside the
writer: it looks at every unit of the target, and in a large fleet that takes seconds."""

from collections.abc import Iterable
from typing import Any

from sqlite_utils import Database

from wherry_controller.core.rollouts import Rollout
from wherry_controller.core.rollouts import preview as stages_of
from wherry_controller.core.rollouts.outlook import outlook, risk
from wherry_controller.fleet import assuring, deploying, loading, passing, releasing
from wherry_controller.fleet.assuring import Rules
from wherry_controller.fleet.deploying import Order


def preview(
    db: Database, rules: Rules, open_ones: Iterable[Rollout], order: Order, who: str, now_s: float
) -> dict[str, Any]:
    """Stages with their units, checks, times, bytes and risk, as JSON values.

    Raises what `deploying.drafted` raises for an order that it cannot draft.
    """
    rollout = deploying.drafted(db, open_ones, order, who, now_s)
    found = assuring.look(db, rules, rollout, order.papers, who, now_s)
    rollout, must_pass = passing.foreseen(db, rollout, now_s)
    costs = {"load": loading.load(db, rollout)} | risk(rollout.plan, len(rollout.order))
    return {
        "id": rollout.rollout_id,
        "stages": stages_of(rollout),
        "release": releasing.terms(db, rollout),
        "must_pass": must_pass,
        "outlook": outlook(rollout, now_s) | costs,
        "checks": [assuring.finding_row(finding) for finding in found.findings],
    }
