"""How fast the simulator plays: events per second of one core, with real parts and with twins, and
how long 100,000 devices take to go through one canary.

usage: bench/simulate.py [--seeds N] [--devices N] [--rounds N] [--fleet N]
                         [--processes N]

An event is one entry of the world's queue that was taken out and done: a message that arrives at
one end of a wire, a tick, a turn or a job of a device, a tick or a turn of the controller, an act
of a fault or an operator. Invariants are looked at after each, as in every other voyage. Time is
that of the processor; of each seed the best round counts, since neighbours on a busy machine take
caches and clock from it.

In the canary (`tests/simulation/lean`) signatures, codec and store are twins, and what is around
the cores is a twin too; the agent's core of every device and the rollout core are real. An event is
a message that arrives at a device or at the controller, or an alarm, a job or a report of a device,
or a tick of the controller. Devices are played in as many processes as the machine has processors,
at most two; how many it were stands in the output, beside the time of all processors and the time
on the wall. The trace does not depend on it.
"""

import argparse
import os
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from _report import Figure, report

sys.path.insert(0, os.fspath(Path(__file__).resolve().parent.parent))

from tests.simulation.lean import TWINS as CANARY_TWINS
from tests.simulation.lean import sail_canary
from tests.simulation.twins import TWINS
from tests.simulation.voyage import Result, sail
from tests.simulation.world import ALWAYS_TWINS

PARTS = {"real": (), "signatures": ("signatures",), "signatures, codec": tuple(TWINS)}
LIMITS = {"signatures": 15_000.0}  # events per second and core
CANARY_EVENTS_MIN = 100_000.0  # per second and core, with codec and store as twins too
CANARY_S_MAX = 60.0
CANARY_BYTES_MAX = 4 << 30


@dataclass
class Played:
    """What came of the seeds, with one choice of twins."""

    results: list[Result] = field(default_factory=list)
    processor_s: float = 0.0  # of the best round of each


def played(asked: argparse.Namespace) -> dict[str, Played]:
    """Every seed with every choice of twins in turn, so that all meet the same neighbours."""
    found = {name: Played() for name in PARTS}
    for parts in PARTS.values():
        sail(0, 1, twins=parts)  # what is made once is made before
    for seed in range(asked.seeds):
        rounds = [
            {name: timed(seed, asked.devices, parts) for name, parts in PARTS.items()}
            for _ in range(asked.rounds)
        ]
        for name, one in found.items():
            one.results.append(rounds[0][name][0])
            one.processor_s += min(this[name][1] for this in rounds)
    return found


def timed(seed: int, devices: int, parts: tuple[str, ...]) -> tuple[Result, float]:
    began_s = time.process_time()
    result = sail(seed, devices, twins=parts)
    return result, time.process_time() - began_s


def canary(device_count: int, processes: int) -> list[Figure]:
    """The figures of one canary over that many devices. Raises RuntimeError where it went wrong."""
    wall_began_s, began_s = time.perf_counter(), _processors_s()
    outcome = sail_canary(device_count, processes=processes)
    wall_s, processor_s = time.perf_counter() - wall_began_s, _processors_s() - began_s
    if outcome.confirmed != device_count or outcome.problems:
        raise RuntimeError(f"{outcome.state.value}: {outcome.reason} {outcome.problems[:5]}")
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
        Figure("canary: events per processor second", rate, "1/s", CANARY_EVENTS_MIN, True),
        Figure("canary: virtual time", outcome.virtual_s, "s"),
    ]


def _processors_s() -> float:
    """Of this process and those that it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/simulate.py")
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fleet", type=int, default=100_000, help="devices in the canary")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    asked = parser.parse_args()
    found = played(asked)
    events = sum(one.events for one in found["real"].results)
    figures = [
        Figure(f"events per processor second, {name}", events / one.processor_s, "1/s",
               LIMITS.get(name), is_minimum=True)
        for name, one in found.items()
    ]  # fmt: skip
    results = [result for one in found.values() for result in one.results]
    failed = {result.seed for result in results if result.failure is not None}
    traces = {(result.seed, result.digest) for result in results}
    figures.append(Figure("seeds that failed", len(failed), "1", limit=0))
    what = "seeds whose traces differ between real and twins"
    figures.append(Figure(what, len(traces) - asked.seeds, "1", limit=0))
    figures += canary(asked.fleet, asked.processes)
    twins = {name: [*ALWAYS_TWINS, *parts] for name, parts in PARTS.items()}
    twins["canary"] = list(CANARY_TWINS)
    return report(figures, twins=twins, events=events, devices=asked.devices, failed=sorted(failed))


if __name__ == "__main__":
    raise SystemExit(main())
