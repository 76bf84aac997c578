"""When a rollout is over, and when it only seems so."""

from wherry_controller.core.rollouts import State, report, waiting_for
from wherry_controller.core.rollouts.effects import Release
from wherry_controller.core.rollouts.events import Abort, Decommission, Revert, Widen
from wherry_protocol.messages.reported import Outcome, Phase

from tests.rollouts.voyage import T0, Voyage, figures, names

GOOD = figures()


def sail(voyage: Voyage, rounds: int, seconds: float = 60.0) -> Voyage:
    for _ in range(rounds):
        voyage.confirm().serve(GOOD, GOOD).wait(seconds)
    return voyage


def test_a_subset_that_is_widened_while_its_last_stage_runs_reaches_the_whole() -> None:
    voyage = Voyage(names(40), strategy="rolling", subset="50%").start()
    sail(voyage, 7)
    assert (voyage.state, len(voyage.assigned)) == (State.RUNNING, 20)
    voyage.tell(Widen("ada", 10_000))
    sail(voyage, 20)
    assert (voyage.state, len(voyage.assigned)) == (State.SUCCEEDED, 40)


def test_a_rollout_that_serves_everywhere_soaks_to_its_end_after_its_time() -> None:
    voyage = Voyage(names(8), strategy="rolling", not_after=int(T0) + 500).start()
    sail(voyage, 8)
    assert len(voyage.assigned) == 8
    sail(voyage, 8)
    assert voyage.now_s > T0 + 500
    assert voyage.state is State.SUCCEEDED


def test_after_its_time_nothing_more_is_offered_and_the_rollout_pauses() -> None:
    voyage = Voyage(names(8), strategy="rolling", not_after=int(T0) + 100).start()
    voyage.confirm().serve(GOOD, GOOD)
    sail(voyage, 1, 400.0)
    assert (voyage.state, len(voyage.assigned)) == (State.PAUSED, 2)


def test_what_waits_for_its_switch_when_the_time_is_over_pauses() -> None:
    voyage = Voyage(names(4), strategy="blue-green", not_after=int(T0) + 100).start()
    voyage.make_ready().wait(50.0)
    assert voyage.state is State.RUNNING
    voyage.wait(60.0)
    assert voyage.state is State.PAUSED


def released(voyage: Voyage) -> int:
    return len(voyage.of(Release))


def test_an_abort_takes_back_as_many_in_a_second_as_may_be_offered() -> None:
    voyage = Voyage(names(1_200)).start().wait(1).wait(1)
    assert len(voyage.assigned) == 1_200
    voyage.wait(1).tell(Abort("ada", "wrong version"))
    assert (voyage.state, len(voyage.sent_back), voyage.finished) == (State.ABORTED, 500, [])
    assert waiting_for(voyage.rollout, voyage.now_s) == [
        "500 devices to come back", "up to 700 devices to be asked back",
    ]  # fmt: skip
    left = [unit for unit in voyage.rollout.order if unit not in voyage.sent_back]
    voyage.report(left[0], Outcome.NONE, Phase.TRIAL)
    voyage.wait(1).wait(1).wait(1)
    assert set(voyage.sent_back) == set(voyage.units) - {left[0]}, "what serves by now stays"
    [finished] = voyage.finished
    assert finished.report["members"]["skipped"] == 1_199


def test_a_revert_after_an_abort_takes_over_whoever_it_has_not_reached_yet() -> None:
    voyage = Voyage(names(520), returns_per_s=1_000.0).start().wait(1).wait(1)
    voyage.tell(Abort("ada", "wrong version"))
    voyage.tell(Revert("ada", "all of it"))
    assert voyage.state is State.REVERTING
    for _ in range(2):
        voyage.wait(1).come_back()
    assert (voyage.state, len(voyage.sent_back)) == (State.REVERTED, 520)


def test_a_decommission_unloads_as_many_in_a_second_as_may_be_offered() -> None:
    stages = [{"share": "100%", "action": "warm", "is_gated": False},
              {"share": "100%", "action": "switch", "is_gated": False}]  # fmt: skip
    voyage = Voyage(names(1_200), stages=stages).start().wait(1).wait(1).make_ready()
    while voyage.state is State.RUNNING:
        voyage.wait(1).confirm()
    assert voyage.state is State.SUCCEEDED
    voyage.wait(1).tell(Decommission("ada", is_purged=True))
    assert released(voyage) == 500
    left = waiting_for(voyage.rollout, voyage.now_s)
    assert left == ["up to 700 devices to be told what they may unload"]
    voyage.wait(1)
    assert released(voyage) == 1_000
    voyage.wait(1).wait(1)
    assert released(voyage) == 1_200
    assert all(effect.is_purged for effect in voyage.of(Release))


def test_who_does_not_come_back_after_an_abort_is_named() -> None:
    voyage = Voyage(names(3), return_after_s=60.0).start()
    voyage.tell(Abort("ada", "wrong version"))
    one, two, three = voyage.units
    voyage.come_back(one, two).wait(61)
    assert list(report(voyage.rollout)["not_back"]) == [three]
