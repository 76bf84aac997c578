"""Rollouts and the way back through the fleet service, with the real rollout core."""

import pytest
from wherry_controller.core.rollouts import events as told
from wherry_controller.fleet import configuring, deploying, rollouts, trustees
from wherry_controller.store import assignments, audit
from wherry_controller.store import rollouts as kept
from wherry_protocol.errors import Code, ContractError, NotFoundError, StateError, WherryError
from wherry_protocol.manifest import Policy
from wherry_protocol.messages.reported import Outcome

from tests.controller.device import FakeDevice
from tests.controller.world import World

NO_GATE = {"is_gated": False}
HALVES = {
    "stages": [{"share": "50%", "soak_s": 5.0, **NO_GATE}, {"share": "100%", **NO_GATE}],
}


def fleet_of(world: World, count: int) -> list[FakeDevice]:
    return [world.enroll(f"gw{n}") for n in range(count)]


def deploy_stages(world: World, version: str, stages: dict[str, object] | None = None) -> str:
    plan = {"trial": {"good_inferences_min": 1, "trial_s_min": 0.0}, **(stages or HALVES)}
    order = deploying.Order("digits", version, "all", plan, "test", True)
    return world.do(lambda org: deploying.create(org, order, "ada", world.now_s))


def roll_back(
    world: World, to: str | None = None, target: str = "all", reason: str = "bad"
) -> dict[str, dict[str, str]]:
    order = deploying.WayBack("digits", target, to, reason, {"trial": {"good_inferences_min": 1,
                              "trial_s_min": 0.0}})  # fmt: skip
    return world.do(lambda org: deploying.roll_back(org, order, "ada", world.now_s))


def state(world: World, rollout_id: str) -> str:
    return kept.get(world.org.db, rollout_id).state


def test_no_device_outside_the_open_stage_is_touched(world: World) -> None:
    fleet_of(world, 4)
    world.push("1.0.0")
    world.deploy("1.0.0")
    world.go(3)
    world.push("1.1.0")
    deploy_stages(world, "1.1.0")
    world.go(3)
    assert sorted(world.versions().values()) == ["1.0.0", "1.0.0", "1.1.0", "1.1.0"]
    world.go(8)
    assert set(world.versions().values()) == {"1.1.0"}


def test_a_restart_after_every_second_changes_nothing(world: World) -> None:
    fleet_of(world, 4)
    world.push("1.0.0")
    rollout_id = deploy_stages(world, "1.0.0")
    for _ in range(12):
        world.go(1)
        world.restart()
    assert state(world, rollout_id) == "succeeded"
    assert len(world.versions()) == 4


def test_a_class_without_a_budget_is_refused_at_deployment(world: World) -> None:
    world.enroll("gw0", hardware_class="linux-arm64")
    world.push("1.0.0")
    with pytest.raises(ContractError, match="linux-arm64") as error:
        world.deploy("1.0.0")
    assert error.value.code is Code.NO_BUDGET
    assert kept.everyone(world.org.db) == []


def test_incompatible_device_an_engine_that_is_not_offered_is_never_sent(world: World) -> None:
    device = world.enroll("gw0", abi=(1, 1))
    world.push("1.0.0", abi=2)
    world.deploy("1.0.0")
    world.go(3)
    assert device.desired is not None
    assert device.desired.assignments == ()


def test_two_rollouts_of_one_model_on_one_unit_are_refused(world: World) -> None:
    fleet_of(world, 2)
    world.push("1.0.0")
    world.push("1.1.0")
    first = deploy_stages(world, "1.0.0")
    with pytest.raises(StateError, match=first):
        world.deploy("1.1.0", "gw0")


def test_a_target_that_selects_nobody_is_refused(world: World) -> None:
    world.push("1.0.0")
    with pytest.raises(WherryError, match="selects no unit"):
        world.deploy("1.0.0", "label:site=oslo")


def test_a_version_that_is_not_there_is_refused(world: World) -> None:
    fleet_of(world, 1)
    with pytest.raises(NotFoundError):
        world.deploy("1.0.0")


def test_a_subset_pauses_and_widening_touches_no_confirmed_device(world: World) -> None:
    fleet_of(world, 4)
    world.push("1.0.0")
    rollout_id = world.deploy("1.0.0", subset="25%")
    world.go(4)
    assert state(world, rollout_id) == "paused"
    [first] = world.versions()
    before = world.devices[first].revision
    widen = told.Widen("ada", 10_000, "looks good")
    world.do(lambda org: rollouts.tell(org, rollout_id, widen, world.now_s) and None)
    world.go(4)
    assert state(world, rollout_id) == "succeeded"
    assert len(world.versions()) == 4
    assert world.devices[first].revision == before


def test_re_download_loop_a_bundle_that_failed_is_not_offered_again(world: World) -> None:
    [device] = fleet_of(world, 1)
    device.verdict, device.verdict_code = Outcome.REJECTED, Code.GOLDEN_MISMATCH
    world.push("1.0.0")
    world.deploy("1.0.0")
    world.go(4)
    assert device.desired is not None
    before = device.desired.revision
    world.deploy("1.0.0")
    world.go(4)
    assert device.desired.revision == before
    failure = assignments.failure(world.org.db, "gw0", "self", world.push("1.0.0"))
    assert failure is not None
    assert failure.code == Code.GOLDEN_MISMATCH


def test_a_deliberate_second_try_is_offered(world: World) -> None:
    [device] = fleet_of(world, 1)
    device.verdict = Outcome.REJECTED
    world.push("1.0.0")
    world.deploy("1.0.0")
    world.go(4)
    device.verdict = Outcome.CONFIRMED
    world.deploy("1.0.0", attempt=1)
    world.go(4)
    assert world.versions() == {"gw0": "1.0.0"}


def test_a_rollout_that_is_reverted_sends_every_swapped_device_back(world: World) -> None:
    fleet_of(world, 4)
    for version in ("1.0.0", "1.1.0"):
        world.push(version)
    world.deploy("1.0.0")
    world.go(3)
    rollout_id = deploy_stages(world, "1.1.0")
    world.go(3)
    revert = told.Revert("ada", "numbers look odd")
    world.do(lambda org: rollouts.tell(org, rollout_id, revert, world.now_s) and None)
    world.go(5)
    assert state(world, rollout_id) == "reverted"
    assert set(world.versions().values()) == {"1.0.0"}


def test_an_operators_rollback_takes_its_units_out_of_the_rollout(world: World) -> None:
    fleet_of(world, 4)
    for version in ("1.0.0", "1.1.0"):
        world.push(version)
    world.deploy("1.0.0")
    world.go(3)
    deploy_stages(world, "1.1.0")
    world.go(3)
    [moved, _] = [n for n, v in world.versions().items() if v == "1.1.0"]
    assert roll_back(world, target=moved)["sent"] == {f"{moved}/self": "1.0.0"}
    world.go(20)
    assert world.versions()[moved] == "1.0.0"


def test_rolling_back_twice_does_not_bring_the_bad_version_back(world: World) -> None:
    fleet_of(world, 1)
    for version in ("1.0.0", "1.1.0"):
        world.push(version)
        world.deploy(version)
        world.go(3)
    roll_back(world)
    world.go(3)
    assert world.versions() == {"gw0": "1.0.0"}
    with pytest.raises(StateError, match=r"previous version 1\.1\.0 is bad"):
        roll_back(world)


def test_a_rollout_that_was_rolled_back_everywhere_spreads_no_more(world: World) -> None:
    fleet_of(world, 4)
    world.push("1.0.0")
    world.deploy("1.0.0")
    world.go(3)
    world.push("1.1.0")
    rollout_id = deploy_stages(world, "1.1.0")
    world.go(3)
    moved = [unit for unit, version in world.versions().items() if version == "1.1.0"]
    assert len(moved) == 2
    roll_back(world, target=",".join(moved))
    world.go(8)
    assert state(world, rollout_id) == "aborted"
    assert set(world.versions().values()) == {"1.0.0"}
    world.push("1.2.0")
    deploy_stages(world, "1.2.0")  # nothing holds the units any more


def test_a_rollback_to_a_version_is_an_older_bundle_under_a_higher_revision(world: World) -> None:
    [device] = fleet_of(world, 1)
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        world.push(version)
        world.deploy(version)
        world.go(3)
    before = device.revision
    assert roll_back(world, "1.0.0")["sent"] == {"gw0/self": "1.0.0"}
    world.go(3)
    assert world.versions() == {"gw0": "1.0.0"}
    assert device.revision > before
    [row] = [r for r in audit.everything(world.org.db) if r.action == "rollback"]
    assert (row.who, row.reason) == ("ada", "bad")


def test_a_rollback_below_the_security_floor_is_refused(world: World) -> None:
    fleet_of(world, 1)
    world.push("1.0.0")
    world.push("1.1.0", floor="1.1.0")
    for version in ("1.0.0", "1.1.0"):
        world.deploy(version)
        world.go(3)
    with pytest.raises(StateError, match="below its security floor"):
        roll_back(world, "1.0.0")


def test_a_rollback_where_there_is_nothing_says_so_per_unit(world: World) -> None:
    fleet_of(world, 1)
    with pytest.raises(StateError, match="it serves no digits"):
        roll_back(world)


def test_a_stop_pauses_rollouts_refuses_new_ones_and_is_told_to_everybody(world: World) -> None:
    fleet_of(world, 4)
    world.push("1.0.0")
    rollout_id = deploy_stages(world, "1.0.0")
    world.go(2)

    def stop(is_stopped: bool) -> None:
        def run(_: object) -> None:
            trustees.stop(world.org, is_stopped, "ada", "smoke", world.now_s)
            if is_stopped:
                rollouts.pause_all(world.org, "ada", "stop: smoke", world.now_s)

        world.do(run)

    stop(True)
    before = world.versions()
    world.go(20)
    assert state(world, rollout_id) == "paused"
    assert world.versions() == before
    assert world.org.topics.stop in world.retained
    with pytest.raises(StateError, match="stopped"):
        world.deploy("1.0.0", "gw0")
    stop(False)
    resume = told.Resume("ada", "all clear")
    world.do(lambda org: rollouts.tell(org, rollout_id, resume, world.now_s) and None)
    world.go(20)
    assert state(world, rollout_id) == "succeeded"


def test_a_stop_needs_a_reason(world: World) -> None:
    with pytest.raises(WherryError, match="reason"):
        world.do(lambda org: trustees.stop(org, True, "ada", " ", world.now_s))


def test_an_isolated_unit_is_told_and_takes_part_in_nothing(world: World) -> None:
    [device, _] = fleet_of(world, 2)
    world.push("1.0.0")
    world.do(lambda org: configuring.isolate(org, "gw0", True, "ada", "odd", world.now_s))
    world.deploy("1.0.0")
    world.go(5)
    assert world.versions() == {"gw1": "1.0.0"}
    assert device.desired is not None
    assert device.desired.is_isolated


def test_the_release_signers_policy_bounds_the_trial(world: World) -> None:
    [device] = fleet_of(world, 1)
    policy = Policy(good_inferences_min=500, trial_s_min=60, error_rate_max=0.01)
    world.push("1.0.0", policy=policy)
    world.deploy("1.0.0")
    world.go(2)
    assert device.desired is not None
    trial = device.desired.assignments[0].trial
    assert (trial.good_inferences_min, trial.trial_s_min) == (500, 60.0)
    assert trial.error_rate_max == 0.01


def test_a_draft_touches_nobody_until_it_is_approved(world: World) -> None:
    fleet_of(world, 1)
    world.push("1.0.0")
    plan = {"trial": {"good_inferences_min": 1, "trial_s_min": 0.0}}
    order = deploying.Order("digits", "1.0.0", "all", plan, "", False)
    rollout_id = world.do(lambda org: deploying.create(org, order, "ada", world.now_s))
    world.go(5)
    assert (state(world, rollout_id), world.versions()) == ("draft", {})
    world.do(lambda org: deploying.start(org, rollout_id, "eve", "checked", world.now_s))
    world.go(5)
    assert state(world, rollout_id) == "succeeded"


def test_a_refused_command_changes_neither_memory_nor_store(world: World) -> None:
    fleet_of(world, 1)
    world.push("1.0.0")
    rollout_id = world.deploy("1.0.0")
    world.go(3)
    before = kept.parts(world.org.db, rollout_id)
    with pytest.raises(StateError):
        world.do(lambda org: rollouts.tell(org, rollout_id, told.Pause("ada", "late"), world.now_s))
    world.go(1)
    assert kept.parts(world.org.db, rollout_id) == before
