"""Switch each defect on and play seeds until the simulator finds it.

usage: python -m tests.simulation.defects [--first-seed N] [NAME ...]
Exit code 1 where one is not found within SEEDS_MAX seeds. The last line is one JSON object.
"""

import argparse
import json

from tests.simulation.defects import DEFECTS, DEVICES, SEEDS_MAX, Switch, is_stale
from tests.simulation.voyage import sail


def found_after(name: str, first_seed: int) -> tuple[int | None, str]:
    """(how many seeds it took, what broke); None where nothing did, or not by the defect."""
    switch = Switch()
    switch_on, scenario = DEFECTS[name]
    switch_on(switch)
    try:
        for count in range(1, SEEDS_MAX + 1):
            result = sail(first_seed + count - 1, DEVICES, scenario=scenario)
            if result.failure is not None:
                break
        else:
            return None, "not found"
    finally:
        switch.off()
    right = sail(result.seed, DEVICES, scenario=scenario)
    if right.failure is not None:
        return None, f"{scenario}: seed {result.seed} fails without it: {right.failure}"
    return None if is_stale(result.failure) else count, f"{scenario}: {result.failure}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.defects")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("names", nargs="*")
    asked = parser.parse_args()
    names = asked.names or list(DEFECTS)
    counts: dict[str, int | None] = {}
    for name in names:
        counts[name], what = found_after(name, asked.first_seed)
        print(f"{counts[name] or '-':>3} {name:<42} {what[:110]}", flush=True)
    missed = [name for name, count in counts.items() if count is None]
    seeds = [count for count in counts.values() if count is not None]
    print(json.dumps({"defects": len(names), "missed": missed, "seeds_max": SEEDS_MAX,
                      "most_seeds": max(seeds, default=0)}))  # fmt: skip
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
