"""The controller dies after each commit and each publication, and the voyage ends the same."""

from pathlib import Path

import pytest
from wherry_controller.core.audit_chain import verify
from wherry_controller.store import assignments, audit, devices, performance
from wherry_controller.store import rollouts as kept

from tests.controller.world import World, make_world

STRIDE = 4  # each test process takes every fourth point, so that they can run side by side


def voyage(folder: Path, crash_at: int | None) -> World:
    """Two versions to two devices; one device reports, again and again until acknowledged."""
    world = make_world(folder)
    world.crash_at = crash_at
    for name in ("gw0", "gw1"):
        world.enroll(name)
        world.receive(world.devices[name].reported())  # as the retained one after a reconnect
    for version in ("1.0.0", "1.1.0"):
        world.push(version, program_bytes=640)
        world.deploy(version)
        world.go(3)
        for device in world.devices.values():  # retained: a restart of the link brings it again
            world.receive(device.reported())
    device = world.devices["gw0"]
    report = device.telemetry(device.performance("digits", inferences=9))
    while device.acked < 1:
        for answer in world.receive(report):
            device.take_ack(answer.payload)
    world.go(2)
    return world


def outcome(world: World) -> dict[str, object]:
    db = world.org.db
    return {
        "versions": world.versions(),
        "rollouts": sorted((row.model, row.state) for row in kept.everyone(db)),
        "assigned": [row.bundle_digest for n in world.devices
                     for row in assignments.of_unit(db, n, "self")],
        "inferences": [row.inferences for row in performance.windows(db)],
        "is_audit_intact": verify(audit.everything(db)).bad_id is None,
        "broker": {topic for topic in world.retained if "/b/" in topic or "desired" in topic},
        "behind": [u.id for u in devices.units(db)
                   if u.revision != world.devices[u.connection].revision],
    }  # fmt: skip


@pytest.mark.parametrize("first", range(STRIDE))
def test_a_crash_after_any_commit_or_publication_changes_nothing(
    tmp_path: Path, first: int
) -> None:
    reference = voyage(tmp_path / "reference", None)
    wanted = outcome(reference)
    reference.org.db.close()
    assert set(wanted["versions"].values()) == {"1.1.0"}  # type: ignore[attr-defined]
    assert reference.step_count > 40
    for point in range(1 + first, reference.step_count + 1, STRIDE):
        world = voyage(tmp_path / str(point), point)
        assert outcome(world) == wanted, f"crash after step {point}"
        world.org.db.close()
