"""Whole rollouts in virtual time: stages, gates, subsets, and what they wait for."""

import pytest
from wherry_controller.core.gates.pools import Arm, Figures
from wherry_controller.core.rollouts import (
    Candidate,
    State,
    draft,
    parse_plan,
    preview,
    waiting_for,
)
from wherry_controller.core.rollouts.effects import Assign, Audit
from wherry_controller.core.rollouts.events import (
    Advance,
    Memory,
    Observed,
    Pause,
    Performance,
    Presence,
    Resume,
    Revert,
    Tick,
    Widen,
)
from wherry_protocol.errors import Code, ContractError, StateError, WherryError
from wherry_protocol.messages.reported import Outcome, Phase

from tests.rollouts.voyage import CLASS, NEW, OLD, T0, Voyage, figures, manifest, names

GOOD = figures(50_000.0)


def good_canary(count: int = 40, **table: object) -> Voyage:
    """A canary whose first stage has confirmed and serves well."""
    voyage = Voyage(names(count), strategy="canary", **table).start().confirm()
    return voyage.serve(GOOD, GOOD)


def test_direct_deploys_to_all_and_succeeds_when_every_device_has_proved_it() -> None:
    voyage = Voyage(names(12)).start()
    assert sorted(voyage.assigned) == sorted(voyage.units)
    voyage.confirm(*voyage.units[:11])
    assert voyage.state is State.RUNNING
    voyage.confirm(voyage.units[11])
    assert voyage.state is State.SUCCEEDED
    assert voyage.finished[0].report["members"]["confirmed"] == 12


def test_rolling_touches_a_quarter_first_and_the_rest_after_300_s_and_a_passed_gate() -> None:
    voyage = Voyage(names(12), strategy="rolling").start()
    assert len(voyage.assigned) == 3
    voyage.confirm()
    for _ in range(5):
        assert len(voyage.assigned) == 3, "widened before its dwell"
        voyage.serve(GOOD, GOOD).wait(60)
    assert len(voyage.assigned) == 12
    voyage.confirm().serve(GOOD).wait(299)
    assert voyage.state is State.RUNNING
    voyage.wait(1)
    assert voyage.state is State.SUCCEEDED


def test_canary_opens_its_shares_on_days_1_2_3_5_and_7() -> None:
    voyage = Voyage(names(100), strategy="canary").start()
    opened = []
    for hour in range(7 * 24):
        opened.append((1 + hour // 24, len(voyage.assigned)))
        voyage.confirm().serve(GOOD, GOOD).wait(3_600)
    first = {count: day for day, count in reversed(opened)}
    assert first == {5: 1, 10: 2, 25: 3, 50: 5, 100: 7}
    assert voyage.state is State.SUCCEEDED


def test_no_device_outside_the_open_stages_is_touched() -> None:
    voyage = good_canary(100)
    inside = set(voyage.rollout.order[:5])
    assert set(voyage.assigned) == inside
    voyage.serve(figures(errors=900), GOOD).wait(60)
    assert voyage.state is State.REVERTING
    assert set(voyage.sent_back) == inside


def test_a_canary_with_90_percent_errors_and_100x_latency_reverts_while_running() -> None:
    voyage = good_canary()
    voyage.serve(figures(5_000_000.0, errors=900), GOOD).wait(60)
    assert voyage.state is State.REVERTING
    assert "error rate 0.45" in voyage.rollout.state_reason
    assert "latency" in str(voyage.effects)
    voyage.come_back()
    assert voyage.state is State.REVERTED


def test_a_canary_that_is_bad_reverts_while_it_is_paused_too() -> None:
    voyage = good_canary()
    voyage.tell(Pause("ada", "lunch"))
    voyage.serve(figures(errors=900), GOOD).wait(60)
    assert voyage.state is State.REVERTING


def test_100x_latency_alone_reverts() -> None:
    voyage = good_canary()
    voyage.serve(figures(5_000_000.0), GOOD).wait(60)
    assert voyage.state is State.REVERTING
    assert "p95" in voyage.rollout.state_reason


def test_errors_that_go_from_0_10_to_0_21_percent_do_not_revert() -> None:
    voyage = Voyage(names(40), strategy="canary").start().confirm()
    old, new = figures(errors=10, inferences=10_000), figures(errors=21, inferences=10_000)
    for _ in range(10):
        voyage.serve(new, old).wait(60)
    assert voyage.state is State.RUNNING
    assert [
        check.verdict.value
        for check in voyage.rollout.checks
        if check.name in ("errors", "increase")
    ] == ["pass", "pass"]


def test_the_example_metrics_of_a_healthy_canary_do_not_revert() -> None:
    voyage = Voyage(names(40), strategy="canary").start().confirm()
    old = figures((35_000, 50_000, 75_000), errors=1)
    new = figures((38_000, 52_000, 78_000), errors=2)
    for _ in range(5):
        voyage.serve(new, old).wait(60)
    assert voyage.state is State.RUNNING
    assert {check.name: check.verdict.value for check in voyage.rollout.checks} == {
        "errors": "pass",
        "increase": "pass",
        "crash": "pass",
        "update": "pass",
        "latency": "pass",
        "memory": "pass",
    }


def test_the_check_interval_and_every_other_number_of_a_preset_are_obeyed() -> None:
    bad = figures(errors=100)
    slow = good_canary(preset="aggressive").serve(bad, GOOD).wait(60)
    assert slow.state is State.RUNNING, "aggressive looks every 300 s, at 5,000 requests"
    quick = good_canary(gate={"interval_s": 5.0}).serve(bad, GOOD).wait(5)
    assert quick.state is State.REVERTING
    tolerant = good_canary(gate={"error_rate_max": 0.2}).serve(bad, GOOD).wait(60)
    assert tolerant.state is State.RUNNING
    assert tolerant.rollout.plan.overrides == ("gate.error_rate_max = 0.2 (0.01)",)


def test_a_rollout_waits_for_ever_where_figures_are_missing_and_says_for_what() -> None:
    voyage = Voyage(names(40), strategy="rolling").start().confirm()
    voyage.wait(600)
    assert voyage.state is State.RUNNING
    assert len(voyage.assigned) == 10
    waits = waiting_for(voyage.rollout, voyage.now_s)
    assert any("latency" in line for line in waits)
    assert any("0 inferences, at least 1000 are needed" in line for line in waits)


def test_a_stage_that_is_open_for_too_long_pauses_and_names_what_it_waits_for() -> None:
    voyage = Voyage(names(40), strategy="rolling", stage_after_s_max=1_000.0).start().confirm()
    voyage.wait(1_000)
    assert voyage.state is State.PAUSED
    assert "waiting for" in voyage.notices[-1].text
    voyage.tell(Resume("ada"))
    voyage.wait(999)
    assert voyage.state is State.RUNNING
    voyage.wait(1)
    assert voyage.state is State.PAUSED


def test_only_a_person_who_goes_on_accepts_what_was_silent_then() -> None:
    voyage = Voyage(names(4), strategy="rolling").start()
    voyage.tell(Pause("guard", "held: a device is slow"))
    voyage.tell(Resume("guard", "it has recovered"))
    assert voyage.rollout.progress.accepted_s == 0.0
    voyage.tell(Pause("wherry", "unresponsive"))
    voyage.tell(Resume("ada", "their line was cut"))
    assert voyage.rollout.progress.accepted_s == voyage.now_s > 0.0


def test_a_subset_pauses_at_its_end_and_widening_touches_no_confirmed_device() -> None:
    voyage = Voyage(names(12), subset="25%").start().confirm()
    assert voyage.state is State.PAUSED
    first = set(voyage.assigned)
    assert len(first) == 3
    with pytest.raises(StateError, match="widen it"):
        voyage.tell(Resume("ada"))
    with pytest.raises(StateError, match="needs more than that"):
        voyage.tell(Widen("ada", 2_500))
    voyage.tell(Widen("ada", 10_000, "looks good"))
    later = voyage.assigned[3:]
    assert len(later) == 9
    assert first.isdisjoint(later)
    voyage.confirm()
    assert voyage.state is State.SUCCEEDED


def test_a_subset_that_cuts_a_stage_goes_on_with_that_stage() -> None:
    voyage = Voyage(names(40), strategy="rolling", subset="50%").start()
    for _ in range(20):
        voyage.confirm().serve(GOOD, GOOD).wait(60)
    assert (voyage.state, len(voyage.assigned)) == (State.PAUSED, 20)
    voyage.tell(Widen("ada", 7_500))
    assert len(voyage.assigned) == 30
    for _ in range(20):
        voyage.confirm().serve(GOOD, GOOD).wait(60)
    assert (voyage.state, len(voyage.assigned)) == (State.PAUSED, 30)
    voyage.tell(Widen("ada", 10_000))
    for _ in range(20):
        voyage.confirm().serve(GOOD).wait(60)
    assert (voyage.state, len(voyage.assigned)) == (State.SUCCEEDED, 40)


def test_only_as_many_devices_as_allowed_are_under_way() -> None:
    voyage = Voyage(names(6), parallel_max=2).start()
    for done in range(0, 6, 2):
        assert len(voyage.assigned) == done + 2
        voyage.confirm()
    assert voyage.state is State.SUCCEEDED


def test_confirmed_without_the_digest_or_its_good_inferences_is_not_success() -> None:
    voyage = Voyage(names(2), trial={"good_inferences_min": 50}).start()
    one, two = voyage.units
    voyage.report(one, running=OLD, good_inferences=1_000)
    voyage.report(two, good_inferences=49)
    assert voyage.in_phase("confirmed") == []
    voyage.report(two, good_inferences=50)
    assert voyage.in_phase("confirmed") == [two]


def test_what_a_device_says_of_another_assignment_says_nothing() -> None:
    voyage = Voyage(names(2)).start()
    unit = voyage.units[0]
    voyage.tell(Observed(unit, b"x" * 32, Phase.IDLE, Outcome.REJECTED, OLD))
    voyage.tell(Observed(unit, None, Phase.IDLE, Outcome.CONFIRMED, NEW, 1_000))
    voyage.tell(Observed("stranger/self", b"x" * 32, Phase.IDLE, Outcome.REJECTED, OLD))
    assert voyage.phase(unit) == "offered"
    assert voyage.state is State.RUNNING


def test_few_offline_devices_do_not_hold_an_early_stage_but_the_last() -> None:
    voyage = Voyage(names(40), strategy="rolling").start()
    asleep = voyage.assigned[0]
    voyage.tell(Presence(asleep, False))
    voyage.confirm(*voyage.assigned[1:]).serve(GOOD, GOOD).wait(300)
    assert len(voyage.assigned) == 40
    voyage.confirm(*voyage.assigned[10:]).serve(GOOD, GOOD).wait(300)
    assert voyage.state is State.RUNNING
    voyage.confirm(asleep).serve(GOOD).wait(300)
    assert voyage.state is State.SUCCEEDED


def test_a_device_that_already_runs_the_bundle_is_not_touched() -> None:
    candidates = [Candidate(unit, CLASS, NEW if unit == "dev-1/self" else OLD) for unit in names(3)]
    rollout = draft("r-1", manifest(), NEW, parse_plan({}), candidates, created_by="ada", now_s=T0)
    assert rollout.members["dev-1/self"].phase.value == "skipped"
    all_there = Voyage(names(3), before=NEW, strategy="rolling").start()
    all_there.wait(300).wait(300)
    assert (all_there.state, all_there.assigned) == (State.SUCCEEDED, [])


def test_a_rollout_in_which_nobody_confirmed_does_not_succeed() -> None:
    voyage = Voyage(names(3), silent_share_max=1.0).start().wait(3_600)
    assert (voyage.state, voyage.rollout.state_reason) == (
        State.PAUSED,
        "no device has confirmed",
    )


def test_memory_above_its_limit_holds_the_stage_and_is_told_once() -> None:
    voyage = Voyage(names(40), strategy="rolling").start().confirm()
    voyage.tell(Memory(voyage.assigned[0], 81, 100))
    for _ in range(10):
        voyage.serve(GOOD, GOOD).wait(60)
    assert voyage.state is State.RUNNING
    assert len(voyage.assigned) == 10
    assert [notice.key for notice in voyage.notices] == [f"memory {CLASS}"]
    voyage.tell(Memory(voyage.assigned[0], 80, 100))
    voyage.serve(GOOD, GOOD).wait(60)
    assert len(voyage.assigned) == 40


def test_an_operator_may_advance_a_stage_and_the_audit_says_who_and_why() -> None:
    voyage = Voyage(names(40), strategy="rolling").start().confirm()
    with pytest.raises(WherryError, match="needs a reason"):
        voyage.tell(Advance("ada", " "))
    voyage.tell(Advance("ada", "no traffic at night"))
    assert len(voyage.assigned) == 40
    done = [effect for effect in voyage.of(Audit) if effect.action == "rollout.stage-done"]
    assert [(effect.who, effect.why) for effect in done] == [
        ("ada", "advanced: no traffic at night")
    ]


def test_every_change_of_the_state_is_audited_with_who_and_why() -> None:
    voyage = Voyage(names(4)).start()
    voyage.tell(Pause("ada", "lunch"))
    voyage.tell(Resume("ada", "back"))
    voyage.confirm()
    voyage.tell(Revert("bob", "worse"))
    voyage.come_back()
    assert voyage.actions == [
        "rollout.approve",
        "rollout.start",
        "rollout.stage",
        "rollout.pause",
        "rollout.resume",
        "rollout.stage-done",
        "rollout.succeed",
        "rollout.revert",
        "rollout.reverted",
    ]


def test_a_class_without_a_budget_is_refused_by_name() -> None:
    with pytest.raises(ContractError, match="no budget for class cortex-m-sim") as refused:
        draft(
            "r-1", manifest(), NEW, parse_plan({}), [Candidate("m/self", "cortex-m-sim")],
            created_by="ada", now_s=T0,
        )  # fmt: skip
    assert refused.value.code is Code.NO_BUDGET


def test_two_rollouts_that_claim_the_same_unit_and_model_are_refused() -> None:
    with pytest.raises(StateError, match="belong to the open rollout r-0 of digits"):
        draft(
            "r-1", manifest(), NEW, parse_plan({}), [Candidate("m/self", CLASS)],
            created_by="ada", now_s=T0, claimed={("m/self", "digits"): "r-0"},
        )  # fmt: skip


def test_the_same_event_twice_changes_nothing_more() -> None:
    voyage = Voyage(names(4)).start()
    voyage.report("dev-0/self")
    once = dict(voyage.parts)
    voyage.report("dev-0/self")
    assert voyage.parts == once
    assert voyage.tell(Tick()) == []


def test_windows_of_other_units_are_the_control_group_and_other_classes_count_for_nothing() -> None:
    voyage = Voyage(names(2), subset="50%").start().confirm()
    for number in range(4):
        voyage.tell(Performance(f"other-{number}/self", CLASS, OLD, GOOD, voyage.now_s))
        voyage.tell(Performance(f"alien-{number}/self", "alien", OLD, GOOD, voyage.now_s))
    arms = {key[:2] for key in voyage.rollout.pools.pools}
    assert arms == {("control", CLASS), ("before", CLASS)}


def test_a_day_of_canary_windows_keeps_a_bounded_number_of_parts() -> None:
    voyage = Voyage(names(40), strategy="canary").start().confirm()
    for _ in range(200):
        voyage.serve(Figures(10, 0, GOOD.sketch), Figures(10, 0, GOOD.sketch)).wait(60)
    pools = [name for name in voyage.parts if name.startswith("pool/")]
    assert len(pools) <= 2 * 32 + 1
    assert voyage.rollout.pools.total(Arm.NEW) == (200 * 2 * 10, 0)


def test_a_first_installation_has_nothing_to_compare_with_unless_latency_is_not_required() -> None:
    strict = Voyage(names(8), before=None, strategy="rolling")
    lenient = Voyage(
        names(8), before=None, strategy="rolling",
        gate={"require": ["errors", "crash", "memory"]},
    )  # fmt: skip
    for voyage in (strict, lenient):
        voyage.history = None
        voyage.start().confirm().serve(GOOD).wait(300)
    assert len(strict.assigned) == 2
    assert "nothing to compare with" in str(waiting_for(strict.rollout, strict.now_s))
    assert len(lenient.assigned) == 8


def test_a_dry_run_shows_which_units_each_stage_would_add() -> None:
    voyage = Voyage(names(12), strategy="rolling")
    first, second = preview(voyage.rollout)
    assert (len(first), len(second)) == (3, 9)
    voyage.start()
    assert voyage.assigned == first
    half = preview(Voyage(names(12), strategy="rolling", subset="50%").rollout)
    assert [len(stage) for stage in half] == [3, 3]


def test_assignments_carry_the_class_budget_as_trial_limits() -> None:
    voyage = Voyage(names(1)).start()
    assign = voyage.of(Assign)[0]
    assert assign.trial.latency_us_mean_max == 120_000
    assert assign.digest == NEW
