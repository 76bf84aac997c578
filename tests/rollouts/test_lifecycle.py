"""A version's ten states: whatever happens, only what the table allows follows."""

import itertools

from hypothesis import given, settings
from wherry_controller.core.rollouts import Lifecycle, Plan, lifecycle
from wherry_controller.core.rollouts.events import Approve, Event, Start
from wherry_controller.core.rollouts.lifecycle import FOLLOWS

from tests.rollouts.test_journeys import PLANS, STEPS, Journey


@settings(max_examples=60)
@given(PLANS, STEPS)
def test_only_what_the_table_allows_follows(plan: Plan, steps: list[tuple[Event, float]]) -> None:
    made = Journey(plan, False)
    seen = [lifecycle(made.rollout)]
    for event, after_s in [(Approve("grace"), 0.0), (Start("ada"), 0.0), *steps]:
        made.now_s += after_s
        made.tell(event)
        seen.append(lifecycle(made.rollout))
    for before, after in itertools.pairwise(seen):
        assert before is after or after in FOLLOWS[before], (before, after)


def test_there_are_ten_and_each_but_the_first_follows_something() -> None:
    assert len(Lifecycle) == 10
    follow = {after for found in FOLLOWS.values() for after in found}
    assert follow == set(Lifecycle) - {Lifecycle.TRAINED}
