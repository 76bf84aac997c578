"""The wall clock is set in mid-rollout: nobody is silent for it, and nothing waits for it."""

import pytest
from wherry_controller.core.rollouts import State, all_parts, clock_was_set

from tests.rollouts.voyage import Voyage, names

HOUR_S = 3600.0


def under_way() -> Voyage:
    """All three are offered, with ten minutes until they are silent; the soak takes a minute."""
    stages = [{"share": "100%", "soak_s": 60.0, "is_gated": False}]
    return Voyage(names(3), stages=stages, silent_after_s=600.0).start()


def clock_set(voyage: Voyage, by_s: float) -> Voyage:
    clock_was_set(voyage.rollout, by_s)
    voyage.parts = all_parts(voyage.rollout)
    voyage.now_s += by_s
    return voyage


@pytest.mark.parametrize("by_s", [2 * HOUR_S, -2 * HOUR_S])
def test_a_clock_that_is_set_makes_nobody_silent_and_keeps_everybodys_deadline(by_s):
    voyage = clock_set(under_way().wait(300.0), by_s)
    voyage.wait(299.0)
    assert not voyage.in_phase("silent")
    voyage.wait(2.0)
    assert len(voyage.in_phase("silent")) == 3


@pytest.mark.parametrize("by_s", [2 * HOUR_S, -2 * HOUR_S])
def test_a_soak_lasts_as_long_as_it_was_to_last(by_s):
    voyage = under_way().wait(1.0).confirm().wait(30.0)
    clock_set(voyage, by_s).wait(29.0)
    assert voyage.rollout.state is State.RUNNING
    voyage.wait(2.0)
    assert voyage.rollout.state is State.SUCCEEDED
