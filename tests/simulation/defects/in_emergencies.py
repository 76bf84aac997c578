"""Mistakes that a controller could make with stops, ways back, failures, groups and retention."""

# ruff: noqa: ARG005  (a wrong rule takes the parameters of the right one)

from typing import Any

from wherry_controller.core.rollouts import commanding, judging, returning
from wherry_controller.core.rollouts.members import Return
from wherry_controller.core.rollouts.state import queued
from wherry_controller.fleet import assigning, joining, protecting, rollouts

from tests.simulation.defects import Switch, defect


@defect("emergencies")
def revert_without_those_who_are_away(switch: Switch) -> None:
    """A way back only for devices that are online when it begins."""
    right = returning.start_reverting

    def start_reverting(rollout: Any, *given: Any, **evidence: Any) -> Any:
        effects = right(rollout, *given, **evidence)
        for unit in queued(rollout):
            member = rollout.members[unit]
            if not member.is_online:
                rollout.count(member, -1)
                member.way_back = Return.NONE
                rollout.count(member, 1)
        return effects

    for place in (judging, commanding):
        switch.set(place, "start_reverting", start_reverting)


@defect("emergencies")
def stop_and_let_rollouts_run(switch: Switch) -> None:
    """Devices are told to stop, and nobody tells the rollouts."""
    switch.set(rollouts, "pause_all", lambda *_: None)


@defect("emergencies")
def go_on_under_a_stop(switch: Switch) -> None:
    """A rollout that somebody resumes offers to a fleet that is stopped."""
    switch.set(rollouts, "GOING_ON", ())


@defect("stubborn")
def offer_again_what_has_failed(switch: Switch) -> None:
    """What a device has rejected is just another version for it."""
    switch.set(assigning, "_failed_before", lambda org, unit, wish: None)


@defect("crews")
def take_the_way_back_away(switch: Switch) -> None:
    """Retention keeps what serves, and thinks of nothing else."""
    right = protecting.protected

    def protected(db: Any, model: str, open_ones: Any) -> Any:
        found = right(db, model, open_ones)
        return {key: reasons for key, reasons in found.items() if "serves on" in reasons[0]}

    switch.set(protecting, "protected", protected)


@defect("stepping_stones")
def keep_no_version_for_a_revert(switch: Switch) -> None:
    """Retention thinks of the slots of devices, and not of where a revert takes them."""
    switch.set(protecting.versions, "ways_back", lambda *_: [])


@defect("crews")
def leave_joiners_alone(switch: Switch) -> None:
    """Who joins a dynamic group is in its list, and gets nothing."""
    switch.set(joining, "_bring", lambda *_: None)
