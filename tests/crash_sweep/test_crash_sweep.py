"""A representative part of the sweep; `make crash-sweep` plays all of it."""

import pytest

from tests.crash_sweep.subjects import SUBJECTS
from tests.crash_sweep.sweep import Share, play, sweep

pytestmark = pytest.mark.slow
# Cut points per scenario.
POINTS = {"agent": 9, "enrolment": 6, "firmware": 10, "controller": 6, "store": 3, "pages": 1}
CASES = [(name, scenario) for name in SUBJECTS for scenario in SUBJECTS[name].scenarios]


@pytest.mark.parametrize(("name", "scenario"), CASES)
def test_a_scenario_that_is_cut_anywhere_ends_as_without_a_cut(name: str, scenario: str) -> None:
    subject = SUBJECTS[name]
    count = play(subject, scenario).counts[0] * len(subject.ways)
    stride = max(1, count // POINTS[name]) | 1  # odd, so that all ways come up
    seconds = 1 if subject.second_ways else 0
    tally = sweep(subject, scenario, Share(stride // 2, stride, seconds))
    assert not tally.failed
    assert tally.cut_points >= max(1, min(count, POINTS[name] // 2))
