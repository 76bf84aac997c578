"""Acknowledgement positions: every order, every duplicate, every gap."""

from hypothesis import given
from hypothesis import strategies as st
from wherry_controller.core.spool import AHEAD_MAX, START, Position, Verdict, accept


def test_reports_in_order_are_acknowledged_at_once() -> None:
    position = START
    for sequence in range(1, 10):
        position, verdict = accept(position, sequence, 1)
        assert verdict is Verdict.NEW
    assert position == Position(9, frozenset())


def test_a_gap_holds_the_acknowledgement_back_until_it_is_closed() -> None:
    position, _ = accept(START, 2, 1)
    assert position == Position(0, frozenset({2}))
    position, _ = accept(position, 1, 1)
    assert position == Position(2, frozenset())


def test_what_the_device_dropped_is_not_waited_for() -> None:
    position, verdict = accept(START, 7, 6)
    assert (position.contiguous, verdict) == (5, Verdict.NEW)
    position, _ = accept(position, 6, 6)
    assert position.contiguous == 7


def test_a_report_far_beyond_the_gap_is_refused() -> None:
    position, verdict = accept(START, AHEAD_MAX + 1, 1)
    assert (position, verdict) == (START, Verdict.TOO_FAR)
    assert accept(START, AHEAD_MAX, 1)[1] is Verdict.NEW


@given(st.lists(st.integers(1, 40), max_size=120))
def test_each_report_counts_once_and_only_what_is_whole_is_acknowledged(order: list[int]) -> None:
    position, new = START, []
    for sequence in order:
        position, verdict = accept(position, sequence, 1)
        if verdict is Verdict.NEW:
            new.append(sequence)
    assert sorted(new) == sorted(set(order))
    whole = next(n for n in range(42) if n + 1 not in set(order))
    assert position.contiguous == whole
    assert position.ahead == {n for n in order if n > whole}
