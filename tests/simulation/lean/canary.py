"""One canary over a very large fleet, from the first stage to the last device."""

import gc
from dataclasses import dataclass

from wherry_agent.core.record import unit_record
from wherry_controller.core.rollouts import OPEN, State
from wherry_controller.core.rollouts.members import MemberPhase
from wherry_protocol.messages.reported import Outcome as Ended
from wherry_protocol.messages.reported import Phase

from tests.simulation.engine import UNIT
from tests.simulation.lean.controller import LeanController
from tests.simulation.lean.world import LeanWorld
from tests.simulation.models import GOOD, MODEL, Behaviour
from tests.simulation.network import SECOND_US
from tests.simulation.operator import CANARY
from tests.simulation.twins import codec, signatures

STAGES = [
    {"share": "1%", "soak_s": 30.0},
    {"share": "10%", "soak_s": 30.0},
    {"share": "100%"},
]
PLAN = {**CANARY, "stages": STAGES}
PERFORMANCE_S = 60
CONTROL_COUNT = 50  # devices that are there from the beginning and report on the old version
TIME_S_MAX = 3_600


@dataclass(frozen=True)
class Outcome:
    """How it went. `problems` is empty where every device serves and says what it should."""

    state: State
    reason: str
    confirmed: int
    touched: int
    events: int
    virtual_s: float
    problems: tuple[str, ...]


def sail_canary(device_count: int, behaviour: Behaviour = GOOD) -> Outcome:
    """Roll version 2 out to that many devices; `behaviour` is how it does."""
    with signatures.in_place(), codec.in_place(codec.Attaching()):
        world = LeanWorld(device_count, behaviour, PERFORMANCE_S)
        controller = LeanController(world, PLAN, min(CONTROL_COUNT, device_count))
        # Nothing here forms cycles that end before the run does; looking for them takes long.
        gc.disable()
        try:
            world.run(lambda: controller.rollout.state not in OPEN, TIME_S_MAX * SECOND_US)
        finally:
            gc.enable()
    rollout = controller.rollout
    return Outcome(
        rollout.state,
        rollout.state_reason,
        rollout.counts[MemberPhase.CONFIRMED],
        rollout.touched,
        world.events,
        world.now_us / SECOND_US,
        tuple(_problems(world, controller)),
    )


def _problems(world: LeanWorld, controller: LeanController) -> list[str]:
    """Where the rollout has succeeded, what each device must serve, have recorded and be."""
    if controller.rollout.state is not State.SUCCEEDED:
        return []
    new, found = world.versions[1].digest, []
    for unit, member in controller.rollout.members.items():
        device = world.devices.get(unit.partition("/")[0])
        if device is None or device.serving != new:
            found.append(f"{unit} does not serve the new version")
            continue
        state = device.agent.units[UNIT].models[MODEL]
        (record,) = unit_record(device.record, UNIT).models
        is_there = record == state.record and record.outcome is Ended.CONFIRMED
        if not is_there or state.phase is not Phase.IDLE or not member.has_swapped:
            found.append(f"{unit} has not recorded that it confirmed the new version")
    return found
