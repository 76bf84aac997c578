"""Blue and green: the two slots of every device, as operators name them.

A version is staged in the slot that does not serve and switched to; the other one stays until it
is decommissioned. `production-green` is the green slot of the devices labelled env=production.
"""

from typing import Final

from wherry_controller.core.plans.stages import SERVING, Action
from wherry_controller.core.rollouts.state import Rollout, State
from wherry_controller.core.tables import invalid

SLOTS: Final = ("blue", "green")
BACK: Final = frozenset({State.REVERTING, State.REVERTED})


def other_slot(slot: str) -> str:
    """The one of the two that it is not."""
    return SLOTS[1 - SLOTS.index(slot)]


def has_switch(rollout: Rollout) -> bool:
    """Does this rollout stage first and switch later?"""
    return any(stage.action is Action.SWITCH for stage in rollout.plan.stages)


def serving_slot(rollout: Rollout) -> str:
    """The slot that serves, as far as this rollout decides."""
    progress = rollout.progress
    opened = progress.stage_index + (progress.stage_opened_s is not None)
    is_switched = any(stage.action in SERVING for stage in rollout.plan.stages[:opened])
    is_new = is_switched and rollout.state not in BACK
    return rollout.plan.slot if is_new else other_slot(rollout.plan.slot)


def split_slot(text: str) -> tuple[str, str]:
    """(environment, slot) of `production-green` or `green`. Raises WherryError(INVALID)."""
    environment, _, slot = text.rpartition("-")
    if slot not in SLOTS:
        raise invalid(f"slot {text!r} is unknown, must be blue or green, or like production-green")
    return environment, slot


def slot_named(rollout: Rollout, text: str) -> str:
    """The slot that an operator names, of this rollout's environment.

    Raises WherryError(INVALID) for another environment's.
    """
    environment, slot = split_slot(text)
    if environment and environment != rollout.plan.environment:
        own = rollout.plan.environment or "devices without the label env"
        raise invalid(f"rollout {rollout.rollout_id} is for {own}, not for {environment}")
    return slot
