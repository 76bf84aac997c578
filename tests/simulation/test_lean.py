"""The very large fleet, small: the same cores come to the right end, and the wrong one is found."""

import pytest
from wherry_controller.core.rollouts import State

from tests.simulation.lean import sail_canary
from tests.simulation.models import BAD, GOOD

DEVICES = 200
BY_NAME = {one.name: one for one in BAD}


def test_a_good_version_reaches_every_device() -> None:
    outcome = sail_canary(DEVICES)
    assert (outcome.state, outcome.confirmed) == (State.SUCCEEDED, DEVICES), outcome.reason
    assert outcome.problems == ()


@pytest.mark.parametrize("name", ["failing", "slow", "lying", "creeping"])
def test_a_bad_version_does_not_leave_its_first_stages(name: str) -> None:
    """Devices refuse it or revert; `creeping` passes every trial, and the gate finds it."""
    outcome = sail_canary(DEVICES, BY_NAME[name])
    assert outcome.state is State.REVERTED, outcome.reason
    assert outcome.touched <= DEVICES // 10
    assert outcome.problems == ()


def test_it_plays_the_same_again() -> None:
    assert sail_canary(30, GOOD) == sail_canary(30, GOOD)
