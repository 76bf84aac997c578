"""How fast the simulator plays: events per second of one core, with real parts and with twins.

usage: bench/simulate.py [--seeds N] [--devices N]

An event is one entry of the world's queue that was taken out and done: a message that arrives at
one end of a wire, a tick, a turn or a job of a device, a tick or a turn of the controller, an act
of a fault or an operator. Invariants are looked at after each, as in every other voyage. Time is
that of the processor, so that a busy machine does not count.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from _report import Figure, report

sys.path.insert(0, os.fspath(Path(__file__).resolve().parent.parent))

from tests.simulation.twins import TWINS
from tests.simulation.voyage import Result, sail
from tests.simulation.world import ALWAYS_TWINS

PARTS = {"real": (), "signatures": ("signatures",), "all": tuple(TWINS)}
LIMITS = {"real": None, "signatures": 15_000.0, "all": 100_000.0}  # events per second and core


def played(seeds: int, devices: int, parts: tuple[str, ...]) -> tuple[list[Result], float]:
    """The results of these seeds, and how long the processor took."""
    sail(0, 1, twins=parts)  # what is made once is made before
    began_s = time.process_time()
    results = [sail(seed, devices, twins=parts) for seed in range(seeds)]
    return results, time.process_time() - began_s


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/simulate.py")
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--devices", type=int, default=20)
    asked = parser.parse_args()
    figures, failed, digests = [], set(), {}
    for name, parts in PARTS.items():
        results, processor_s = played(asked.seeds, asked.devices, parts)
        events = sum(one.events for one in results)
        failed |= {one.seed for one in results if one.failure is not None}
        digests[name] = [one.digest for one in results]
        what = f"events per processor second, {name}"
        figures.append(Figure(what, events / processor_s, "1/s", LIMITS[name], is_minimum=True))
    different = sum(len(set(of_seed)) > 1 for of_seed in zip(*digests.values(), strict=True))
    figures.append(Figure("seeds that failed", len(failed), "1", limit=0))
    figures.append(Figure("seeds whose traces differ between real and twins", different, "1", 0))
    twins = {name: [*ALWAYS_TWINS, *parts] for name, parts in PARTS.items()}
    return report(figures, twins=twins, events=events, devices=asked.devices, failed=sorted(failed))


if __name__ == "__main__":
    raise SystemExit(main())
