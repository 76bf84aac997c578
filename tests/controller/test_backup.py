"""Backup and restore: whole, checked before use, and safe against devices that are ahead."""

from pathlib import Path

import pytest
from wherry_controller import backup, doctor, settings
from wherry_controller.layout import DataDir
from wherry_controller.store import audit, outbox, registry
from wherry_protocol.errors import DecodeError, NotFoundError, StateError

from tests.controller.world import World, open_fleet


def made(world: World, tmp_path: Path) -> Path:
    return backup.make(DataDir(world.folder), tmp_path / "backups", world.now_s)


def test_a_restored_organization_goes_on_and_sends_higher_revisions(
    world: World, tmp_path: Path
) -> None:
    device = world.enroll("gw1")
    world.push("1.0.0")
    saved = made(world, tmp_path)
    world.deploy("1.0.0")
    world.go(3)
    ahead = device.revision
    backup.restore(saved, DataDir(tmp_path / "new"), world.now_s, "ada")
    world.org.db.close()
    world.fleet = open_fleet(tmp_path / "new", world.now_s)
    assert world.org.topics.report in [row.topic for row in outbox.due(world.org.db, 100)]
    world.receive(device.reported())
    world.deploy("1.0.0", attempt=1)
    world.go(3)
    assert device.revision > ahead
    assert world.versions() == {"gw1": "1.0.0"}
    assert "restore" in [row.action for row in audit.everything(world.org.db)]
    assert registry.version(world.org.db, "digits", "1.0.0")


def test_a_backup_holds_no_offline_key(world: World, tmp_path: Path) -> None:
    saved = made(world, tmp_path)
    assert not list(saved.rglob("root-*.pem"))
    assert not list(saved.rglob("release-*.pem"))
    assert list(saved.rglob("director.pem"))


@pytest.mark.parametrize("part", ["wherry.db", "keys/director.pem", "wherry.toml"])
def test_a_damaged_backup_is_refused_before_it_is_used(
    world: World, tmp_path: Path, part: str
) -> None:
    saved = made(world, tmp_path)
    path = saved / part
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DecodeError, match="changed or damaged"):
        backup.restore(saved, DataDir(tmp_path / "new"), world.now_s, "ada")
    assert not (tmp_path / "new").exists()


def test_an_incomplete_backup_is_no_backup(world: World, tmp_path: Path) -> None:
    saved = made(world, tmp_path)
    (saved / backup.DONE).unlink()
    with pytest.raises(NotFoundError, match="not a complete backup"):
        backup.check(saved)


def test_nothing_is_overwritten_by_a_restore(world: World, tmp_path: Path) -> None:
    saved = made(world, tmp_path)
    with pytest.raises(StateError, match="empty folder"):
        backup.restore(saved, DataDir(world.folder), world.now_s, "ada")


def test_the_doctor_finds_missing_blobs_and_a_broken_audit_log(world: World) -> None:
    data = DataDir(world.folder)
    digest = world.push("1.0.0")
    world.org.vault.path(digest).unlink()
    world.org.db.execute("UPDATE audit SET who = 'eve' WHERE id = 2")
    found = {f.name: f for f in doctor.run(data, settings.load(data.settings), world.now_s)}
    assert not found["vault"].passed
    assert digest.hex() in found["vault"].text
    assert not found["audit"].passed
    assert "row 2" in found["audit"].text


def test_the_doctor_reads_the_brokers_limits(world: World) -> None:
    data = DataDir(world.folder)
    path = data.broker / "mosquitto.conf"
    checked = doctor.run(data, settings.load(data.settings), world.now_s)
    assert all(f.passed for f in checked if f.name.startswith("broker"))
    path.write_text(path.read_text().replace("max_queued_messages 1000000", ""))
    found = {f.name: f for f in doctor.run(data, settings.load(data.settings), world.now_s)}
    assert not found["broker max_queued_messages"].passed
