"""How fast a stage is offered, and who is tried again."""

import pytest
from wherry_controller.core.plans.pace import OFFERS_MAX_PER_S, Ramp, allowed_by
from wherry_controller.core.rollouts import State
from wherry_controller.core.rollouts.effects import Assign
from wherry_protocol.errors import Code
from wherry_protocol.messages.reported import Outcome

from tests.rollouts.voyage import Voyage, names


def test_a_ramp_doubles_each_minute_up_to_its_limit() -> None:
    ramp = Ramp(1.0, 2.0, 10.0)
    assert [allowed_by(ramp, 60.0 * m) for m in range(7)] == [1, 3, 7, 15, 25, 35, 45]
    assert allowed_by(ramp, 1e9) == 15 + 10 * (1e9 // 60 - 3)
    assert allowed_by(Ramp(), 0.0) == float("inf")


def test_devices_are_offered_no_faster_than_the_ramp_says() -> None:
    voyage = Voyage(names(20), ramp={"per_minute": 2, "factor": 2.0}).start()
    counts = [len(voyage.assigned)]
    for _ in range(4):
        voyage.wait(60.0)
        counts.append(len(voyage.assigned))
    assert counts == [2, 6, 14, 20, 20]


def test_a_second_hands_out_so_many_at_most_in_order_and_whatever_is_said_in_it() -> None:
    voyage = Voyage(names(2 * OFFERS_MAX_PER_S + 20)).start()
    order = voyage.rollout.order
    assert [one.unit for one in voyage.of(Assign)] == order[:OFFERS_MAX_PER_S]
    voyage.confirm(order[0])  # an event in the same second, after which nothing new is due
    assert len(voyage.of(Assign)) == OFFERS_MAX_PER_S
    for already in (2 * OFFERS_MAX_PER_S, len(order), len(order)):
        voyage.wait(1.0)
        assert [one.unit for one in voyage.of(Assign)] == order[:already]
    assert voyage.state is State.RUNNING


def rejected(voyage: Voyage, unit: str, code: Code = Code.STORAGE) -> None:
    voyage.report(unit, Outcome.REJECTED, running=None, code=code)


def test_what_failed_for_a_passing_reason_is_held_and_tried_again_later_each_time() -> None:
    voyage = Voyage(names(2), retries={"count": 2, "after_s": 60}).start()
    one, other = voyage.units
    voyage.confirm(other)
    for attempt, waits_s in ((1, 60.0), (2, 120.0)):
        rejected(voyage, one)
        assert (voyage.phase(one), voyage.state) == ("held", State.RUNNING)
        voyage.wait(waits_s - 1.0)
        assert voyage.phase(one) == "held"
        voyage.wait(1.0)
        assert voyage.phase(one) == "offered"
        assert voyage.of(Assign)[-1].attempt == attempt
    voyage.confirm(one)
    assert voyage.state is State.SUCCEEDED


def test_after_its_tries_it_has_failed() -> None:
    voyage = Voyage(names(2), retries={"count": 1}).start()
    rejected(voyage, voyage.units[0])
    voyage.wait(60.0)
    rejected(voyage, voyage.units[0])
    assert voyage.state is State.REVERTING


@pytest.mark.parametrize("code", [Code.GOLDEN_MISMATCH, Code.DIGEST, Code.ERROR_RATE, Code.OK])
def test_what_the_bundle_did_wrong_is_never_tried_again(code: Code) -> None:
    voyage = Voyage(names(2), retries={"count": 5}).start()
    rejected(voyage, voyage.units[0], code)
    assert voyage.phase(voyage.units[0]) == "rejected"
    assert voyage.state is State.REVERTING
