"""One seed from beginning to end: disturbances, calm, convergence."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.simulation import faults, invariants, operator
from tests.simulation.network import SECOND_US
from tests.simulation.scenarios import SPAN_S, Plan, plan_of, scenario_of
from tests.simulation.trace import Trace
from tests.simulation.twins import played_by_twins
from tests.simulation.world import (
    Disturbance,
    Violation,
    World,
    garbage_left_lying,
    make_world,
    programs_silenced,
    scratch_folder,
)

CALM_US = (SPAN_S[1] + 60) * SECOND_US
BOUND_S = 3_000  # of virtual time, from calm to convergence


@dataclass(frozen=True)
class Result:
    """How a seed went. `failure` is None where every invariant held and the fleet converged."""

    seed: int
    scenario: str
    plan: Plan
    failure: str | None
    events: int
    virtual_s: float
    trace: Trace
    digest: str  # of the whole trace
    payload_sum: int  # of the bytes that devices published


def sail(
    seed: int,
    device_count: int,
    *,
    scenario: str = "",
    plan: Plan | None = None,
    is_traced: bool = False,
    twins: Iterable[str] = (),
) -> Result:
    """Play a seed. `plan` replaces what the seed would draw; `twins` names parts that are not
    real (`twins.TWINS`)."""
    name = scenario or scenario_of(seed)
    disturbances = plan_of(seed, name) if plan is None else plan
    trace = Trace(is_traced)
    with (
        scratch_folder() as folder,
        programs_silenced(),
        played_by_twins(twins),
        garbage_left_lying(),
    ):
        world = make_world(seed, device_count, Path(folder), trace)
        try:
            failure = _played(world, disturbances)
        finally:
            world.close()
        virtual_s = world.now_us / SECOND_US
        return Result(
            seed, name, disturbances, failure, world.events, virtual_s, trace, trace.digest,
            trace.payload_sum,
        )  # fmt: skip


def _played(world: World, disturbances: Plan) -> str | None:
    try:
        _play(world, disturbances)
    except Violation as violation:
        return str(violation)
    except Exception as error:  # a program made a mistake: the worst finding of all
        world.note("MISTAKE", repr(error))
        return f"a program failed: {type(error).__name__}: {error} ({_where(error)})"
    return None


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "nowhere"
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def _play(world: World, disturbances: Plan) -> None:
    for one in disturbances:
        _schedule(world, one)
    world.run_until(CALM_US)
    faults.calm(world)
    world.note("calm", "no fault any more")
    world.at(30 * SECOND_US, "operator", "winds up", lambda: operator.wind_up(world))
    world.run_until(CALM_US + 60 * SECOND_US)
    end_us = CALM_US + BOUND_S * SECOND_US
    if not world.run_until(end_us, lambda: not invariants.unsettled(world)):
        left = invariants.unsettled(world)
        raise Violation(f"not converged after {BOUND_S} s: {'; '.join(left[:5])}")
    invariants.check_end(world)


def _schedule(world: World, one: Disturbance) -> None:
    act = faults.FAULTS.get(one.name) or operator.OPERATIONS[one.name]

    def disturb() -> None:
        act(world, Random(one.seed))

    world.at(one.at_us, "fault" if one.name in faults.FAULTS else "operator", one.name, disturb)
