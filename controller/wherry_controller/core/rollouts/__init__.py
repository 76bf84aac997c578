"""Rollouts: which devices get a bundle, when, and whether it may stay there.

`draft` makes one, `decide` moves it on, `all_parts`, `changes` and `restore` keep it in a
store.
"""

from wherry_controller.core.plans.plan import Plan, parse_plan
from wherry_controller.core.rollouts.advancing import is_to_come_back
from wherry_controller.core.rollouts.claims import Authority, Claim, Holding, is_granted, refusal
from wherry_controller.core.rollouts.clock import clock_was_set
from wherry_controller.core.rollouts.decide import decide
from wherry_controller.core.rollouts.drafting import Candidate, draft
from wherry_controller.core.rollouts.forecast import earliest_end_s, ladder, preview
from wherry_controller.core.rollouts.judging import may_be_silent
from wherry_controller.core.rollouts.keeping import all_parts, changes, from_json, restore, to_json
from wherry_controller.core.rollouts.lifecycle import Lifecycle, lifecycle
from wherry_controller.core.rollouts.report import member_row, report, waiting_for
from wherry_controller.core.rollouts.state import OPEN, Rollout, State, is_winding_down

__all__ = [
    "OPEN",
    "Authority",
    "Candidate",
    "Claim",
    "Holding",
    "Lifecycle",
    "Plan",
    "Rollout",
    "State",
    "all_parts",
    "changes",
    "clock_was_set",
    "decide",
    "draft",
    "earliest_end_s",
    "from_json",
    "is_granted",
    "is_to_come_back",
    "is_winding_down",
    "ladder",
    "lifecycle",
    "may_be_silent",
    "member_row",
    "parse_plan",
    "preview",
    "refusal",
    "report",
    "restore",
    "to_json",
    "waiting_for",
]
