"""A whole voyage through the fleet service in virtual time."""

from wherry_controller.store import rollouts as kept

from tests.controller.world import World


def rollout_state(world: World) -> str:
    return kept.everyone(world.org.db)[0].state


def test_a_direct_deployment_reaches_every_device_and_is_proved(world: World) -> None:
    for n in range(3):
        world.enroll(f"gw{n}")
    world.push("1.0.0")
    world.deploy("1.0.0")
    world.go(5)
    assert world.versions() == {"gw0": "1.0.0", "gw1": "1.0.0", "gw2": "1.0.0"}
    assert rollout_state(world) == "succeeded"
