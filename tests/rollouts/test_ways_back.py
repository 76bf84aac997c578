"""What goes wrong in a rollout, in virtual time: failures, silence, crashes, and the way back."""

import pytest
from wherry_controller.core.rollouts import State, draft, parse_plan
from wherry_controller.core.rollouts.effects import SendBack
from wherry_controller.core.rollouts.events import (
    Abort,
    Advance,
    Crashed,
    LinkChanged,
    PassedOver,
    Resume,
    Revert,
)
from wherry_controller.core.rollouts.report import report
from wherry_protocol.errors import Code, WherryError
from wherry_protocol.messages.reported import Outcome, Phase

from tests.rollouts.voyage import CLASS, NEW, OLD, T0, Voyage, figures, manifest, names

GOOD = figures(50_000.0)


def test_one_rejection_among_fewer_than_20_devices_reverts() -> None:
    voyage = Voyage(names(19)).start()
    voyage.report(voyage.units[0], Outcome.REJECTED, running=OLD, code=Code.GOLDEN_MISMATCH)
    assert voyage.state is State.REVERTING
    assert sorted(voyage.sent_back) == sorted(voyage.units)


@pytest.mark.parametrize(("failures", "state"), [(2, State.RUNNING), (3, State.REVERTING)])
def test_two_percent_of_a_larger_fleet_may_fail(failures: int, state: State) -> None:
    voyage = Voyage(names(100)).start()
    for unit in voyage.units[:failures]:
        voyage.report(unit, Outcome.REVERTED, running=OLD, code=Code.LATENCY)
    assert voyage.state is state


def test_a_confirmed_device_that_reverts_later_stays_confirmed_and_counts_as_failed() -> None:
    voyage = Voyage(names(4), strategy="rolling").start().confirm()
    unit = voyage.assigned[0]
    voyage.report(unit, Outcome.REVERTED, running=OLD, code=Code.ERROR_RATE)
    assert voyage.phase(unit) == "confirmed"
    assert voyage.state is State.REVERTING


def test_a_device_that_is_silent_at_its_deadline_stays_so_and_is_recorded_as_late() -> None:
    voyage = Voyage(names(20)).start().confirm(*names(19))
    unit = "dev-19/self"
    voyage.wait(3_599)
    assert voyage.phase(unit) == "offered"
    voyage.wait(1)
    assert voyage.phase(unit) == "silent"
    assert voyage.state is State.SUCCEEDED, "5 % silent is within 10 %"
    voyage.report(unit)
    assert voyage.phase(unit) == "silent"
    assert report(voyage.rollout)["late"] == {unit: "not done within 3600 s"}
    assert SendBack not in {type(effect) for effect in voyage.effects}


def test_a_proof_that_arrives_at_the_deadline_is_late() -> None:
    voyage = Voyage(names(20)).start().confirm(*names(19))
    voyage.now_s += 3_600
    voyage.report("dev-19/self")
    assert voyage.phase("dev-19/self") == "silent"


def test_too_much_silence_pauses_and_alerts_and_resuming_accepts_it() -> None:
    voyage = Voyage(names(20), strategy="rolling").start()
    voyage.confirm(*voyage.assigned[:4])
    voyage.serve(GOOD, GOOD).wait(3_600)
    assert voyage.state is State.PAUSED
    assert voyage.notices[-1].severity == "warning"
    assert "1 of 5 devices are silent" in voyage.notices[-1].text
    voyage.tell(Resume("ada", "a truck ran over it"))
    assert voyage.state is State.RUNNING
    voyage.serve(GOOD, GOOD).wait(300)
    assert len(voyage.assigned) == 20


def silent_half(**control: int) -> Voyage:
    voyage = Voyage(names(40), strategy="rolling").start()
    voyage.confirm(*voyage.assigned[:5])
    return voyage.wait(3_600, **control)


def test_silence_beyond_the_control_group_reverts() -> None:
    assert silent_half(control_units=30, control_silent=1).state is State.REVERTING


@pytest.mark.parametrize("control", [{"control_units": 30, "control_silent": 15}, {}])
def test_silence_that_the_control_group_shares_or_that_has_none_only_pauses(
    control: dict[str, int],
) -> None:
    assert silent_half(**control).state is State.PAUSED


def test_nobody_is_silent_while_our_own_link_is_down() -> None:
    voyage = Voyage(names(20)).start()
    voyage.wait(3_000)
    voyage.tell(LinkChanged(False))
    voyage.wait(50_000)
    voyage.tell(LinkChanged(True))
    voyage.wait(599)
    assert voyage.in_phase("silent") == []
    voyage.wait(1)
    assert len(voyage.in_phase("silent")) == 20


def test_reverting_sends_every_touched_device_back_and_proves_it() -> None:
    voyage = Voyage(names(12), strategy="rolling").start().confirm()
    voyage.tell(Revert("bob", "customers complain"))
    assert sorted(voyage.sent_back) == sorted(voyage.assigned)
    assert {effect.to_digest for effect in voyage.of(SendBack)} == {OLD}
    first, *rest = voyage.sent_back
    voyage.come_back(*rest)
    voyage.report(first, running=NEW)
    assert voyage.state is State.REVERTING, "it confirmed, but not what it ran before"
    voyage.come_back(first)
    assert voyage.state is State.REVERTED
    assert voyage.finished[-1].report["returns"]["back"] == 3


def test_a_device_that_does_not_come_back_is_named() -> None:
    voyage = Voyage(names(3)).start().confirm()
    voyage.tell(Revert("bob", "worse"))
    voyage.come_back("dev-0/self")
    voyage.report("dev-1/self", Outcome.REJECTED, running=NEW)
    voyage.wait(3_600)
    assert voyage.state is State.REVERTED
    not_back = voyage.finished[-1].report["not_back"]
    assert not_back == {"dev-1/self": "it refused", "dev-2/self": "not back within 3600 s"}
    assert voyage.notices[-1].severity == "critical"
    voyage.report("dev-2/self", running=OLD)
    assert report(voyage.rollout)["not_back"]["dev-2/self"] == "back late"


def late_one(**table: object) -> Voyage:
    """A revert of two devices, of which the first was not back in time; the second may still be."""
    voyage = Voyage(names(2), returns_per_s=0.1, return_after_s=60.0, **table).start().confirm()
    voyage.tell(Revert("bob", "worse"))
    voyage.wait(10).wait(50)
    return voyage


def test_who_comes_back_late_is_back_as_long_as_the_revert_waits_for_others() -> None:
    voyage = late_one()
    first, second = voyage.sent_back
    assert report(voyage.rollout)["not_back"] == {first: "not back within 60 s"}
    voyage.report(first, running=NEW)
    assert first in report(voyage.rollout)["not_back"], "it has proved nothing"
    voyage.come_back(first)
    assert voyage.state is State.REVERTING
    assert report(voyage.rollout)["not_back"] == {}
    assert voyage.rollout.members[first].return_reason == "back late"
    voyage.come_back(second)
    assert voyage.state is State.REVERTED
    assert voyage.finished[-1].report["returns"]["back"] == 2
    assert voyage.notices[-1].severity == "info"
    assert "2 devices are back" in voyage.notices[-1].text


def test_who_comes_back_late_is_back_as_long_as_an_abort_waits_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wherry_controller.core.rollouts.advancing.OFFERS_MAX_PER_S", 1)
    voyage = Voyage(names(2), return_after_s=60.0).start().wait(1).wait(1)
    voyage.tell(Abort("bob", "wrong"))
    voyage.wait(1).wait(59.0)
    first, second = voyage.sent_back
    assert report(voyage.rollout)["not_back"] == {first: "not back within 60 s"}
    voyage.come_back(first)
    assert report(voyage.rollout)["not_back"] == {}
    voyage.wait(1)
    voyage.come_back(second)
    assert report(voyage.rollout)["not_back"] == {second: "back late"}, "nobody waits any more"


def test_returns_are_limited_in_rate_and_those_that_swapped_go_first() -> None:
    voyage = Voyage(names(50), returns_per_s=10.0).start()
    swapped = voyage.assigned[20:25]
    for unit in swapped:
        voyage.report(unit, Outcome.NONE, Phase.TRIAL)
    voyage.tell(Revert("bob", "worse"))
    assert len(voyage.sent_back) == 10
    assert voyage.sent_back[:5] == swapped
    voyage.wait(1)
    assert len(voyage.sent_back) == 20
    voyage.wait(2.5)
    assert len(voyage.sent_back) == 45
    voyage.wait(60)
    assert sorted(voyage.sent_back) == sorted(voyage.units)


def test_a_device_that_ran_nothing_before_cannot_go_back_and_is_named() -> None:
    voyage = Voyage(names(2), before=None).start()
    voyage.report("dev-0/self", Outcome.NONE, Phase.TRIAL)
    voyage.tell(Revert("bob", "worse"))
    assert voyage.state is State.REVERTED
    assert list(voyage.finished[-1].report["not_back"]) == ["dev-0/self"]


def test_abort_stops_the_spread_withdraws_offers_and_keeps_what_swapped() -> None:
    voyage = Voyage(names(12), parallel_max=4).start()
    one, two, three, four = voyage.assigned
    voyage.report(one, Outcome.NONE, Phase.TRIAL)
    voyage.tell(Abort("ada", "wrong model"))
    assert voyage.state is State.ABORTED
    assert sorted(voyage.sent_back) == sorted([two, three, four])
    assert voyage.phase(one) == "trial"
    assert len(voyage.assigned) == 4
    voyage.wait(100_000)
    assert len(voyage.assigned) == 4


def test_a_device_with_a_higher_authority_is_skipped_and_left_alone() -> None:
    voyage = Voyage(names(3)).start()
    voyage.tell(PassedOver("dev-1/self", "preempted by manual (bob)"))
    assert voyage.phase("dev-1/self") == "skipped"
    voyage.confirm("dev-0/self", "dev-2/self")
    assert voyage.state is State.SUCCEEDED
    voyage.tell(Revert("ada", "worse"))
    assert "dev-1/self" not in voyage.sent_back


@pytest.mark.parametrize("order", [Revert("ada", "worse"), Abort("ada", "worse")])
def test_what_an_isolated_device_was_given_is_taken_back_before_it_is_released(
    order: Revert | Abort,
) -> None:
    """Seed 70238: it kept its candidate; a version that was reverted everywhere came with it."""
    voyage = Voyage(names(3)).start()
    voyage.tell(PassedOver("dev-1/self", "isolated by bob", is_isolated=True))
    voyage.tell(order)
    assert "dev-1/self" in voyage.sent_back
    voyage.tell(PassedOver("dev-1/self", "preempted: another is in force", is_taken=True))
    assert report(voyage.rollout)["not_back"] == {}


def test_whom_an_abort_cannot_send_back_is_named_and_who_was_taken_meanwhile_is_not() -> None:
    voyage = Voyage(names(3)).start()
    voyage.tell(Abort("ada", "worse"))
    voyage.tell(PassedOver("dev-0/self", "another rollout has taken it", is_taken=True))
    voyage.tell(PassedOver("dev-1/self", "what it ran before is not in the registry any more"))
    voyage.come_back("dev-2/self")
    assert list(report(voyage.rollout)["not_back"]) == ["dev-1/self"]


def test_a_gated_stage_that_nobody_was_given_is_not_passed_by_itself() -> None:
    """Seed 704: the only device of the first stage was isolated, and half of the fleet was next."""
    voyage = Voyage(names(20), strategy="canary").start()
    first = voyage.rollout.order[: voyage.rollout.progress.opened_count]
    for unit in first:
        voyage.tell(PassedOver(unit, "isolated"))
    voyage.wait(voyage.rollout.plan.stage_after_s_max - 10)
    assert set(voyage.assigned) == set(first)
    voyage.wait(20)
    assert voyage.state is State.PAUSED
    assert set(voyage.assigned) == set(first)
    voyage.tell(Resume("ada", "go on"))
    voyage.tell(Advance("ada", "it will do"))
    assert len(voyage.assigned) > len(first)


@pytest.mark.parametrize("is_confirmed", [True, False])
def test_a_device_that_the_standing_guard_rolls_back_counts_as_failed(is_confirmed: bool) -> None:
    voyage = Voyage(names(12), strategy="rolling").start()
    unit = voyage.assigned[0]
    if is_confirmed:
        voyage.confirm(unit)
    voyage.tell(PassedOver(unit, "guard: the engine crashed", is_failure=True))
    assert voyage.state is State.REVERTING
    assert voyage.phase(unit) == ("confirmed" if is_confirmed else "reverted")
    assert voyage.rollout.failed == 1


def test_what_an_abort_withdraws_is_not_bad_and_what_a_revert_takes_off_is() -> None:
    aborted, reverted = Voyage(names(3)).start(), Voyage(names(3)).start()
    aborted.tell(Abort("ada", "too early"))
    reverted.tell(Revert("ada", "worse"))
    assert {effect.is_failure for effect in aborted.of(SendBack)} == {False}
    assert {effect.is_failure for effect in reverted.of(SendBack)} == {True}


def test_three_dead_processes_in_one_trial_revert_the_rollout_at_once() -> None:
    voyage = Voyage(names(400), strategy="rolling").start()
    unit = voyage.assigned[0]
    voyage.report(unit, Outcome.REVERTED, running=OLD, code=Code.UNCONFIRMED_STARTS)
    assert voyage.state is State.REVERTING
    assert "1 crashes, the limit is 0" in voyage.rollout.state_reason


def test_an_engine_crash_reverts_at_once_and_one_on_the_old_version_does_not() -> None:
    voyage = Voyage(names(100), strategy="rolling").start()
    voyage.tell(Crashed(voyage.assigned[0], CLASS, OLD))
    voyage.wait(0)
    assert voyage.state is State.RUNNING
    voyage.tell(Crashed(voyage.assigned[0], CLASS, NEW))
    assert voyage.state is State.REVERTING


def test_a_target_that_selects_nobody_is_refused() -> None:
    with pytest.raises(WherryError, match="selects no unit"):
        draft("r-1", manifest(), NEW, parse_plan({}), [], created_by="ada", now_s=T0)
