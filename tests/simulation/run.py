"""Play many seeds, and say what they found.

usage: python -m tests.simulation.run [--seeds N] [--devices N] [--first-seed N]
                                      [--scenario NAME] [--jobs N]
                                      [--trace] [--digests] [--no-shrink]
                                      [--twins PART,PART]
Exit code 1 where a seed failed. The last line is one JSON object with the totals; how far it is
stands on standard error, twice a minute.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.scenarios import SCENARIOS
from tests.simulation.shrink import described, shrink
from tests.simulation.twins import TWINS
from tests.simulation.voyage import Result, sail
from tests.simulation.world import ALWAYS_TWINS

TELL_S = 30.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--devices", type=int, default=12)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--scenario", choices=[*SCENARIOS, ""], default="")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--trace", action="store_true", help="print the whole trace")
    parser.add_argument("--digests", action="store_true", help="one digest of each seed's trace")
    parser.add_argument("--no-shrink", action="store_true", help="only name failing seeds")
    parser.add_argument("--twins", default=[], type=lambda text: text.split(","),
                        help=f"parts that are not real, for speed: {','.join(TWINS)}")  # fmt: skip
    return parser.parse_args()


def played(asked: argparse.Namespace) -> Iterator[Result]:
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    if asked.jobs == 1:
        for seed in seeds:
            yield sail(seed, asked.devices, scenario=asked.scenario, is_traced=asked.trace,
                       twins=asked.twins)  # fmt: skip
        return
    with ProcessPoolExecutor(asked.jobs) as pool:
        work = [
            pool.submit(_untraced, seed, asked.devices, asked.scenario, asked.twins)
            for seed in seeds
        ]
        for one in work:
            yield one.result()


def _untraced(seed: int, devices: int, scenario: str, twins: list[str]) -> Result:
    result = sail(seed, devices, scenario=scenario, twins=twins)
    result.trace.forget()
    return result


def main() -> int:
    asked = arguments()
    began = told = time.perf_counter()
    failed, events, virtual_s = [], 0, 0.0
    for count, result in enumerate(played(asked), start=1):
        if time.perf_counter() - told >= TELL_S:
            told = time.perf_counter()
            done = f"{count:,} of {asked.seeds:,} seeds, {len(failed)} failed"
            print(f"{done}, {told - began:,.0f} s", file=sys.stderr, flush=True)
        events += result.events
        virtual_s += result.virtual_s
        if asked.digests:
            print(f"{result.seed} {result.digest} {result.payload_sum:08x}")
        if asked.trace:
            print("\n".join(result.trace.lines))
        if result.failure is not None:
            failed.append(result.seed)
            print(f"FAILED seed {result.seed} ({result.scenario}): {result.failure}", flush=True)
            if not asked.no_shrink:
                print(
                    described(shrink(result, asked.devices, asked.twins), asked.devices), flush=True
                )
    wall_s = time.perf_counter() - began
    totals = {
        "seeds": asked.seeds, "devices": asked.devices, "failed": failed, "events": events,
        "events_per_s": round(events / wall_s), "virtual_s": round(virtual_s),
        "wall_s": round(wall_s, 1), "twins": [*ALWAYS_TWINS, *asked.twins],
    }  # fmt: skip
    print(json.dumps(totals))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
