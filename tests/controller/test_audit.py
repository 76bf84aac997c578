"""The audit log: complete, chained, and honest about the first row that does not fit."""

import pytest
from wherry_controller.core.audit_chain import Verdict, verify
from wherry_controller.fleet import Organization
from wherry_controller.store import audit

from tests.controller.world import START_S, World


def verdict(world: World) -> Verdict:
    return verify(audit.everything(world.org.db))


def fill(world: World, count: int = 5) -> None:
    def run(org: Organization) -> None:
        for number in range(count):
            org.record(START_S, "ada", "test", str(number), "why", n=number)

    world.do(run)


def test_an_untouched_log_is_intact(world: World) -> None:
    before = verdict(world).count
    fill(world)
    found = verdict(world)
    assert (found.bad_id, found.count) == (None, before + 5)


@pytest.mark.parametrize("column", ["who", "action", "subject", "reason", "details"])
def test_audit_tampering_attack_an_edited_column_names_its_row(world: World, column: str) -> None:
    fill(world)
    world.org.db.execute(f"UPDATE audit SET {column} = 'x' WHERE id = 4")
    assert verdict(world).bad_id == 4


def test_audit_tampering_attack_an_edited_time_names_its_row(world: World) -> None:
    fill(world)
    world.org.db.execute("UPDATE audit SET at_s = at_s + 0.001 WHERE id = 3")
    assert verdict(world).bad_id == 3


def test_audit_tampering_attack_a_dropped_row_is_named(world: World) -> None:
    fill(world)
    world.org.db.execute("DELETE FROM audit WHERE id = 3")
    found = verdict(world)
    assert found.bad_id == 4
    assert "row 3 is missing" in found.problem


def test_audit_tampering_attack_a_row_written_anew_breaks_the_next_one(world: World) -> None:
    fill(world)
    [row] = [r for r in audit.everything(world.org.db) if r.id == 4]
    from dataclasses import replace

    from wherry_controller.core.audit_chain import link

    forged = link(replace(row, reason="another"))
    world.org.db.execute(
        "UPDATE audit SET reason = ?, hash = ? WHERE id = 4", (forged.reason, forged.hash)
    )
    assert verdict(world).bad_id == 5


def test_rows_cut_off_the_end_show_in_count_and_last_hash(world: World) -> None:
    fill(world)
    before = verdict(world)
    world.org.db.execute("DELETE FROM audit WHERE id = (SELECT max(id) FROM audit)")
    after = verdict(world)
    assert after.bad_id is None
    assert (after.count, after.last_hash) != (before.count, before.last_hash)


def test_every_change_of_a_voyage_is_in_the_log_with_who_and_why(world: World) -> None:
    world.enroll("gw1")
    world.push("1.0.0")
    world.deploy("1.0.0")
    world.go(3)
    actions = [row.action for row in audit.everything(world.org.db)]
    assert actions == [
        "organization.found",
        "operator.add",
        "device.enroll",
        "bundle.push",
        "rollout.create",
        "rollout.approve",
        "rollout.start",
        "rollout.stage",
        "rollout.stage-done",
        *[action for action in actions[9:] if action.startswith("rollout.")],
    ]
    assert "rollout.finished" in actions
    created = next(r for r in audit.everything(world.org.db) if r.action == "rollout.create")
    assert (created.who, created.reason) == ("ada", "test")
