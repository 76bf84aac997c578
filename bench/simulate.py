"""How fast the simulator plays: events per second of one core, with real parts and with twins, and
how long 100,000 devices take to go through one canary.

usage: bench/simulate.py [--seeds N] [--devices N] [--rounds N] [--fleet N]

An event is one entry of the world's queue that was taken out and done: a message that arrives at
one end of a wire, a tick, a turn or a job of a device, a tick or a turn of the controller, an act
of a fault or an operator. Invariants are looked at after each, as in every other voyage. Time is
that of the processor; of each seed the best round counts, since neighbours on a busy machine take
caches and clock from it.

In the canary (`tests/simulation/lean`) signatures, codec and store are twins, and what is around
the cores is a twin too; the agent's core of every device and the rollout core are real. An event is
a message that arrives at a device or at the controller, or an alarm, a job or a report of a device.
"""

import argparse
import os
import resource
import sys
import time
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


def played(asked: argparse.Namespace, parts: tuple[str, ...]) -> tuple[list[Result], float]:
    """The results of these seeds, and how long the processor took for them at best."""
    sail(0, 1, twins=parts)  # what is made once is made before
    results, best_s = [], 0.0
    for seed in range(asked.seeds):
        rounds = [timed(seed, asked.devices, parts) for _ in range(asked.rounds)]
        results.append(rounds[0][0])
        best_s += min(processor_s for _, processor_s in rounds)
    return results, best_s


def timed(seed: int, devices: int, parts: tuple[str, ...]) -> tuple[Result, float]:
    began_s = time.process_time()
    result = sail(seed, devices, twins=parts)
    return result, time.process_time() - began_s


def canary(device_count: int) -> list[Figure]:
    """The figures of one canary over that many devices. Raises RuntimeError where it went wrong."""
    wall_began_s, began_s = time.perf_counter(), time.process_time()
    outcome = sail_canary(device_count)
    wall_s, processor_s = time.perf_counter() - wall_began_s, time.process_time() - began_s
    if outcome.confirmed != device_count or outcome.problems:
        raise RuntimeError(f"{outcome.state.value}: {outcome.reason} {outcome.problems[:5]}")
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rate = outcome.events / processor_s
    return [
        Figure("canary: devices", device_count, "1"),
        Figure("canary: processor time", processor_s, "s", CANARY_S_MAX),
        Figure("canary: time", wall_s, "s"),
        Figure("canary: peak memory", peak_bytes, "B", CANARY_BYTES_MAX),
        Figure("canary: events", outcome.events, "1"),
        Figure("canary: events per processor second", rate, "1/s", CANARY_EVENTS_MIN, True),
        Figure("canary: virtual time", outcome.virtual_s, "s"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/simulate.py")
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fleet", type=int, default=100_000, help="devices in the canary")
    asked = parser.parse_args()
    figures, failed, digests = [], set(), {}
    for name, parts in PARTS.items():
        results, processor_s = played(asked, parts)
        events = sum(one.events for one in results)
        failed |= {one.seed for one in results if one.failure is not None}
        digests[name] = [one.digest for one in results]
        what = f"events per processor second, {name}"
        figures.append(Figure(what, events / processor_s, "1/s", LIMITS.get(name), is_minimum=True))
    different = sum(len(set(of_seed)) > 1 for of_seed in zip(*digests.values(), strict=True))
    figures.append(Figure("seeds that failed", len(failed), "1", limit=0))
    figures.append(Figure("seeds whose traces differ between real and twins", different, "1", 0))
    figures += canary(asked.fleet)
    twins = {name: [*ALWAYS_TWINS, *parts] for name, parts in PARTS.items()}
    twins["canary"] = list(CANARY_TWINS)
    return report(figures, twins=twins, events=events, devices=asked.devices, failed=sorted(failed))


if __name__ == "__main__":
    raise SystemExit(main())
