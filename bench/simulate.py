"""How fast the simulator plays: events per second of one core, with real parts and with twins.

usage: bench/simulate.py [--seeds N] [--devices N] [--rounds N] [--fleet N]

An event is one entry of the world's queue that was taken out and done: a message that arrives at
one end of a wire, a tick, a turn or a job of a device, a tick or a turn of the controller, an act
of a fault or an operator. Invariants are looked at after each, as in every other voyage. Time is
that of the processor; of each seed the best round counts, since neighbours on a busy machine take
caches and clock from it.

With codec and store as twins too, and devices that repeat what the agent's core has done once, the
simulator plays the canary of `tests/simulation/lean`, here over `--fleet` devices in one process;
bench/rollouts.py says what an event is there, compares its traces with those of the real agent core
on every device, and plays it over 100,000 devices.
"""

import argparse
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from _report import Figure, report

sys.path.insert(0, os.fspath(Path(__file__).resolve().parent.parent))

from tests.simulation import lean
from tests.simulation.twins import TWINS
from tests.simulation.voyage import Result, sail
from tests.simulation.world import ALWAYS_TWINS

PARTS = {"real": (), "signatures": ("signatures",), "signatures, codec": tuple(TWINS)}
LIMITS = {"signatures": 15_000.0}  # events per second and core
CANARY_MIN = 100_000.0  # the same, with codec and store as twins too


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


def canary_rate(device_count: int, rounds: int) -> float:
    """Events per second of one core in the best round of a canary. Raises RuntimeError where it
    went wrong."""
    rates = []
    for _ in range(rounds):
        began_s = time.process_time()
        outcome = lean.sail_canary(device_count, is_light=True)
        rates.append(outcome.events / (time.process_time() - began_s))
        if outcome.confirmed != device_count or outcome.problems:
            raise RuntimeError(f"{outcome.state.value}: {outcome.reason} {outcome.problems[:5]}")
    return max(rates)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/simulate.py")
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fleet", type=int, default=20_000, help="devices of the canary")
    asked = parser.parse_args()
    found = played(asked)
    events = sum(one.events for one in found["real"].results)
    figures = [
        Figure(f"events per processor second, {name}", events / one.processor_s, "1/s",
               LIMITS.get(name), is_minimum=True)
        for name, one in found.items()
    ]  # fmt: skip
    rate = canary_rate(asked.fleet, asked.rounds)
    what = f"events per processor second, canary over {asked.fleet:,} devices, one process"
    figures.append(Figure(what, rate, "1/s", CANARY_MIN, is_minimum=True))
    results = [result for one in found.values() for result in one.results]
    failed = {result.seed for result in results if result.failure is not None}
    traces = {(result.seed, result.digest) for result in results}
    figures.append(Figure("seeds that failed", len(failed), "1", limit=0))
    what = "seeds whose traces differ between real and twins"
    figures.append(Figure(what, len(traces) - asked.seeds, "1", limit=0))
    twins = {name: [*ALWAYS_TWINS, *parts] for name, parts in PARTS.items()}
    twins["canary"] = [*lean.TWINS, *lean.LIGHT_TWINS]
    return report(figures, twins=twins, events=events, devices=asked.devices, failed=sorted(failed))


if __name__ == "__main__":
    raise SystemExit(main())
