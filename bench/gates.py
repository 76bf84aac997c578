"""What a gate's statistics promise, simulated: how often they stop a healthy rollout, and how soon
a bad one, looked at after every device's result.

usage: bench/gates.py [--trials N] [--devices N]

Tolerated are 2 % failed updates at a false-abort chance of 1 %. Beside it stand the fixed rule
that others use (5 % of at least 20) and a test that counts inferences as if they were independent
where devices differ. Nothing is read from a clock; the seed is fixed.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from _report import Figure, report
from wherry_controller.core.statistics.bounded import RATIOS, alternative
from wherry_controller.core.statistics.sequential import excess_evidence
from wherry_controller.core.statistics.two_sample import slopes, suspicions

TOLERATED, ALPHA, SEED = 0.02, 0.01, 20
NEVER = np.iinfo(np.int64).max
Array = np.ndarray[Any, Any]


def boundary(device_count: int) -> Array:
    """For n = 1, 2, …: the fewest failures of n that stop."""
    found, failures = np.empty(device_count, np.int64), 0
    for results in range(1, device_count + 1):
        while failures <= results and excess_evidence(failures, results, TOLERATED) < 1 / ALPHA:
            failures += 1
        found[results - 1] = failures
        failures = max(0, failures - 1)
    return found


def one_sample(dice: np.random.Generator, rate: float, trials: int, devices: int) -> Array:
    """After how many results each trial stops."""
    failures = np.cumsum(dice.random((trials, devices)) < rate, axis=1)
    return first(failures >= boundary(devices))


def fixed_rule(dice: np.random.Generator, rate: float, trials: int, devices: int) -> Array:
    """Stop at 5 % or more of at least 20."""
    failures = np.cumsum(dice.random((trials, devices)) < rate, axis=1)
    seen = np.arange(1, devices + 1)
    return first((failures >= 0.05 * seen) & (seen >= 20))


def first(is_stopped: Array) -> Array:
    """The 1-based place of the first True of each row; NEVER where there is none."""
    place = np.argmax(is_stopped, axis=1) + 1
    return np.where(is_stopped.any(axis=1), place, NEVER)


def two_sample(
    dice: np.random.Generator, rates: tuple[float, float], trials: int, devices: int, controls: int
) -> Array:
    """The same against a control group with so many devices for each new one; margin: TOLERATED."""
    bets = np.array(slopes(controls, TOLERATED))
    new, control = bets[:, :2], bets[:, 2:]
    gains = np.array([  # [new failed][controls that failed] -> each suspicion's factor
        [
            (1 + new[:, 1] * (x - new[:, 0]))
            * (1 + control[:, 1] * (1 - control[:, 0])) ** y
            * (1 - control[:, 1] * control[:, 0]) ** (controls - y)
            for y in range(controls + 1)
        ]
        for x in (0, 1)
    ])  # fmt: skip
    wealth, stopped = np.ones((trials, len(suspicions(TOLERATED)))), np.full(trials, NEVER)
    going = np.arange(trials)
    for block in range(1, devices + 1):
        failed = (dice.random(len(going)) < rates[0]).astype(int)
        wealth *= gains[failed, dice.binomial(controls, rates[1], len(going))]
        is_over = wealth.mean(axis=1) >= 1 / ALPHA
        stopped[going[is_over]] = block
        going, wealth = going[~is_over], wealth[~is_over]
    return stopped


def shares_of_devices(dice: np.random.Generator, trials: int, devices: int) -> Array:
    """Error rates of devices that differ much: one in a hundred fails always, the rest never."""
    return (dice.random((trials, devices)) < 0.01).astype(float)


def by_device(dice: np.random.Generator, trials: int, devices: int) -> Array:
    """The test of error rates as the gate does it, one figure per device, limit 1 %."""
    limit, shares = 0.01, shares_of_devices(dice, trials, devices)
    wealth, running = np.zeros((trials, devices)), np.zeros((trials, devices))
    for ratio in RATIOS:
        chance = alternative(limit, ratio)
        gain = (chance - limit) / (limit * (1 - limit)) * (shares - limit)
        np.cumsum(np.log1p(gain), axis=1, out=running)
        wealth += np.exp(np.minimum(running, 600.0)) / len(RATIOS)
    return first(wealth >= 1 / ALPHA)


def by_inference(dice: np.random.Generator, trials: int, devices: int) -> Array:
    """The same devices, each with 100 inferences that are counted as if they were independent."""
    errors = np.cumsum(shares_of_devices(dice, trials, devices) * 100, axis=1).astype(int)
    found = np.full(trials, NEVER)
    for row, line in enumerate(errors):
        for place in np.flatnonzero(np.diff(line, prepend=0)):
            if excess_evidence(int(line[place]), 100 * (int(place) + 1), 0.01) >= 1 / ALPHA:
                found[row] = place + 1
                break
    return found


def share_stopped(stopped: Array) -> float:
    return float((stopped != NEVER).mean())


def figures(trials: int, devices: int) -> list[Figure]:
    """All figures, each from the same seed."""

    def run(simulate: Callable[..., Array], *terms: Any) -> Array:
        return simulate(np.random.default_rng(SEED), *terms)

    most = ALPHA if trials >= 1000 else 2 * ALPHA  # few trials differ more
    found = [
        Figure("healthy at 2 %: false aborts", share_stopped(
            run(one_sample, 0.02, trials, devices)), "share", most),
        Figure("healthy at 2 % as the control group is: false aborts", share_stopped(
            run(two_sample, (0.04, 0.02), trials, devices, 4)), "share", most),
        Figure("fixed rule of 5 % of at least 20, healthy at 2 %: false aborts", share_stopped(
            run(fixed_rule, 0.02, trials, devices)), "share"),
        Figure("errors by device, devices that differ: false aborts", share_stopped(
            run(by_device, trials, 1000)), "share", most),
        Figure("errors by inference, devices that differ: false aborts", share_stopped(
            run(by_inference, min(trials, 400), 1000)), "share"),
    ]  # fmt: skip
    for rate, limit in ((0.30, 10), (0.10, 75), (0.04, 750)):
        stopped = run(one_sample, rate, trials, devices)
        found.append(Figure(f"true {rate:.0%}: stopped after, median", float(np.median(stopped)),
                            "devices", limit))  # fmt: skip
    for rate in (0.30, 0.10):
        stopped = run(two_sample, (rate, 0.02), trials, devices, 4)
        name = f"true {rate:.0%} beside a control group at 2 %: stopped after, median"
        found.append(Figure(name, float(np.median(stopped)), "devices"))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/gates.py")
    parser.add_argument("--trials", type=int, default=4_000)
    parser.add_argument("--devices", type=int, default=5_000)
    asked = parser.parse_args()
    return report(figures(asked.trials, asked.devices), trials=asked.trials, seed=SEED)


if __name__ == "__main__":
    raise SystemExit(main())
