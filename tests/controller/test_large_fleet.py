"""What comes with every second must not cost what the fleet is large."""

from pathlib import Path

from wherry_controller.core.rollouts import State
from wherry_controller.fleet import rollouts

from tests.controller.world import World, make_world

PATIENCE_S = 600.0


def _statements(world: World, seconds: int = 1) -> list[str]:
    """What the store was asked while this time passed, second by second."""
    said: list[str] = []
    world.org.db.conn.set_trace_callback(said.append)
    for _ in range(seconds):
        world.now_s += 1
        world.fleet.tick(world.now_s)
    world.org.db.conn.set_trace_callback(None)
    return said


def _deployed(folder: Path) -> tuple[World, str]:
    world = make_world(folder)
    for name in ("gw1", "gw2"):
        world.enroll(name)
    world.fleet.link_changed(True, True, world.now_s)
    world.push("1.0.0")
    return world, world.deploy("1.0.0", silent_after_s=PATIENCE_S)


def _counts(said: list[str]) -> list[str]:
    return [one for one in said if "FROM units u" in one and "NOT EXISTS" in one]


def test_the_control_group_is_not_counted_while_nobody_can_be_silent(tmp_path) -> None:
    world, _ = _deployed(tmp_path)
    assert not _counts(_statements(world, 30))


def test_the_control_group_is_counted_before_a_deadline_and_every_ten_seconds_then(tmp_path):
    world, rollout_id = _deployed(tmp_path)
    world.now_s += PATIENCE_S - 5
    said = _counts(_statements(world, 30))
    assert 2 <= len(said) <= 4
    rollout = rollouts.load(world.org, rollout_id)
    assert rollout.progress.control_units == 2
    assert rollout.state in (State.PAUSED, State.REVERTING, State.REVERTED)


def test_who_is_to_be_renewed_is_found_by_an_index(tmp_path) -> None:
    world, _ = _deployed(tmp_path)
    (asked,) = [one for one in _statements(world) if "issued_s <" in one]
    plan = world.org.db.execute(f"EXPLAIN QUERY PLAN {asked}").fetchall()
    assert "units_by_issue" in str(plan)
    assert "SCAN" not in str(plan)


def test_only_those_who_are_away_are_told_to_a_rollout_that_starts(tmp_path) -> None:
    world = make_world(tmp_path)
    for name in ("gw1", "gw2", "gw3"):
        world.enroll(name)
    world.receive(world.devices["gw2"].presence(is_online=False))
    world.push("1.0.0")
    rollout = rollouts.load(world.org, world.deploy("1.0.0", silent_after_s=PATIENCE_S))
    away = [unit for unit, member in rollout.members.items() if not member.is_online]
    assert away == ["gw2/self"]
