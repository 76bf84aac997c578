"""Who decides for a (unit, model): stop > isolate > guard > manual > rollout."""

import itertools

import pytest
from wherry_controller.core.rollouts import Authority, Claim, Holding, is_granted, refusal

SEEN, OTHER = b"s" * 32, b"x" * 32
PAIRS = [*itertools.product(Authority, Authority)]


@pytest.mark.parametrize(("present", "wanted"), PAIRS)
def test_the_higher_authority_wins_whatever_it_saw(present: Authority, wanted: Authority) -> None:
    claim = Claim(wanted, "ada", expected_id=OTHER)
    if wanted > present:
        assert is_granted(Holding(present, "bob", SEEN), claim)
    elif present not in (Authority.ISOLATE, Authority.STOP):
        assert not is_granted(Holding(present, "bob", SEEN), claim)


@pytest.mark.parametrize(("present", "wanted"), PAIRS)
def test_who_saw_what_is_in_force_may_replace_it_unless_a_stop_or_isolation_stands(
    present: Authority, wanted: Authority
) -> None:
    claim = Claim(wanted, "ada", expected_id=SEEN)
    stands = present in (Authority.ISOLATE, Authority.STOP) and wanted < present
    assert is_granted(Holding(present, "bob", SEEN), claim) is not stands


def test_of_two_rollouts_that_race_for_a_unit_one_wins() -> None:
    first = Claim(Authority.ROLLOUT, "r-1", expected_id=SEEN)
    second = Claim(Authority.ROLLOUT, "r-2", expected_id=SEEN)
    present = Holding(Authority.MANUAL, "bob", SEEN)
    assert is_granted(present, first)
    after = Holding(Authority.ROLLOUT, "r-1", OTHER)
    assert not is_granted(after, second)
    assert refusal(after) == "preempted by rollout (r-1)"


def test_an_assignment_that_was_withdrawn_is_not_replaced_by_a_rollout_that_still_saw_it() -> None:
    assert not is_granted(None, Claim(Authority.ROLLOUT, "r-1", expected_id=SEEN))
    assert is_granted(None, Claim(Authority.ROLLOUT, "r-1"))
    assert is_granted(None, Claim(Authority.MANUAL, "ada", expected_id=SEEN))
    assert "no longer in force" in refusal(None)
