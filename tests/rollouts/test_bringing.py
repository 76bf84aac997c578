"""What a device is brought before the rollout's own version, and how it leaves that again."""

from wherry_controller.core.rollouts.effects import Assign, Release, SendBack
from wherry_controller.core.rollouts.events import Abort, Decommission, PassedOver, Prepared, Revert
from wherry_protocol.errors import Code
from wherry_protocol.messages.reported import Outcome, Phase

from tests.rollouts.voyage import NEW, OLD, Voyage

FIRST, SECOND = b"1" * 32, b"2" * 32
UNIT = "dev-0/self"


def brought(before: bytes | None = OLD, **table: object) -> Voyage:
    """One device that is brought FIRST, SECOND and then the rollout's own."""
    voyage = Voyage([UNIT], before, **table)
    voyage.tell(Prepared(UNIT, (FIRST, SECOND)))
    return voyage.start()


def asked(voyage: Voyage) -> list[tuple[bytes, int]]:
    return [(effect.digest, effect.attempt) for effect in voyage.of(Assign)]


def test_each_version_in_between_has_its_own_second_tries() -> None:
    voyage = brought(retries={"count": 1, "after_s": 10.0})
    voyage.report(UNIT, Outcome.REJECTED, running=OLD, code=Code.NO_PROGRESS)
    voyage.wait(10.0).report(UNIT, running=FIRST)
    assert asked(voyage) == [(FIRST, 0), (FIRST, 1), (SECOND, 0)]
    voyage.report(UNIT, Outcome.REJECTED, running=FIRST, code=Code.NO_PROGRESS)
    voyage.wait(10.0).report(UNIT, running=SECOND)
    assert asked(voyage)[3:] == [(SECOND, 1), (NEW, 0)]


def test_who_ran_nothing_before_and_serves_a_version_in_between_is_not_called_back() -> None:
    for seen in (Outcome.NONE, Outcome.CONFIRMED):
        voyage = brought(before=None)
        voyage.report(UNIT, seen, running=FIRST)
        voyage.tell(Abort("ada", "not today"))
        voyage.wait(1.0)
        member = voyage.rollout.members[UNIT]
        assert (member.way_back.value, "ran no model before" in member.return_reason) == (
            "lost", True,
        )  # fmt: skip


def test_a_decommission_unloads_what_served_last_before_the_version() -> None:
    voyage = brought()
    voyage.report(UNIT, running=FIRST)
    voyage.report(UNIT, running=SECOND)
    voyage.report(UNIT)
    voyage.wait(1.0)
    assert voyage.state.value == "succeeded"
    voyage.tell(Decommission("ada"))
    assert [effect.digest for effect in voyage.of(Release)] == [SECOND]


def test_who_cannot_be_given_the_next_version_goes_back_with_the_others() -> None:
    voyage = brought()
    voyage.report(UNIT, running=FIRST)
    voyage.tell(PassedOver(UNIT, "it has no budget"))
    assert voyage.phase(UNIT) == "skipped"
    voyage.tell(Revert("ada", "worse"))
    assert [effect.to_digest for effect in voyage.of(SendBack)] == [OLD]


def test_an_abort_takes_a_version_in_between_from_a_silent_device_too() -> None:
    voyage = brought(silent_after_s=400, silent_share_max=1.0)
    voyage.wait(500.0)
    assert voyage.phase(UNIT) == "silent"
    voyage.tell(Abort("ada", "not today"))
    assert [effect.to_digest for effect in voyage.of(SendBack)] == [OLD]


def test_who_ran_nothing_before_and_has_reverted_by_itself_is_back() -> None:
    plain = Voyage([UNIT], None, max_failed=1).start()
    plain.report(UNIT, Outcome.NONE, Phase.TRIAL)
    plain.report(UNIT, Outcome.REVERTED, running=None)
    first = brought(before=None, max_failed=1)
    first.report(UNIT, Outcome.NONE, Phase.TRIAL, running=FIRST)
    first.report(UNIT, Outcome.REVERTED, running=None)
    second = brought(before=None, max_failed=1)
    second.report(UNIT, running=FIRST)
    second.report(UNIT, Outcome.REVERTED, running=FIRST)
    ways = []
    for voyage in (plain, first, second):
        voyage.tell(Revert("ada", "worse"))
        ways.append(voyage.rollout.members[UNIT].way_back.value)
    assert ways == ["back", "back", "lost"]
