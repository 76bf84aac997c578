"""The standing guard through the service: it watches what arrives and acts on its own."""

from wherry_controller.store import assignments, audit
from wherry_controller.store import rollouts as kept

from tests.controller.device import FakeDevice
from tests.controller.world import World


def serving_second_version(world: World) -> FakeDevice:
    device = world.enroll("gw1")
    for version in ("1.0.0", "1.1.0"):
        world.push(version)
        world.deploy(version)
        world.go(3)
    return device


def report(world: World, device: FakeDevice, minutes: int, errors: int, **more: float) -> None:
    for _ in range(minutes):
        world.now_s += 60
        pack = device.performance("digits", inferences=1000, errors=errors, **more)  # type: ignore[arg-type]
        world.receive(device.telemetry(pack))


def test_errors_above_the_limit_for_two_minutes_put_the_former_version_back(world: World) -> None:
    device = serving_second_version(world)
    report(world, device, 1, errors=200)
    world.go(3)
    assert world.versions() == {"gw1": "1.1.0"}
    report(world, device, 2, errors=200)
    world.go(3)
    assert world.versions() == {"gw1": "1.0.0"}
    row = assignments.find(world.org.db, "gw1", "self", "digits")
    assert row is not None
    assert row.owner == "guard"
    assert "guard.rollback" in [r.action for r in audit.everything(world.org.db)]


def test_errors_below_the_limit_alert_and_put_nothing_back(world: World) -> None:
    device = serving_second_version(world)
    report(world, device, 5, errors=80)
    world.go(3)
    assert world.versions() == {"gw1": "1.1.0"}
    texts = [notice.text for notice in kept.notices(world.org.db, 100) if "error" in notice.text]
    assert len(texts) == 1


def test_energy_from_a_data_sheet_never_puts_a_version_back(world: World) -> None:
    device = serving_second_version(world)
    world.now_s += 60
    pack = device.performance("digits", energy_j=1.0, energy_source="modelled:datasheet")
    world.receive(device.telemetry(pack))
    world.go(3)
    assert world.versions() == {"gw1": "1.1.0"}


def test_measured_energy_over_the_budget_puts_the_former_version_back(world: World) -> None:
    device = serving_second_version(world)
    world.now_s += 60
    pack = device.performance("digits", energy_j=1.0, energy_source="measured:hwmon")
    world.receive(device.telemetry(pack))
    world.go(3)
    assert world.versions() == {"gw1": "1.0.0"}


def test_the_guard_remembers_its_streak_across_a_restart(world: World) -> None:
    device = serving_second_version(world)
    report(world, device, 1, errors=200)
    world.restart()
    report(world, device, 2, errors=200)
    world.go(3)
    assert world.versions() == {"gw1": "1.0.0"}
