"""What a rollout over a large fleet costs: to create, every second, for every report, in memory;
and how long the devices of a fleet take to go through one canary.

usage: bench/rollouts.py [--fleet N] [--processes N]

In the first part one rollout is open that has all devices as members, and nothing that is done
every second or for every report may grow with the fleet. A preview of a rollout that brings every
device another version first looks at what creating one looks at, and is held to what that takes.
Real are the service, the rollout core, codec, signatures and the store (SQLite, in memory); the
devices are rows. `created and started` includes what is offered in the first second.

In the canary (`tests/simulation/lean`) the rollout core is real and decides on every report; twins
are named in the output. One of them is the device: each step of the agent's core is taken once by
the real one, and repeated by every device to which the same happens and for which each comparison
in it comes out the same (docs/adr/0105). A smaller canary is played with the real core on every
device too, and the traces of both (all messages, all that the rollout is told and asks for, every
device in the end) must be equal.

An event is a message that arrives at a device or at the controller, or an alarm, a job or a report
of a device, or a tick of the controller. Devices are played in as many processes as the machine has
processors, at most two; how many it were stands in the output, beside the time of all processors
and the time on the wall. The trace does not depend on it. The limit on events per second and core
is that of bench/simulate.py, with one process and a smaller fleet.
"""

import argparse
import os
import resource
import sys
import time
import tracemalloc
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

from _report import Figure, report

sys.path.insert(0, os.fspath(Path(__file__).resolve().parent.parent))

from wherry_controller.core.gates.pools import Figures
from wherry_controller.core.rollouts import (
    Candidate,
    Rollout,
    all_parts,
    decide,
    draft,
    parse_plan,
    restore,
)
from wherry_controller.core.rollouts import events as told
from wherry_controller.core.rollouts.effects import Assign
from wherry_controller.core.rollouts.members import MemberPhase
from wherry_controller.fleet import (
    assuring,
    bundles,
    deploying,
    desires,
    previewing,
    rollouts,
)
from wherry_controller.fleet.deploying import Order
from wherry_controller.store import registry, rows
from wherry_controller.store.devices import Connection, Unit, UnitModel
from wherry_native import sketch as packed
from wherry_protocol.errors import Code
from wherry_protocol.messages.reported import Outcome, Phase
from wherry_protocol.sketch import sketch_of

from tests.agent.director import HARDWARE
from tests.simulation import lean
from tests.simulation.lean.canary import PLAN
from tests.simulation.models import GOOD, MODEL
from tests.simulation.world import World, make_world, programs_silenced, scratch_folder

TICK_MS_MAX = 10.0
DECIDE_US_MAX = 50.0
BYTES_MAX = 1024
PREVIEW_MAX = 2.0  # of what creating and starting a rollout takes
CANARY_S_MAX = 60.0
CANARY_BYTES_MAX = 4 << 30
COMPARED = 1_000  # devices of the canary that is played with real cores and with the twin
OLD = bytes(32)


def populate(world: World, device_count: int) -> None:
    """So many devices that have reported once, and serve something else."""
    db, now_s = world.controller.db, world.controller.now_s
    names = [f"r{n:06d}" for n in range(device_count)]
    keys = [n.to_bytes(32, "big") for n in range(device_count)]
    with db.atomic():
        rows.put_all(db, "connections", [
            Connection(name, key, key, "{}", name, "", now_s, "ada", is_online=1)
            for name, key in zip(names, keys, strict=True)
        ])  # fmt: skip
        rows.put_all(db, "units", [
            Unit(name, "self", HARDWARE, issued_s=now_s, expires_s=now_s + 1e6, seen_s=now_s,
                 boot_count=1, sequence=1, abi_min=1, abi_max=1, protocol_min=1, protocol_max=1,
                 revision=1, epoch=1)
            for name in names
        ])  # fmt: skip
        rows.put_all(db, "unit_models", [
            UnitModel(name, "self", MODEL, 0, 0, None, OLD, "1.0.0", None, None, None, None,
                      0, "", 0, 0, 0, now_s)
            for name in names
        ])  # fmt: skip


def deploy(world: World) -> str:
    """A canary to everybody; its first stage is given out. The rollout's id."""
    made = world.make_model("1.1.0", GOOD)
    now_s = world.controller.now_s
    world.controller.do(lambda org: bundles.push(org, made.file, "ada", now_s))
    order = Order(MODEL, "1.1.0", "all", PLAN, "bench", True)
    return world.controller.do(lambda org: deploying.create(org, order, "ada", now_s))


def preview_s(world: World) -> float:
    """The processor's time for a preview in which every device is brought another version first."""
    db, now_s = world.controller.db, world.controller.now_s
    first = world.make_model("1.0.5", GOOD)
    world.controller.do(lambda org: bundles.push(org, first.file, "ada", now_s))
    plan = {**PLAN, "must_pass": ["1.0.5"], "must_pass_missing": "bring"}
    order = Order(MODEL, "1.1.0", "all", plan, "bench", False)
    rules = assuring.rules_of(world.controller.org)
    began_s = time.process_time()
    shown = previewing.preview(db, rules, [], order, "ada", now_s)
    took_s = time.process_time() - began_s
    if shown["outlook"]["first"]["units"] != shown["outlook"]["units"]:
        raise RuntimeError(f"not everybody is brought 1.0.5 first: {shown['outlook']['first']}")
    return took_s


def bytes_per_device(parts: Mapping[str, str]) -> float:
    """What the controller holds in memory of a rollout that was kept so, per member."""
    tracemalloc.start()
    rollout = restore(parts)
    size_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size_bytes / len(rollout.members)


def all_reported(world: World, like: Rollout) -> Rollout:
    """A rollout of the same bundle to the same devices, each of which was given it and has said
    that it serves it and how; only the last has not proved it, so that it goes on."""
    now_s = world.controller.now_s
    manifest = desires.manifest_of(registry.bundle(world.controller.db, like.digest).manifest)
    fleet = [Candidate(unit, HARDWARE, OLD) for unit in like.order]
    made = draft("all", manifest, like.digest, parse_plan({}), fleet,
                 created_by="bench", now_s=now_s)  # fmt: skip
    figures = Figures(1_000, 0, packed.read(sketch_of([1_000_000] * 1_000).to_bytes()))
    for event in (told.Approve("bench"), told.Start("bench")):
        made = _obeyed(made, event, now_s)
    while made.counts[MemberPhase.PENDING]:
        now_s += 1.0
        made = _obeyed(made, told.Tick(), now_s)
    for unit in made.order:
        if unit != made.order[-1]:
            made, _ = decide(made, _proved(made, unit), now_s)
        made, _ = decide(made, told.Memory(unit, 10, 100), now_s)
        seen = told.Performance(unit, HARDWARE, made.digest, figures, now_s)
        made, _ = decide(made, seen, now_s)
    return made


def _obeyed(rollout: Rollout, event: told.Event, now_s: float) -> Rollout:
    """After the event, with whoever it was given to."""
    rollout, effects = decide(rollout, event, now_s)
    for effect in effects:
        if isinstance(effect, Assign):
            identity = sha256(effect.unit.encode()).digest()
            rollout, _ = decide(rollout, told.Assigned(effect.unit, identity, OLD), now_s)
    return rollout


def _proved(rollout: Rollout, unit: str) -> told.Observed:
    identity = rollout.members[unit].assignment_id
    return told.Observed(unit, identity, Phase.IDLE, Outcome.CONFIRMED, rollout.digest, 1_000)


def decide_us(world: World, rollout_id: str) -> list[float]:
    """How long the rollout core takes for each report of the first stage's members."""
    rollout = rollouts.load(world.controller.org, rollout_id)
    units = rollout.order[: rollout.progress.opened_count]
    found = []
    for phase in (Phase.FETCHING, Phase.STAGED, Phase.TRIAL):
        for unit in units:
            identity = rollout.members[unit].assignment_id
            event = told.Observed(unit, identity, phase, Outcome.NONE, OLD, 0, Code.OK, "")
            began_s = time.perf_counter()
            rollout, _ = decide(rollout, event, world.controller.now_s)
            found.append((time.perf_counter() - began_s) * 1e6)
    return found


def ticks_ms(world: World, times: int) -> list[float]:
    """How long the service takes for each second that passes."""
    found = []
    for _ in range(times):
        world.now_us += 1_000_000
        began_s = time.perf_counter()
        world.controller.fleet.tick(world.controller.now_s)
        found.append((time.perf_counter() - began_s) * 1e3)
    return found


def costs(device_count: int) -> list[Figure]:
    """What the controller's part costs, with that many devices as rows."""
    with scratch_folder() as folder, programs_silenced():
        world = make_world(1, 0, Path(folder))
        populate(world, device_count)
        began_s, processor_s = time.perf_counter(), time.process_time()
        rollout_id = deploy(world)
        create_s = time.perf_counter() - began_s
        processor_s = time.process_time() - processor_s
        previewed_s = preview_s(world)
        ticks, decisions = ticks_ms(world, 60), decide_us(world, rollout_id)
        rollout = rollouts.load(world.controller.org, rollout_id)
        untouched_bytes = bytes_per_device(all_parts(rollout))
        reported_bytes = bytes_per_device(all_parts(all_reported(world, rollout)))
        world.close()
    return [
        Figure("devices", device_count, "1"),
        Figure("created and started", create_s, "s"),
        Figure("created and started, processor time", processor_s, "s"),
        Figure("previewed, all brought another first, processor time", previewed_s, "s"),
        Figure("previewed, of created and started", previewed_s / processor_s, "1", PREVIEW_MAX),
        Figure("tick, median", median(ticks), "ms", TICK_MS_MAX),
        Figure("tick, longest", max(ticks), "ms"),
        Figure("decide on a report, median", median(decisions), "us", DECIDE_US_MAX),
        Figure("rollout in memory, per device, 1 % touched", untouched_bytes, "B", BYTES_MAX),
        Figure("rollout in memory, per device, all reported", reported_bytes, "B", BYTES_MAX),
    ]


def canary(device_count: int, processes: int) -> list[Figure]:
    """The figures of one canary over that many devices. Raises RuntimeError where it went wrong."""
    wall_began_s, began_s = time.perf_counter(), _processors_s()
    outcome = _sailed(device_count, processes=processes, is_light=True)
    wall_s, processor_s = time.perf_counter() - wall_began_s, _processors_s() - began_s
    peak_bytes = 1024 * (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        + (processes - 1) * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    )
    rate = outcome.events / processor_s
    return [
        Figure("canary: devices", device_count, "1"),
        Figure("canary: processes", processes, "1"),
        Figure("canary: time", wall_s, "s", CANARY_S_MAX),
        Figure("canary: processor time, all processes", processor_s, "s"),
        Figure("canary: peak memory, all processes", peak_bytes, "B", CANARY_BYTES_MAX),
        Figure("canary: events", outcome.events, "1"),
        Figure("canary: events per processor second", rate, "1/s"),
        Figure("canary: virtual time", outcome.virtual_s, "s"),
    ]


def compared(device_count: int) -> list[Figure]:
    """How a canary with the real agent core on every device differs from one with its twin."""
    began_s = _processors_s()
    rate = _sailed(device_count).events / (_processors_s() - began_s)
    real = _sailed(device_count, is_traced=True)
    is_other = int(_sailed(device_count, is_light=True, is_traced=True) != real)
    return [
        Figure("compared canary: devices", device_count, "1"),
        Figure("compared canary: traces that differ between real cores and the twin", is_other,
               "1", limit=0),
        Figure("compared canary: events per processor second, real cores", rate, "1/s"),
    ]  # fmt: skip


def _sailed(device_count: int, **how: Any) -> lean.Outcome:
    outcome = lean.sail_canary(device_count, **how)
    if outcome.confirmed != device_count or outcome.problems:
        raise RuntimeError(f"{outcome.state.value}: {outcome.reason} {outcome.problems[:5]}")
    return outcome


def _processors_s() -> float:
    """Of this process and those that it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/rollouts.py")
    parser.add_argument("--fleet", type=int, default=100_000, help="devices, in both parts")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    asked = parser.parse_args()
    figures = costs(asked.fleet) + canary(asked.fleet, asked.processes)
    figures += compared(min(asked.fleet, COMPARED))
    twins = {
        "canary": [*lean.TWINS, *lean.LIGHT_TWINS],
        "compared canary, real cores": list(lean.TWINS),
    }
    return report(figures, twins=twins)


if __name__ == "__main__":
    raise SystemExit(main())
