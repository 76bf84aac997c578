"""When a rollout is over, and when it only seems so."""

from wherry_controller.core.rollouts import State
from wherry_controller.core.rollouts.events import Widen

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
