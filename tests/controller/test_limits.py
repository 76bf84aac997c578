"""A desired document has bounds; a rollout that would break them passes the unit over."""

from wherry_controller.store import assignments
from wherry_controller.store import rollouts as kept
from wherry_protocol.messages.limits import ASSIGNMENTS_MAX

from tests.controller.world import World


def test_one_model_too_many_is_passed_over_and_the_others_stay(world: World) -> None:
    device = world.enroll("gw1")
    for number in range(ASSIGNMENTS_MAX + 1):
        world.push("1.0.0", model=f"m{number}", program_bytes=640)
        last = world.deploy("1.0.0", model=f"m{number}")
    world.go(3)
    assert len(device.active) == ASSIGNMENTS_MAX
    assert len(assignments.of_unit(world.org.db, "gw1", "self")) == ASSIGNMENTS_MAX
    parts = kept.parts(world.org.db, last)
    assert f"at most {ASSIGNMENTS_MAX} fit" in parts["member/gw1/self"]
