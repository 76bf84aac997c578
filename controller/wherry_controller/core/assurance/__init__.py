"""Assurance: what must hold before a rollout may start, and how it is known. Pure."""

from wherry_controller.core.assurance.facts import BackTarget, Facts
from wherry_controller.core.assurance.policy import Demand, Policy, policy_for
from wherry_controller.core.assurance.preconditions import (
    PRECONDITIONS,
    Finding,
    Judgement,
    Verdict,
    hurried,
    is_all_at_once,
    judge,
    judge_first,
)

__all__ = [
    "PRECONDITIONS",
    "BackTarget",
    "Demand",
    "Facts",
    "Finding",
    "Judgement",
    "Policy",
    "Verdict",
    "hurried",
    "is_all_at_once",
    "judge",
    "judge_first",
    "policy_for",
]
