"""Twin of the people: what operators order, when, and how often they change their mind.

A new operation is a function of (world, source), registered by `operation`; `source` is its own
randomness. An order that the controller refuses is a note in the trace. While the controller is
away an operator tries again.
"""

import sqlite3
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from wherry_controller.core.registry.retention import Retention
from wherry_controller.core.rollouts import OPEN, State
from wherry_controller.core.rollouts import events as told
from wherry_controller.core.rollouts.slots import has_switch, other_slot
from wherry_controller.core.rollouts.state import ACTIVE
from wherry_controller.fleet import (
    bundles,
    configuring,
    deploying,
    groups,
    retaining,
    rollouts,
    trustees,
)
from wherry_controller.fleet.deploying import Order, WayBack
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import groups as group_rows
from wherry_controller.store import rollouts as kept
from wherry_protocol.errors import WherryError

from tests.simulation.engine import UNIT
from tests.simulation.invariants.broken import broken
from tests.simulation.models import BAD, GOOD, MODEL, ROWS, Behaviour, Made
from tests.simulation.network import SECOND_US

if TYPE_CHECKING:
    from tests.simulation.world import World

WHO = "ada"
ROTATIONS = ("same keys", "new epoch", "new director")
AFTER_A_THEFT = "new epoch and new director"
RETRY_US = 5 * SECOND_US
RETRIES_MAX = 60
Command = Callable[[Organization], Any]
Operation = Callable[["World", Random], None]
OPERATIONS: dict[str, Operation] = {}

TRIAL = {
    "good_inferences_min": 40, "trial_s_min": 2.0, "trial_s_max": 60.0, "error_rate_max": 0.1,
    "error_samples_min": 20,
}  # fmt: skip
GATE = {"requests_min": 600, "interval_s": 10.0, "error_rate_max": 0.02,
        "require": ["errors", "latency"]}  # fmt: skip
PATIENCE = {"silent_after_s": 180.0, "return_after_s": 240.0, "stage_after_s_max": 900.0}
DIRECT = {"strategy": "direct", "trial": TRIAL, "gate": GATE, "max_failed": 1000, **PATIENCE}
CANARY = {
    "stages": [
        {"share": "20%", "soak_s": 30.0},
        {"share": "50%", "soak_s": 30.0},
        {"share": "100%"},
    ],
    "trial": TRIAL,
    "gate": GATE,
    **PATIENCE,
}


def operation(act: Operation) -> Operation:
    OPERATIONS[act.__name__] = act
    return act


def order(world: "World", what: str, command: Command, tries: int = 0) -> None:
    """Have the controller do it, now or as soon as it is there."""
    controller = world.controller
    if not controller.is_running:
        if tries < RETRIES_MAX:
            again = lambda: order(world, what, command, tries + 1)  # noqa: E731
            world.at(RETRY_US, "operator", f"tries again: {what}", again)
        return
    try:
        controller.do(command)
        world.note("operator", what)
    except WherryError as error:
        world.note("operator", f"{what}: refused: {error}")
    except (OSError, sqlite3.OperationalError) as error:
        world.note("operator", f"{what}: the store cannot write: {error}")


def _now(world: "World") -> float:
    return world.controller.now_s


# --- bundles and rollouts


def _next_version(world: "World") -> str:
    return f"1.{len(world.made)}.0"


def push(world: "World", source: Random, behaviour: Behaviour) -> Made:
    """A new version, signed and in the registry."""
    made = world.make_model(_next_version(world), behaviour, source.choice(ROWS))
    text = f"pushes {made.manifest.version} ({behaviour.name})"
    order(world, text, lambda org: bundles.push(org, made.file, WHO, _now(world)))
    return made


def deploy(world: "World", version: str, plan: dict[str, Any], target: str = "all") -> None:
    asked = Order(MODEL, version, target, plan, "simulation", True)
    order(world, f"deploys {version}", lambda org: deploying.create(org, asked, WHO, _now(world)))


@operation
def deploy_good(world: "World", source: Random) -> None:
    deploy(world, push(world, source, GOOD).manifest.version, DIRECT)


@operation
def deploy_bad(world: "World", source: Random) -> None:
    """To everybody at once, as one should not."""
    deploy(world, push(world, source, source.choice(BAD)).manifest.version, DIRECT)


@operation
def canary_good(world: "World", source: Random) -> None:
    deploy(world, push(world, source, GOOD).manifest.version, CANARY)


@operation
def canary_bad(world: "World", source: Random) -> None:
    deploy(world, push(world, source, source.choice(BAD)).manifest.version, CANARY)


@operation
def two_at_once(world: "World", source: Random) -> None:
    """Two rollouts of one model in the same moment."""
    for behaviour in (GOOD, source.choice((GOOD, *BAD))):
        plan = source.choice((DIRECT, CANARY))
        deploy(world, push(world, source, behaviour).manifest.version, plan)


@operation
def insist(world: "World", source: Random) -> None:
    """The same version again, with a deliberate attempt, whatever became of it."""
    made = list(world.made.values())[-1]
    plan = {**DIRECT, "attempt": source.randint(1, 100)}
    deploy(world, made.manifest.version, plan)


@operation
def offer_again(world: "World", source: Random) -> None:  # noqa: ARG001
    """The same version again, as if nothing had become of it."""
    deploy(world, list(world.made.values())[-1].manifest.version, DIRECT)


@operation
def deploy_troubled(world: "World", source: Random) -> None:
    """What passes its trials, and then needs the guards."""
    late = [one for one in BAD if one.name in ("creeping", "late")]
    deploy(world, push(world, source, source.choice(late)).manifest.version, DIRECT)


@operation
def roll_back(world: "World", source: Random) -> None:
    name = source.choice(list(world.devices))
    target = source.choice(("all", f"device={name}"))
    way = WayBack(MODEL, target, None, "simulation", DIRECT)
    order(world, "rolls back", lambda org: deploying.roll_back(org, way, WHO, _now(world)))


# --- strategies


LINEAR = {
    "strategy": "linear",
    "parameters": {"initial": "20%", "increment": "40%", "increment_interval_hours": 0.02},
    "trial": TRIAL,
    "gate": GATE,
    **PATIENCE,
}
BLUE_GREEN = {
    "strategy": "blue-green",
    "parameters": {"bake_s": 60.0},
    "trial": TRIAL,
    "gate": GATE,
    "max_failed": 2,
    **PATIENCE,
}
EXPERIMENT = {
    "strategy": "ab",
    "parameters": {"split": "20%", "hours": 0.01},
    "trial": TRIAL,
    "gate": GATE,
    **PATIENCE,
}
SHADOW = {
    "stages": [
        {"share": "100%", "action": "shadow", "soak_s": 40.0, "is_gated": False},
        {"share": "100%", "action": "decommission", "is_gated": False},
    ],
    "trial": TRIAL,
    "max_failed": 2,
    **PATIENCE,
}
COMPARISON = {
    **SHADOW,
    "stages": [
        {"share": "100%", "action": "shadow", "soak_s": 5.0},
        {"share": "100%", "action": "decommission", "is_gated": False},
    ],
    "gate": {"interval_s": 5.0, "shadow_requests_min": 3_000, "require": ["shadow"]},
}


@operation
def linear_good(world: "World", source: Random) -> None:
    deploy(world, push(world, source, GOOD).manifest.version, LINEAR)


@operation
def blue_green_good(world: "World", source: Random) -> None:
    deploy(world, push(world, source, GOOD).manifest.version, BLUE_GREEN)


@operation
def blue_green_bad(world: "World", source: Random) -> None:
    deploy(world, push(world, source, source.choice(BAD)).manifest.version, BLUE_GREEN)


@operation
def experiment(world: "World", source: Random) -> None:
    deploy(world, push(world, source, GOOD).manifest.version, EXPERIMENT)


@operation
def shadow(world: "World", source: Random) -> None:
    deploy(world, push(world, source, GOOD).manifest.version, SHADOW)


@operation
def compare(world: "World", source: Random) -> None:
    """A shadow whose gate wants enough comparisons."""
    deploy(world, push(world, source, GOOD).manifest.version, COMPARISON)


@operation
def deploy_later(world: "World", source: Random) -> None:
    """Nobody may serve it before its time."""
    plan = {**DIRECT, "not_before": int(_now(world)) + source.randint(30, 90)}
    deploy(world, push(world, source, GOOD).manifest.version, plan)


@operation
def switch(world: "World", source: Random) -> None:
    """Whichever slot the operator believes to serve; sometimes that is long past."""
    believed = source.choice(("blue", "green"))
    event = told.Switch(WHO, believed, other_slot(believed), "simulation")

    def command(org: Organization) -> None:
        for rollout in rollouts.open_ones(org):
            if has_switch(rollout):
                serves = world.truth.slots.setdefault(
                    rollout.rollout_id, other_slot(rollout.plan.slot)
                )
                rollouts.tell(org, rollout.rollout_id, event, _now(world))
                if serves != believed:
                    broken(f"{rollout.rollout_id}: switched from {believed}, and {serves} serves")
                world.truth.slots[rollout.rollout_id] = other_slot(believed)
                world.truth.opened_by_hand.add(rollout.rollout_id)
                return

    order(world, f"switches from {believed}", command)


@operation
def decommission(world: "World", source: Random) -> None:  # noqa: ARG001
    """Of any rollout that has a switch, whatever it is doing."""

    def command(org: Organization) -> None:
        for row in kept.everyone(org.db, 3):
            if has_switch(rollouts.load(org, row.id)):
                rollouts.tell(org, row.id, told.Decommission(WHO, "simulation"), _now(world))
                return

    order(world, "decommissions", command)


# --- changing one's mind


def _tell(world: "World", what: str, event: told.Event) -> None:
    def command(org: Organization) -> None:
        for row in kept.everyone(org.db, 3):
            rollout = rollouts.load(org, row.id)
            if isinstance(event, told.Revert) or rollout.state in OPEN:
                rollouts.tell(org, row.id, event, _now(world))
                if isinstance(event, told.Advance):
                    world.truth.advanced.add(row.id)
                    world.truth.opened_by_hand.add(row.id)
                return

    order(world, what, command)


@operation
def pause(world: "World", source: Random) -> None:  # noqa: ARG001
    _tell(world, "pauses", told.Pause(WHO, "simulation"))


@operation
def resume(world: "World", source: Random) -> None:  # noqa: ARG001
    _tell(world, "resumes", told.Resume(WHO, "simulation"))


@operation
def abort(world: "World", source: Random) -> None:  # noqa: ARG001
    _tell(world, "aborts", told.Abort(WHO, "simulation"))


@operation
def revert(world: "World", source: Random) -> None:  # noqa: ARG001
    _tell(world, "reverts", told.Revert(WHO, "simulation"))


@operation
def advance(world: "World", source: Random) -> None:  # noqa: ARG001
    _tell(world, "advances", told.Advance(WHO, "simulation"))


# --- the fleet


@operation
def stop_everything(world: "World", source: Random) -> None:
    """And let go on after a while."""
    _stop(world, True)
    after_us = source.randint(10, 120) * SECOND_US
    world.at(after_us, "operator", "releases the stop", lambda: _stop(world, False))


def _stop(world: "World", is_stopped: bool) -> None:
    def command(org: Organization) -> None:
        trustees.stop(org, is_stopped, WHO, "simulation", _now(world))
        if is_stopped:
            rollouts.pause_all(org, WHO, "simulation", _now(world))

    order(world, "stops" if is_stopped else "releases the stop", command)


@operation
def isolate(world: "World", source: Random) -> None:
    """One unit, and let it back after a while."""
    name = source.choice(list(world.devices))
    _isolate(world, name, True)
    after_us = source.randint(10, 120) * SECOND_US
    world.at(after_us, "operator", f"releases {name}", lambda: _isolate(world, name, False))


def _isolate(world: "World", name: str, is_isolated: bool) -> None:
    def command(org: Organization) -> None:
        if is_isolated:
            rollouts.preempt(org, f"{name}/{UNIT}", None, "isolated", _now(world))
        configuring.isolate(org, f"{name}/{UNIT}", is_isolated, WHO, "simulation", _now(world))

    order(world, f"{'isolates' if is_isolated else 'releases'} {name}", command)


@operation
def configure(world: "World", source: Random) -> None:
    name = source.choice(list(world.devices))
    changes = {"performance_s": source.choice((10, 30, 60)), "chunk_window": source.randint(1, 8)}
    order(
        world, f"configures {name}",
        lambda org: configuring.configure(org, f"{name}/{UNIT}", dict(changes), WHO, _now(world)),
    )  # fmt: skip


@operation
def ask_for_reports(world: "World", source: Random) -> None:  # noqa: ARG001
    order(world, "asks for reports", lambda org: trustees.ask_for_reports(org, _now(world), 20))


GROUP = "crew"


@operation
def deploy_to_group(world: "World", source: Random) -> None:
    """To a dynamic group of some devices, which others may join."""
    target = f"label:{GROUP}=a"

    def found(org: Organization) -> None:
        if group_rows.find(org.db, GROUP) is None:
            groups.create(org, GROUP, target, True, WHO, _now(world))

    for name in source.sample(list(world.devices), max(1, len(world.devices) // 2)):
        _label(world, name)
    order(world, f"names the group {GROUP}", found)
    deploy(world, push(world, source, GOOD).manifest.version, DIRECT, f"group:{GROUP}")


@operation
def bring_what_is_missing(world: "World", source: Random) -> None:
    """A version that wants another one to have been run, which most devices are brought first."""
    between = push(world, source, GOOD).manifest.version
    plan = {**DIRECT, "must_pass": [between], "must_pass_missing": "bring"}
    deploy(world, push(world, source, GOOD).manifest.version, plan)


@operation
def join_group(world: "World", source: Random) -> None:
    _label(world, source.choice(list(world.devices)))


def _label(world: "World", name: str) -> None:
    changes = {"labels": {GROUP: "a"}}
    order(
        world, f"labels {name}",
        lambda org: configuring.configure(org, f"{name}/{UNIT}", dict(changes), WHO, _now(world)),
    )  # fmt: skip


@operation
def clean_up(world: "World", source: Random) -> None:
    """Every version that nobody needs goes, and its blobs a little later."""
    wanted = Retention(versions_max=1, accuracy_min=0.0)

    def command(org: Organization) -> None:
        retaining.set_policy(org, wanted, WHO, "simulation", _now(world))
        gone = [one for one in retaining.run(org, WHO, "simulation", _now(world), None)
                if not one.fate.is_kept]  # fmt: skip
        world.note("operator", f"deletes {len(gone)} versions")

    order(world, "cleans up", command)
    world.controller.later(source.randint(0, 3) * SECOND_US, "prunes", world.controller.prune)


# --- keys and backups


@operation
def rotate_root(world: "World", source: Random) -> None:
    """The next root; sometimes with a new epoch, sometimes with a new director key."""
    rotate(world, source.choice(ROTATIONS))


@operation
def replace_director(world: "World", source: Random) -> None:  # noqa: ARG001
    """The next root names another director key."""
    rotate(world, "new director")


@operation
def begin_an_epoch(world: "World", source: Random) -> None:  # noqa: ARG001
    """The next root voids what the director has signed so far."""
    rotate(world, "new epoch")


def rotate(world: "World", kind: str) -> None:
    """The owners sign the next root, and have their controller take it in."""
    world.note("operator", f"signs a root with {kind}")
    world.authority.next_root(
        has_new_epoch="new epoch" in kind, has_new_director="new director" in kind,
        now_s=int(world.wall_s),
    )  # fmt: skip
    take_roots(world)


def take_roots(world: "World") -> None:
    """Every root that this controller does not have yet, in order: first the director key that
    the root names (the controller is started again for it), then the root."""
    controller = world.controller
    if not controller.is_running:
        world.at(RETRY_US, "operator", "looks for the newest root", lambda: take_roots(world))
        return
    known = len(controller.org.trust.roots)
    if known >= len(world.authority.roots):
        return
    director = world.authority.directors[known]
    if controller.keyring.director != director:
        controller.with_director(director)
        controller.die()
    else:
        root = world.authority.roots[known]
        order(
            world, f"publishes root {known + 1}",
            lambda org: trustees.advance_root(org, root, WHO, _now(world)),
        )  # fmt: skip
    world.at(RETRY_US, "operator", "looks for the newest root", lambda: take_roots(world))


@operation
def back_up(world: "World", source: Random) -> None:  # noqa: ARG001
    if world.controller.is_running:
        world.backups.append(world.controller.back_up())
        world.note("operator", "makes a backup")


@operation
def restore(world: "World", source: Random) -> None:
    """The newest backup; what came after it is lost to the controller."""
    if not world.backups:
        return
    world.note("operator", "restores the newest backup")
    world.controller.restore(world.backups[-1])
    for made in world.made.values():
        order(world, "pushes again", lambda org, made=made: bundles.push(
            org, made.file, WHO, _now(world)))  # fmt: skip
    take_roots(world)
    if source.random() < 0.5:  # before anybody has reported
        deploy_good(world, source)
    order(world, "asks for reports", lambda org: trustees.ask_for_reports(org, _now(world), 10))


# --- the end


def wind_up(world: "World") -> None:
    """Everything is calm: let go what was held, so that all can end."""
    take_roots(world)
    _stop(world, False)
    for name in world.devices:
        _isolate(world, name, False)

    def command(org: Organization) -> None:
        for rollout in rollouts.open_ones(org):
            if any(stage.is_manual for stage in rollout.plan.stages):
                if rollout.state in ACTIVE:
                    rollouts.tell(org, rollout.rollout_id, told.Abort(WHO, "calm"), _now(world))
            elif rollout.state is State.PAUSED:
                rollouts.tell(org, rollout.rollout_id, told.Resume(WHO, "all is calm"), _now(world))

    order(world, "resumes what is paused", command)
