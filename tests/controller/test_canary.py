"""Gates through the whole service: telemetry comes in signed, the rollout core decides on it."""

import pytest
from wherry_controller.core.rollouts import events as told
from wherry_controller.fleet import deploying, rollouts
from wherry_controller.store import assignments, audit
from wherry_controller.store import rollouts as kept

from tests.controller.world import World

GATE = {"requests_min": 500, "interval_s": 5.0, "require": ["errors", "latency"]}
PLAN = {
    "stages": [{"share": "25%", "soak_s": 5.0}, {"share": "100%", "is_gated": False}],
    "trial": {"good_inferences_min": 1, "trial_s_min": 0.0},
}


def canary(world: World, error_rate_max: float = 0.01) -> str:
    """Eight devices on 1.0.0, two of them in the first stage of 1.1.0."""
    for n in range(8):
        world.enroll(f"gw{n}")
    for version in ("1.0.0", "1.1.0"):
        world.push(version, program_bytes=640)
    world.deploy("1.0.0")
    world.go(3)
    plan = PLAN | {"gate": GATE | {"error_rate_max": error_rate_max}}
    order = deploying.Order("digits", "1.1.0", "all", plan, "test", True)
    rollout_id = world.do(lambda org: deploying.create(org, order, "ada", world.now_s))
    world.go(3)
    assert sorted(world.versions().values()).count("1.1.0") == 2
    return rollout_id


def sail(world: World, seconds: int, *, errors: int = 0, latency_ns: int = 1_000_000) -> None:
    """Every device reports once a second; the new version has those figures."""
    for _ in range(seconds):
        for device in world.devices.values():
            is_new = device.active["digits"].version == "1.1.0"
            pack = device.performance(
                "digits",
                inferences=1000,
                errors=errors if is_new else 1,
                latency_ns=latency_ns if is_new else 1_000_000,
                interval_s=1.0,
            )
            world.receive(device.telemetry(pack))
        world.go(1)


def state(world: World, rollout_id: str) -> str:
    return kept.get(world.org.db, rollout_id).state


def test_a_good_version_passes_its_gate_and_reaches_everybody(world: World) -> None:
    rollout_id = canary(world)
    sail(world, 25, errors=1)
    assert state(world, rollout_id) == "succeeded"
    assert set(world.versions().values()) == {"1.1.0"}


def test_twice_a_small_error_rate_is_no_reason_to_revert(world: World) -> None:
    rollout_id = canary(world)
    sail(world, 25, errors=2)
    assert state(world, rollout_id) == "succeeded"


@pytest.mark.parametrize("bad", [{"errors": 900}, {"latency_ns": 100_000_000}])
def test_a_bad_version_is_reverted_and_nobody_else_is_touched(
    world: World, bad: dict[str, int]
) -> None:
    rollout_id = canary(world)
    others = [n for n, version in world.versions().items() if version == "1.0.0"]
    before = {n: world.devices[n].revision for n in others}
    sail(world, 25, **bad)
    assert state(world, rollout_id) == "reverted"
    assert set(world.versions().values()) == {"1.0.0"}
    assert {n: world.devices[n].revision for n in others} == before


def test_a_restart_between_any_two_seconds_does_not_change_the_verdict(world: World) -> None:
    rollout_id = canary(world)
    for _ in range(25):
        sail(world, 1, errors=900)
        world.restart()
    assert state(world, rollout_id) == "reverted"
    assert set(world.versions().values()) == {"1.0.0"}


def test_trouble_on_the_new_version_holds_the_rollout_and_recovery_lets_it_go(
    world: World,
) -> None:
    rollout_id = canary(world, error_rate_max=0.03)
    sail(world, 2, errors=15)
    assert state(world, rollout_id) == "paused"
    sail(world, 25, errors=1)
    assert state(world, rollout_id) == "succeeded"
    assert "rollout.resume" in [row.action for row in audit.everything(world.org.db)]


def test_what_an_operator_paused_stays_paused_whatever_recovers(world: World) -> None:
    rollout_id = canary(world, error_rate_max=0.03)
    pause = told.Pause("ada", "lunch")
    world.do(lambda org: rollouts.tell(org, rollout_id, pause, world.now_s) and None)
    sail(world, 2, errors=15)
    sail(world, 10, errors=1)
    assert state(world, rollout_id) == "paused"


def test_a_version_that_was_reverted_is_remembered_as_bad_where_it_ran(world: World) -> None:
    canary(world)
    sail(world, 25, errors=900)
    ran = [
        name
        for name in world.devices
        if assignments.failure(world.org.db, name, "self", world.push("1.1.0", program_bytes=640))
    ]
    assert len(ran) == 2
