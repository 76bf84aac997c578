"""The very large fleet, small: the same cores come to the right end, and the wrong one is found."""

import pytest
from wherry_controller.core.rollouts import State

from tests.simulation.lean import sail_canary
from tests.simulation.models import BAD, GOOD, Behaviour

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


@pytest.mark.parametrize("behaviour", [GOOD, BY_NAME["slow"]], ids=["good", "slow"])
def test_it_plays_the_same_in_however_many_processes(behaviour: Behaviour) -> None:
    alone = sail_canary(60, behaviour, is_traced=True)
    for processes in (2, 3):
        assert sail_canary(60, behaviour, processes=processes, is_traced=True) == alone


def test_the_trace_of_another_fleet_is_another() -> None:
    assert sail_canary(30, is_traced=True).trace != sail_canary(31, is_traced=True).trace
