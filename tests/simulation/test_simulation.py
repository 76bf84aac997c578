"""A seed of every scenario in the normal test run (and some in `test_catalogue`); `make simulate`
plays many."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.defects import DEFECTS, Switch
from tests.simulation.faults import FAULTS
from tests.simulation.operator import OPERATIONS
from tests.simulation.scenarios import SCENARIOS, plan_of
from tests.simulation.shrink import described, shrink
from tests.simulation.voyage import Result, sail

pytestmark = pytest.mark.slow
DEVICES = 5


@pytest.mark.parametrize("seed", range(len(SCENARIOS)))
def test_every_invariant_holds_and_the_fleet_converges(seed: int) -> None:
    result = sail(seed, DEVICES)
    assert result.failure is None, described(result, DEVICES)


def test_a_seed_gives_the_same_trace_whatever_the_hash_seed(root: Path) -> None:
    command = [sys.executable, "-m", "tests.simulation.run", "--seeds", "1", "--first-seed", "8",
               "--scenario", "everything", "--devices", "4", "--digests",
               "--no-shrink"]  # fmt: skip
    digests = [
        subprocess.run(
            command, cwd=root, env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH":
                                    os.pathsep.join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout.splitlines()[0]
        for hash_seed in ("1", "4242")
    ]  # fmt: skip
    assert digests[0] == digests[1]


def test_leaving_a_disturbance_out_changes_nothing_before_it_and_leaves_the_others() -> None:
    plan = plan_of(8, "everything")
    left_out = plan[len(plan) // 2]
    less = [one for one in plan if one is not left_out]
    whole, part = (sail(8, DEVICES, scenario="everything", plan=one, is_traced=True)
                   for one in (plan, less))  # fmt: skip
    assert whole.digest != part.digest
    before = [[entry for entry in result.trace.entries if entry[0] < left_out.at_us]
              for result in (whole, part)]  # fmt: skip
    assert before[0] == before[1]
    assert _disturbances(part) == [(one.at_us, one.name) for one in less]


def _disturbances(result: Result) -> list[tuple[int, str]]:
    names = FAULTS.keys() | OPERATIONS.keys()
    return [(at_us, what) for at_us, who, what in result.trace.entries
            if who in ("fault", "operator") and what in names]  # fmt: skip


def test_a_failing_seed_is_told_by_what_it_takes_to_fail() -> None:
    """Its number, disturbances of which each is needed, a trace, and the command for it."""
    switch = Switch()
    DEFECTS["serve_what_failed_its_golden_vectors"][0](switch)
    try:
        failing = next(
            result
            for seed in range(20)
            if (result := sail(seed, DEVICES, scenario="stubborn")).failure is not None
        )
        short = shrink(failing, DEVICES)
        assert short.failure is not None
        assert len(short.plan) < len(failing.plan)
        for one in short.plan[1:]:
            less = [other for other in short.plan if other is not one]
            assert sail(failing.seed, DEVICES, scenario="stubborn", plan=less).failure is None
    finally:
        switch.off()
    told = described(short, DEVICES)
    assert f"seed {failing.seed} (stubborn): {short.failure}" in told
    assert all(one.name in told for one in short.plan)
    assert short.trace.lines[-1] in told
    assert f"--first-seed {failing.seed} --seeds 1 --devices {DEVICES} --scenario stubborn" in told
