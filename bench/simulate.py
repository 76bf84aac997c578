"""How fast the simulator plays: events per second, with real codecs, store and signatures.

usage: bench/simulate.py [--seeds N] [--devices N]
The parts that are twins are named in the output.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from _report import Figure, report

sys.path.insert(0, os.fspath(Path(__file__).resolve().parent.parent))

from tests.simulation.voyage import sail
from tests.simulation.world import TWINS


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/simulate.py")
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--devices", type=int, default=20)
    asked = parser.parse_args()
    began, processor_began = time.perf_counter(), time.process_time()
    results = [sail(seed, asked.devices) for seed in range(asked.seeds)]
    wall_s, processor_s = time.perf_counter() - began, time.process_time() - processor_began
    events = sum(one.events for one in results)
    failed = [one.seed for one in results if one.failure is not None]
    figures = [
        Figure("events per processor second", events / processor_s, "1/s"),
        Figure("events per second", events / wall_s, "1/s"),
        Figure("virtual time per second", sum(one.virtual_s for one in results) / wall_s, "s"),
        Figure("seeds that failed", len(failed), "1", limit=0),
    ]
    return report(figures, events=events, devices=asked.devices, twins=TWINS, failed=failed)


if __name__ == "__main__":
    raise SystemExit(main())
