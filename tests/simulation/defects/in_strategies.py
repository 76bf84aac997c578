"""Mistakes that a controller could make with stages, slots, arms and times."""

# ruff: noqa: ARG005  (a wrong rule takes the parameters of the right one)

from dataclasses import replace
from typing import Any

from wherry_controller.core.gates.experiment import Variant
from wherry_controller.core.gates.pools import Arm
from wherry_controller.core.rollouts import advancing, commanding, judging, observing
from wherry_controller.core.rollouts.decide import TRANSITIONS
from wherry_controller.core.rollouts.events import Decommission
from wherry_controller.core.rollouts.members import IN_FLIGHT, Member
from wherry_controller.core.rollouts.state import State

from tests.simulation.defects import Switch, defect


@defect("experiments")
def draw_the_subset_anew_for_each_stage(switch: Switch) -> None:
    """A part that does not contain the part before it."""
    right = advancing._open_stage

    def open_stage(rollout: Any, now_s: float) -> Any:
        effects = right(rollout, now_s)
        if effects and rollout.progress.stage_index:
            half = len(rollout.order) // 2
            rollout.order = [*rollout.order[half:], *rollout.order[:half]]
        return effects

    switch.set(advancing, "_open_stage", open_stage)


@defect("blue_and_green")
def switch_whatever_the_operator_believes(switch: Switch) -> None:
    """No compare-and-swap: a stale command does something."""
    right = commanding.switch

    def blind(rollout: Any, event: Any, now_s: float) -> Any:
        serving = commanding.serving_slot(rollout)
        wanted = commanding.other_slot(serving)
        told = type(event)(event.operator, serving, wanted, event.reason)
        return right(rollout, told, now_s)

    for key, rule in list(TRANSITIONS.items()):
        if rule is right:
            switch.row(TRANSITIONS, key, blind)


@defect("blue_and_green")
def decommission_in_the_bake(switch: Switch) -> None:
    """What served before is unloaded while it may be needed."""

    def unload_now(rollout: Any, event: Any, now_s: float) -> Any:
        told = commanding.decommission(rollout, event, now_s)
        return [*told, *advancing.wind_down(rollout, now_s)]

    switch.row(TRANSITIONS, (State.RUNNING, Decommission), unload_now)


@defect("appointments")
def ignore_the_window(switch: Switch) -> None:
    switch.set(advancing, "may_serve_now", lambda rollout, now_s: True)


@defect("blue_and_green")
def leave_candidates_behind(switch: Switch) -> None:
    """An abort forgets the devices whose candidate stands."""

    def is_withdrawn(member: Member) -> bool:
        return member.phase in IN_FLIGHT and not member.has_swapped

    switch.set(advancing, "is_withdrawn_by_abort", is_withdrawn)


@defect("blue_and_green")
def switch_by_itself(switch: Switch) -> None:
    """A stage that somebody has to open opens when the one before it is done."""
    switch.set(advancing, "awaits_hand", lambda rollout: False)


@defect("blue_and_green")
def offer_before_the_stage_is_open(switch: Switch) -> None:
    """Its members are known, so why wait."""
    right = advancing.offer

    def offer(rollout: Any, now_s: float) -> Any:
        opened_s = rollout.progress.stage_opened_s
        if opened_s is None:
            rollout.progress.stage_opened_s = now_s
        effects = right(rollout, now_s)
        rollout.progress.stage_opened_s = opened_s
        return effects

    switch.set(advancing, "offer", offer)


@defect("shadows")
def let_a_shadow_serve(switch: Switch) -> None:
    """The last stage lets the candidates serve instead of taking them away."""
    right = advancing.decommissioned

    def serve(rollout: Any, member: Any, now_s: float, *, is_purged: bool) -> Any:
        if member.phase is not advancing.MemberPhase.READY:
            return right(rollout, member, now_s, is_purged=is_purged)
        advancing.signal_member(rollout, member, advancing.Signal.OFFER)
        member.offered = advancing.Action.SWAP
        return advancing._assign(rollout, member, now_s)

    switch.set(advancing, "decommissioned", serve)


@defect("shadows")
def judge_a_shadow_before_its_samples(switch: Switch) -> None:
    """A candidate is compared on a handful of inputs."""
    right = judging.check_shadow

    def check(limits: Any, shadowing: Any) -> Any:
        return right(replace(limits, shadow_requests_min=1), shadowing)

    switch.set(judging, "check_shadow", check)


@defect("experiments")
def let_members_change_arms(switch: Switch) -> None:
    """A device counts where its version says, and not where it was drawn: with its swap, with its
    way back, it changes the arm."""
    right = observing.variant_of

    def watch_experiment(rollout: Any, event: Any, now_s: float) -> None:
        variant = right(rollout, event.unit)
        if variant is not None:
            is_new = event.digest == rollout.digest
            rollout.panel.experiment.report(
                Variant.TREATMENT if is_new else Variant.CONTROL, event.unit, event.figures,
                min(event.ended_s, now_s), rollout.plan.gate,
            )  # fmt: skip

    switch.set(observing, "_watch_experiment", watch_experiment)


@defect("canary")
def let_the_control_group_move(switch: Switch) -> None:
    """Devices stay in the control group although they are on the new version by now."""
    right = observing.performance

    def performance(rollout: Any, event: Any, now_s: float) -> Any:
        if event.digest == rollout.digest:
            index = observing.bucket_of(rollout, min(event.ended_s, now_s))
            pool = (Arm.CONTROL, event.hardware_class, index, event.unit, event.figures)
            rollout.pools.add(*pool)
        return right(rollout, event, now_s)

    for key, rule in list(TRANSITIONS.items()):
        if rule is right:
            switch.row(TRANSITIONS, key, performance)
