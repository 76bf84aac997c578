"""Candidates that stand, the switch to them, and what is known of devices meanwhile."""

import pytest
from wherry_controller.core.rollouts import State, report
from wherry_controller.core.rollouts.events import Memory, Pause, Switch
from wherry_controller.core.rollouts.judging import memory_shares
from wherry_protocol.errors import Code, StateError
from wherry_protocol.messages.reported import Outcome

from tests.rollouts.voyage import CLASS, OLD, Voyage, names


def staged(count: int = 10, **table: object) -> Voyage:
    """Blue-green: one candidate was refused, the others stand, and the switch is due."""
    voyage = Voyage(names(count), strategy="blue-green", max_failed=2, **table).start()
    bad, *good = voyage.units
    voyage.report(bad, Outcome.REJECTED, running=OLD, code=Code.FAILED)
    return voyage.make_ready(*good)


def test_who_failed_is_named_also_when_the_switch_is_due() -> None:
    voyage = staged()
    assert voyage.rollout.progress.stage_index == 1
    assert list(report(voyage.rollout)["failed"]) == [voyage.units[0]]


def test_the_memory_of_every_device_that_serves_it_counts_while_the_next_stage_is_offered() -> None:
    stages = [{"share": "100%", "is_gated": False},
              {"share": "100%", "action": "decommission", "is_manual": True}]  # fmt: skip
    voyage = Voyage(names(3), stages=stages).start().confirm()
    for unit in voyage.units:
        voyage.tell(Memory(unit, 50, 100))
    assert voyage.rollout.progress.stage_index == 1
    assert memory_shares(voyage.rollout, [CLASS]) == {CLASS: [0.5, 0.5, 0.5]}


def test_a_paused_bake_can_be_switched_back_and_not_forward() -> None:
    voyage = staged()
    voyage.tell(Pause("ada", "hold"))
    with pytest.raises(StateError, match="is paused"):
        voyage.tell(Switch("ada", "blue", "green"))
    with pytest.raises(StateError, match="blue serves"):
        voyage.tell(Switch("ada", "green", "blue", "worse"))
    voyage = staged()
    voyage.tell(Switch("ada", "blue", "green"))
    voyage.confirm()
    voyage.tell(Pause("ada", "hold"))
    voyage.tell(Switch("ada", "green", "blue", "worse"))
    assert voyage.state is State.REVERTING
    assert len(voyage.sent_back) == 10
