"""A seed of every scenario in the normal test run (and some in `test_catalogue`); `make simulate`
plays many."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.scenarios import SCENARIOS, plan_of
from tests.simulation.shrink import described
from tests.simulation.voyage import sail

pytestmark = pytest.mark.slow
DEVICES = 5


@pytest.mark.parametrize("seed", range(len(SCENARIOS)))
def test_every_invariant_holds_and_the_fleet_converges(seed: int) -> None:
    result = sail(seed, DEVICES)
    assert result.failure is None, described(result, DEVICES)


def test_a_seed_gives_the_same_trace_whatever_the_hash_seed(root: Path) -> None:
    command = [sys.executable, "-m", "tests.simulation.run", "--seeds", "1", "--first-seed", "8",
               "--devices", "4", "--digests", "--no-shrink"]  # fmt: skip
    digests = [
        subprocess.run(
            command, cwd=root, env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH":
                                    os.pathsep.join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout.splitlines()[0]
        for hash_seed in ("1", "4242")
    ]  # fmt: skip
    assert digests[0] == digests[1]


def test_leaving_a_disturbance_out_leaves_the_others_as_they_are() -> None:
    plan = plan_of(8, "everything")
    assert [one for one in plan_of(8, "everything") if one != plan[3]] == plan[:3] + plan[4:]
