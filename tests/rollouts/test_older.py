"""Rollouts that an earlier version kept go on where they stood."""

import json

from wherry_controller.core.plans.stages import Action
from wherry_controller.core.rollouts import all_parts, restore

from tests.rollouts.voyage import Voyage, names

PLAN_SINCE = (
    "parameters", "schedule", "ramp", "retries", "must_pass", "must_pass_missing", "after",
    "target", "environment", "on_call", "notes", "sampling_bp", "slot", "is_purged", "chunk_window",
)  # fmt: skip
STAGE_SINCE = ("action", "is_manual", "fleet_min")
PROGRESS_SINCE = (
    "touched_index", "triggered_index", "stage_offers", "burst_s", "burst_offers", "approved_by",
    "decommissioned_s", "paused_by", "was_deployed", "told_after",
)  # fmt: skip


def test_a_rollout_that_was_kept_before_stages_had_actions_goes_on() -> None:
    voyage = Voyage(names(8), strategy="rolling").start()
    parts = dict(voyage.parts)
    plan, head = json.loads(parts["plan"]), json.loads(parts["head"])
    for key in PLAN_SINCE:
        del plan["plan"][key]
    for stage in plan["plan"]["stages"]:
        for key in STAGE_SINCE:
            del stage[key]
    for key in PROGRESS_SINCE:
        del head["progress"][key]
    parts |= {"plan": json.dumps(plan), "head": json.dumps(head)}
    older = restore(parts)
    assert older.progress.touched_index == older.progress.offer_index == 2
    assert [stage.action for stage in older.plan.stages] == [Action.SWAP, Action.SWAP]
    assert {u: m.phase for u, m in older.members.items()} == {
        u: m.phase for u, m in voyage.rollout.members.items()
    }


def test_a_rollout_that_was_kept_with_a_part_for_every_member_goes_on() -> None:
    voyage = Voyage(names(8), strategy="rolling").start()
    parts = dict(voyage.parts)
    head = json.loads(parts["head"])
    order = json.loads(parts.pop("members"))
    everybody = {
        f"member/{unit}": json.dumps({"index": n, "unit": unit, "hardware_class": of_class})
        for n, (unit, of_class) in enumerate(order)
    }
    older = restore(everybody | parts | {"head": json.dumps(head | {"format": 2})})
    assert all_parts(older) == all_parts(voyage.rollout)
