"""What a rollout has before it: the ladder that is shown, and the earliest end."""

from wherry_controller.core.rollouts import State, earliest_end_s, ladder

from tests.rollouts.voyage import T0, Voyage, names

DAY_S = 86_400.0
CANARY = {"strategy": "canary", "gate": {"require": []}, "trial": {"good_inferences_min": 1}}


def test_a_canary_ends_on_its_seventh_day_at_the_earliest() -> None:
    voyage = Voyage(names(100), **CANARY)
    voyage.start()
    rungs = ladder(voyage.rollout, T0)
    assert [rung.units for rung in rungs] == [5, 10, 25, 50, 100]
    assert [rung.state for rung in rungs] == ["open", "ahead", "ahead", "ahead", "ahead"]
    assert [rung.opens_s for rung in rungs[1:]] == [T0 + day * DAY_S for day in (1, 2, 4, 6)]
    assert earliest_end_s(voyage.rollout, T0) == T0 + 6 * DAY_S + 300.0


def test_time_that_was_lost_is_not_made_up() -> None:
    voyage = Voyage(names(4), stages=[{"share": "50%", "soak_s": 60.0}, {"share": "100%"}])
    voyage.start()
    assert earliest_end_s(voyage.rollout, T0 + 1_000.0) == T0 + 1_060.0


def test_a_subset_is_the_last_rung() -> None:
    voyage = Voyage(names(100), **CANARY, subset="8%")
    voyage.start()
    assert [rung.units for rung in ladder(voyage.rollout, T0)] == [5, 8]


def test_only_a_rollout_that_runs_has_an_end() -> None:
    voyage = Voyage(names(4), **CANARY)
    assert voyage.rollout.state is State.DRAFT
    assert earliest_end_s(voyage.rollout, T0) is None
    assert {rung.opens_s for rung in ladder(voyage.rollout, T0)} == {None}


def test_what_waits_for_a_hand_has_no_end_in_sight() -> None:
    stages = [{"share": "50%", "action": "warm"}, {"share": "100%", "action": "warm"},
              {"share": "100%", "action": "switch", "is_manual": True}]  # fmt: skip
    voyage = Voyage(names(4), stages=stages)
    voyage.start()
    assert earliest_end_s(voyage.rollout, T0) is None
