"""The store: migrations, refusals, and what its tables guarantee by themselves."""

import json
import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database
from wherry_controller import store
from wherry_controller.core.alerts import Alert
from wherry_controller.store import alerts, groups, meta, operators, outbox, registry, rows
from wherry_controller.store.deliveries import Delivery
from wherry_controller.store.rows import scalar
from wherry_controller.store.schema import (
    MIGRATIONS,
    SCHEMA_VERSION,
    migrate,
    self_test_by_itself,
    versions_have_a_life,
    who_was_told_of_is_known,
)
from wherry_protocol.errors import StateError
from wherry_protocol.manifest import Evaluation, Provenance

from tests.controller.made import make_bundle
from tests.controller.world import World


def test_a_new_database_is_durable_and_at_the_newest_schema(tmp_path: Path) -> None:
    db = store.open_writer(tmp_path / "x.db")
    assert scalar(db, "PRAGMA user_version") == SCHEMA_VERSION
    assert scalar(db, "PRAGMA journal_mode") == "wal"
    assert scalar(db, "PRAGMA synchronous") == 2
    db.close()


def test_a_database_of_a_newer_version_is_refused_by_name(tmp_path: Path) -> None:
    db = store.open_writer(tmp_path / "x.db")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(StateError, match=f"schema {SCHEMA_VERSION + 1}"):
        store.open_writer(tmp_path / "x.db")


def test_versions_of_an_older_database_get_stage_accuracy_and_training_date() -> None:
    before = MIGRATIONS.index(versions_have_a_life)
    db = Database(memory=True)
    for migration in MIGRATIONS[:before]:
        migration(db)
    db.execute(f"PRAGMA user_version = {before}")
    for version, records in (("1.0.0", (0.9, 0.8)), ("1.1.0", ())):
        evaluations = tuple(
            Evaluation(dataset="x", sample_count=1, accuracy=accuracy) for accuracy in records
        )
        bundle = make_bundle([], version, evaluations=evaluations,
                             provenance=Provenance(trained_at_s=7))  # fmt: skip
        db.execute(
            "INSERT INTO bundles VALUES (?, 'digits', ?, 1, 0, 0, ?, x'', x'', 1, 0.0, 'ada')",
            (bundle.digest, version, bundle.manifest_bytes),
        )
    migrate(db)
    found = [(r.stage, r.pinned_by, r.accuracy, r.trained_s) for r in registry.bundles(db)]
    assert sorted(found, key=str) == [
        ("development", "", 0.8, 7), ("development", "", None, 7),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("states", "tested"),
    [
        (("delivered", "delivered"), {"alert": 3, "at_s": 8.0, "has_arrived": True}),
        (("delivered", "dead"), {"alert": 3, "at_s": 8.0, "has_arrived": False}),
        ((), {"alert": 3, "at_s": 8.0, "has_arrived": False}),
        (None, {}),  # its alert was pruned already
    ],
)
def test_the_self_test_of_an_older_database_is_taken_over(
    states: tuple[str, ...] | None, tested: dict[str, object]
) -> None:
    db = Database(memory=True)
    before = MIGRATIONS.index(self_test_by_itself)
    for migration in MIGRATIONS[:before]:
        migration(db)
    db.execute(f"PRAGMA user_version = {before}")
    meta.put(db, "alerts.self_test", "3")
    for state in states or ():
        row = Delivery(None, "r", "alert.raised", 3, "", "{}", state, 1, 8.0, 8.0)
        rows.put(db, "deliveries", row)
    if states is not None:
        alerts.put(db, Alert(3, "", "x", "self_test", "warning", "resolved", "", "", "", 1, 8.0,
                             8.0))  # fmt: skip
    migrate(db)
    assert json.loads(meta.get(db, "alerts.self_test", "{}")) == tested


def test_who_was_tried_before_was_told_of_and_is_tried_together_again() -> None:
    db = Database(memory=True)
    before = MIGRATIONS.index(who_was_told_of_is_known)
    for migration in MIGRATIONS[:before]:
        migration(db)
    db.execute(f"PRAGMA user_version = {before}")
    for unit, tries in (("a/self", 0), ("b/self", 9)):
        db.execute("INSERT INTO group_owed VALUES ('labs', 'digits', ?, ?)", (unit, tries))
    migrate(db)
    found = [(row.unit, row.tries, row.is_told) for row in groups.owed(db, "labs", "digits")]
    assert found == [("a/self", 0, 0), ("b/self", 0, 1)]


def test_opening_again_keeps_what_was_written(tmp_path: Path) -> None:
    db = store.open_writer(tmp_path / "x.db")
    meta.put(db, "a", "1")
    db.close()
    again = store.open_writer(tmp_path / "x.db")
    assert meta.get(again, "a") == "1"
    again.close()


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    store.open_writer(tmp_path / "x.db").close()
    reader = store.open_reader(tmp_path / "x.db")
    with pytest.raises(sqlite3.OperationalError):
        meta.put(reader, "a", "1")
    reader.close()


def test_versions_are_ordered_as_numbers(world: World) -> None:
    for version in ("1.10.0", "1.9.0", "10.0.0", "9.0.0"):
        world.push(version, program_bytes=640)
    found = [row.version for row in registry.bundles(world.org.db, "digits")]
    assert found == ["1.9.0", "1.10.0", "9.0.0", "10.0.0"]


def test_a_failed_transaction_leaves_nothing_behind(world: World) -> None:
    def fail(_: object) -> None:
        meta.put(world.org.db, "half", "done")
        raise ValueError("stop here")

    with pytest.raises(ValueError, match="stop here"):
        world.do(fail)
    assert meta.get(world.org.db, "half") == ""


def test_a_newer_payload_supersedes_one_that_is_due(world: World) -> None:
    db = world.org.db
    world.publish()
    outbox.queue(db, "t", b"old", outbox.Priority.DESIRED, 1.0)
    outbox.queue(db, "t", b"new", outbox.Priority.DESIRED, 2.0)
    [row] = outbox.due(db, 10)
    assert (row.payload, row.version) == (b"new", 2)


def test_an_acknowledgement_of_an_older_version_leaves_the_newer_one_due(world: World) -> None:
    db = world.org.db
    world.publish()
    outbox.queue(db, "t", b"old", outbox.Priority.DESIRED, 1.0)
    [sent] = outbox.due(db, 10)
    outbox.queue(db, "t", b"new", outbox.Priority.DESIRED, 2.0)
    outbox.mark_sent(db, "t", sent.version)
    assert [row.payload for row in outbox.due(db, 10)] == [b"new"]


def test_no_token_is_stored_in_the_clear(world: World) -> None:
    token = (world.folder / "operator.token").read_text().strip()
    content = (world.folder / "wherry.db").read_bytes()
    assert token.encode() not in content
    [admin] = operators.everyone(world.org.db)
    assert len(admin.token_hash) == 32
