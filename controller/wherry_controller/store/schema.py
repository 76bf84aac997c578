"""The schema and its migrations: short plain functions, applied in order, each in a transaction.

`PRAGMA user_version` counts the applied ones. Tables are STRICT, so that a column holds what it
says. Times are Unix seconds (`_s`), digests and keys raw bytes.
"""

import json
import re
from collections.abc import Callable
from typing import Final

from sqlite_utils import Database
from wherry_protocol.codec import decode
from wherry_protocol.errors import Code, StateError
from wherry_protocol.manifest import Manifest

from wherry_controller.core.registry.gates import accuracy_of
from wherry_controller.store.rows import scalar

_FLEET: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE operators (
    name TEXT PRIMARY KEY, role TEXT NOT NULL, token_hash BLOB NOT NULL UNIQUE,
    created_s REAL NOT NULL, is_disabled INTEGER NOT NULL DEFAULT 0) STRICT;

CREATE TABLE classes (
    name TEXT PRIMARY KEY, document BLOB NOT NULL, updated_s REAL NOT NULL) STRICT;

CREATE TABLE connections (
    name TEXT PRIMARY KEY, signing_key BLOB NOT NULL UNIQUE, agreement_key BLOB NOT NULL,
    labels TEXT NOT NULL, username TEXT NOT NULL, login_hash TEXT NOT NULL,
    enrolled_s REAL NOT NULL, enrolled_by TEXT NOT NULL, is_revoked INTEGER NOT NULL DEFAULT 0,
    is_online INTEGER NOT NULL DEFAULT 0, connection_number INTEGER NOT NULL DEFAULT 0,
    presence_s REAL) STRICT;

CREATE TABLE units (
    connection TEXT NOT NULL REFERENCES connections(name), unit TEXT NOT NULL,
    hardware_class TEXT NOT NULL, is_isolated INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 0, epoch INTEGER NOT NULL DEFAULT 0,
    issued_s REAL, expires_s REAL,
    performance_s INTEGER NOT NULL DEFAULT 60, resources_s INTEGER NOT NULL DEFAULT 30,
    json_mirror INTEGER NOT NULL DEFAULT 0, chunk_window INTEGER NOT NULL DEFAULT 8,
    seen_s REAL, boot_count INTEGER NOT NULL DEFAULT 0, sequence INTEGER NOT NULL DEFAULT 0,
    reported_revision INTEGER NOT NULL DEFAULT 0, agent_version TEXT NOT NULL DEFAULT '',
    abi_min INTEGER, abi_max INTEGER, protocol_min INTEGER, protocol_max INTEGER,
    refusal TEXT NOT NULL DEFAULT '', refusal_code INTEGER NOT NULL DEFAULT 0,
    storage_free_bytes INTEGER, stop_sequence INTEGER NOT NULL DEFAULT 0,
    reports_dropped INTEGER NOT NULL DEFAULT 0, is_trust_stale INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (connection, unit)) STRICT, WITHOUT ROWID;
CREATE INDEX units_by_expiry ON units (expires_s);

CREATE TABLE unit_models (
    connection TEXT NOT NULL, unit TEXT NOT NULL, model TEXT NOT NULL,
    phase INTEGER NOT NULL, outcome INTEGER NOT NULL, assignment_id BLOB,
    active_digest BLOB, active_version TEXT, previous_digest BLOB, previous_version TEXT,
    candidate_digest BLOB, candidate_version TEXT, code INTEGER NOT NULL, reason TEXT NOT NULL,
    progress_permille INTEGER NOT NULL, good_inferences INTEGER NOT NULL,
    start_count INTEGER NOT NULL, updated_s REAL NOT NULL,
    PRIMARY KEY (connection, unit, model)) STRICT, WITHOUT ROWID;

CREATE TABLE assignments (
    connection TEXT NOT NULL, unit TEXT NOT NULL, model TEXT NOT NULL,
    assignment_id BLOB NOT NULL, bundle_digest BLOB NOT NULL, document BLOB NOT NULL,
    owner TEXT NOT NULL, rollout TEXT NOT NULL DEFAULT '', attempt INTEGER NOT NULL,
    assigned_s REAL NOT NULL,
    PRIMARY KEY (connection, unit, model)) STRICT, WITHOUT ROWID;
CREATE INDEX assignments_by_rollout ON assignments (rollout);
CREATE INDEX assignments_by_bundle ON assignments (bundle_digest);

CREATE TABLE failures (
    connection TEXT NOT NULL, unit TEXT NOT NULL, bundle_digest BLOB NOT NULL,
    code INTEGER NOT NULL, reason TEXT NOT NULL, failed_s REAL NOT NULL,
    PRIMARY KEY (connection, unit, bundle_digest)) STRICT, WITHOUT ROWID;
"""

_BUNDLES: Final = """
CREATE TABLE bundles (
    digest BLOB PRIMARY KEY, model TEXT NOT NULL, version TEXT NOT NULL,
    major INTEGER NOT NULL, minor INTEGER NOT NULL, patch INTEGER NOT NULL,
    manifest BLOB NOT NULL, signatures BLOB NOT NULL, image_signatures BLOB NOT NULL,
    size_bytes INTEGER NOT NULL, pushed_s REAL NOT NULL, pushed_by TEXT NOT NULL,
    UNIQUE (model, version)) STRICT;

CREATE TABLE blobs (
    digest BLOB PRIMARY KEY, size_bytes INTEGER NOT NULL, sealed_key BLOB NOT NULL) STRICT;

CREATE TABLE bundle_blobs (
    bundle_digest BLOB NOT NULL REFERENCES bundles(digest), ordinal INTEGER NOT NULL,
    blob_digest BLOB NOT NULL REFERENCES blobs(digest),
    PRIMARY KEY (bundle_digest, ordinal)) STRICT, WITHOUT ROWID;

CREATE TABLE chunks (
    digest BLOB NOT NULL REFERENCES blobs(digest), chunk_index INTEGER NOT NULL,
    requested_s REAL NOT NULL, expires_s REAL NOT NULL,
    PRIMARY KEY (digest, chunk_index)) STRICT, WITHOUT ROWID;
CREATE INDEX chunks_by_expiry ON chunks (expires_s);

CREATE TABLE rollouts (
    id TEXT PRIMARY KEY, model TEXT NOT NULL, bundle_digest BLOB NOT NULL,
    state TEXT NOT NULL, is_open INTEGER NOT NULL,
    created_s REAL NOT NULL, updated_s REAL NOT NULL) STRICT;
CREATE INDEX rollouts_open ON rollouts (is_open);

CREATE TABLE rollout_parts (
    rollout TEXT NOT NULL REFERENCES rollouts(id), part TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (rollout, part)) STRICT, WITHOUT ROWID;

CREATE TABLE notices (
    id INTEGER PRIMARY KEY, at_s REAL NOT NULL, severity TEXT NOT NULL, topic TEXT NOT NULL,
    rollout TEXT NOT NULL, text TEXT NOT NULL) STRICT;

CREATE TABLE outbox (
    topic TEXT PRIMARY KEY, payload BLOB, chunk_digest BLOB, chunk_index INTEGER,
    is_retained INTEGER NOT NULL, priority INTEGER NOT NULL, version INTEGER NOT NULL,
    sent_version INTEGER NOT NULL DEFAULT 0, queued_s REAL NOT NULL) STRICT;
CREATE INDEX outbox_due ON outbox (priority, queued_s) WHERE sent_version < version;
"""

_OBSERVED: Final = """
CREATE TABLE spools (
    connection TEXT NOT NULL, boot_id BLOB NOT NULL, contiguous INTEGER NOT NULL,
    ahead TEXT NOT NULL, updated_s REAL NOT NULL,
    PRIMARY KEY (connection, boot_id)) STRICT, WITHOUT ROWID;

CREATE TABLE performance (
    connection TEXT NOT NULL, unit TEXT NOT NULL, model TEXT NOT NULL, digest BLOB NOT NULL,
    slot TEXT NOT NULL, window_s INTEGER NOT NULL, version TEXT NOT NULL,
    inferences INTEGER NOT NULL, errors INTEGER NOT NULL, errors_engine INTEGER NOT NULL,
    errors_deadline INTEGER NOT NULL, errors_range INTEGER NOT NULL, refused INTEGER NOT NULL,
    latency_count INTEGER NOT NULL, latency_sum_ns INTEGER NOT NULL, sketch BLOB NOT NULL,
    energy_count INTEGER NOT NULL, energy_sum_uj REAL NOT NULL, energy_source TEXT NOT NULL,
    energy_uncertainty REAL, power_mw REAL, reports INTEGER NOT NULL,
    PRIMARY KEY (connection, unit, model, digest, slot, window_s)) STRICT, WITHOUT ROWID;
CREATE INDEX performance_by_window ON performance (window_s);

CREATE TABLE resources (
    connection TEXT NOT NULL, unit TEXT NOT NULL, received_s REAL NOT NULL,
    document TEXT NOT NULL, PRIMARY KEY (connection, unit)) STRICT, WITHOUT ROWID;

CREATE TABLE reports (
    id INTEGER PRIMARY KEY, connection TEXT NOT NULL, unit TEXT NOT NULL, received_s REAL NOT NULL,
    time_s INTEGER, payload BLOB NOT NULL) STRICT;
CREATE INDEX reports_by_unit ON reports (connection, unit, id);

CREATE TABLE events (
    id INTEGER PRIMARY KEY, connection TEXT NOT NULL, unit TEXT NOT NULL,
    received_s REAL NOT NULL, time_s INTEGER, kind INTEGER NOT NULL, severity INTEGER NOT NULL,
    code INTEGER NOT NULL, text TEXT NOT NULL, model TEXT, digest BLOB,
    suppressed INTEGER NOT NULL, fields TEXT NOT NULL) STRICT;
CREATE INDEX events_by_unit ON events (connection, unit, id);

CREATE TABLE questions (
    id BLOB PRIMARY KEY, connection TEXT NOT NULL, unit TEXT NOT NULL, verb INTEGER NOT NULL,
    asked_s REAL NOT NULL, expires_s REAL NOT NULL, answered_s REAL, code INTEGER, text TEXT,
    body BLOB) STRICT;

CREATE TABLE guard (
    connection TEXT NOT NULL, unit TEXT NOT NULL, model TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (connection, unit, model)) STRICT, WITHOUT ROWID;

CREATE TABLE dropped (
    reason TEXT PRIMARY KEY, count INTEGER NOT NULL, last_s REAL NOT NULL,
    last_text TEXT NOT NULL) STRICT;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY, at_s REAL NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL,
    subject TEXT NOT NULL, reason TEXT NOT NULL, details TEXT NOT NULL,
    previous_hash BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
"""


_ALERTS: Final = """
CREATE TABLE alerts (
    id INTEGER PRIMARY KEY, rollout TEXT NOT NULL, topic TEXT NOT NULL, cause TEXT NOT NULL,
    severity TEXT NOT NULL, state TEXT NOT NULL, unit TEXT NOT NULL, model TEXT NOT NULL,
    text TEXT NOT NULL, count INTEGER NOT NULL, first_s REAL NOT NULL, last_s REAL NOT NULL,
    good_since_s REAL, acknowledged_by TEXT NOT NULL, acknowledged_s REAL,
    resolved_by TEXT NOT NULL, resolved_s REAL, reason TEXT NOT NULL) STRICT;
CREATE UNIQUE INDEX alerts_unresolved ON alerts (rollout, topic) WHERE state <> 'resolved';

CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY, route TEXT NOT NULL, kind TEXT NOT NULL, alert INTEGER,
    rollout TEXT NOT NULL, payload TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,
    queued_s REAL NOT NULL, due_s REAL NOT NULL, ended_s REAL, text TEXT NOT NULL) STRICT;
CREATE INDEX deliveries_waiting ON deliveries (route, due_s) WHERE state = 'waiting';
CREATE INDEX deliveries_by_rollout ON deliveries (rollout, kind) WHERE rollout <> '';

CREATE TABLE attempts (
    delivery INTEGER NOT NULL, number INTEGER NOT NULL, at_s REAL NOT NULL,
    ended_s REAL, is_delivered INTEGER, text TEXT NOT NULL,
    PRIMARY KEY (delivery, number)) STRICT, WITHOUT ROWID;

CREATE TABLE escalations (
    alert INTEGER NOT NULL, route TEXT NOT NULL, due_s REAL NOT NULL,
    PRIMARY KEY (alert, route)) STRICT, WITHOUT ROWID;

INSERT INTO meta (name, value)
    SELECT 'alerts.notice_id', CAST(coalesce(max(id), 0) AS TEXT) FROM notices;
INSERT INTO meta (name, value)
    SELECT 'alerts.audit_id', CAST(coalesce(max(id), 0) AS TEXT) FROM audit
"""


def first_schema(db: Database) -> None:
    for script in (_FLEET, _BUNDLES, _OBSERVED):
        for statement in script.split(";"):
            if statement.strip():
                db.execute(statement)


def guard_in_columns(db: Database) -> None:
    """Silence is looked for among the silent, not among everybody; streaks begin anew."""
    db.execute("DROP TABLE guard")
    db.execute(
        "CREATE TABLE guard (connection TEXT NOT NULL, unit TEXT NOT NULL, model TEXT NOT NULL, "
        "digest BLOB NOT NULL, levels TEXT NOT NULL, bad_s REAL NOT NULL, bad_until_s REAL, "
        "heard_link_s REAL, rolled_back BLOB, "
        "PRIMARY KEY (connection, unit, model)) STRICT, WITHOUT ROWID"
    )


def units_by_issue(db: Database) -> None:
    """Who is to be renewed is asked every second; nobody ever asked by expiry."""
    db.execute("DROP INDEX units_by_expiry")
    db.execute("CREATE INDEX units_by_issue ON units (issued_s)")


def releases(db: Database) -> None:
    """What a unit may unload after a decommission."""
    db.execute(
        "CREATE TABLE releases (connection TEXT NOT NULL, unit TEXT NOT NULL, "
        "model TEXT NOT NULL, digest BLOB NOT NULL, is_purged INTEGER NOT NULL, "
        "PRIMARY KEY (connection, unit, model)) STRICT, WITHOUT ROWID"
    )


def alerts_and_deliveries(db: Database) -> None:
    """Notices become alerts with a state; what people are told is kept until it has arrived."""
    for column in ("cause", "unit", "model"):
        db.execute(f"ALTER TABLE notices ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
    db.execute("ALTER TABLE notices ADD COLUMN is_recovery INTEGER NOT NULL DEFAULT 0")
    for statement in _ALERTS.split(";"):
        if statement.strip():
            db.execute(statement)


def rollout_papers(db: Database) -> None:
    """What a rollout carries beside its plan: what held before it started."""
    db.execute(
        "CREATE TABLE papers (rollout TEXT PRIMARY KEY, "
        "is_emergency INTEGER NOT NULL, findings TEXT NOT NULL, checked_s REAL) STRICT"
    )


def custom_metrics(db: Database) -> None:
    """Figures that others push, for the gates of rollouts."""
    db.execute(
        "CREATE TABLE custom_metrics (id INTEGER PRIMARY KEY, at_s REAL NOT NULL, "
        "name TEXT NOT NULL, value REAL NOT NULL, scope TEXT NOT NULL, subject TEXT NOT NULL, "
        "pushed_by TEXT NOT NULL) STRICT"
    )
    db.execute("CREATE INDEX custom_metrics_by_name ON custom_metrics (name, id)")


def groups(db: Database) -> None:
    """Names for parts of the fleet, their units, and what dynamic ones run."""
    db.execute(
        "CREATE TABLE groups (name TEXT PRIMARY KEY, target TEXT NOT NULL, "
        "is_dynamic INTEGER NOT NULL, created_s REAL NOT NULL, created_by TEXT NOT NULL) STRICT"
    )
    db.execute(
        "CREATE TABLE group_units (name TEXT NOT NULL, unit TEXT NOT NULL, "
        "PRIMARY KEY (name, unit)) STRICT, WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE group_runs (name TEXT NOT NULL, model TEXT NOT NULL, "
        "rollout TEXT NOT NULL, since_s REAL NOT NULL, "
        "PRIMARY KEY (name, model)) STRICT, WITHOUT ROWID"
    )


def baselines(db: Database) -> None:
    """What models did, to hold them to; and every change of what they are held to."""
    db.execute(
        "CREATE TABLE baselines (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, "
        "model TEXT NOT NULL, major INTEGER NOT NULL, hardware_class TEXT NOT NULL, "
        "document TEXT NOT NULL, recorded_s REAL NOT NULL, recorded_by TEXT NOT NULL) STRICT"
    )
    db.execute(
        "CREATE TABLE baseline_changes (model TEXT NOT NULL, major INTEGER NOT NULL, "
        "hardware_class TEXT NOT NULL, version INTEGER NOT NULL, baseline INTEGER, "
        "latency_us REAL, at_s REAL NOT NULL, who TEXT NOT NULL, reason TEXT NOT NULL, "
        "is_revert INTEGER NOT NULL, "
        "PRIMARY KEY (model, major, hardware_class, version)) STRICT, WITHOUT ROWID"
    )


_VERSIONS: Final = """
ALTER TABLE bundles ADD COLUMN stage TEXT NOT NULL DEFAULT 'development';
ALTER TABLE bundles ADD COLUMN pinned_by TEXT NOT NULL DEFAULT '';
ALTER TABLE bundles ADD COLUMN accuracy REAL;
ALTER TABLE bundles ADD COLUMN trained_s INTEGER;

CREATE TABLE version_events (
    id INTEGER PRIMARY KEY, at_s REAL NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL,
    digest BLOB NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL, from_stage TEXT NOT NULL,
    to_stage TEXT NOT NULL, reason TEXT NOT NULL, rollout TEXT NOT NULL,
    units INTEGER NOT NULL) STRICT;
CREATE INDEX version_events_by_model ON version_events (model, id);

CREATE TABLE promotions (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, version TEXT NOT NULL, digest BLOB NOT NULL,
    from_stage TEXT NOT NULL, to_stage TEXT NOT NULL, requested_by TEXT NOT NULL,
    requested_s REAL NOT NULL, justification TEXT NOT NULL, state TEXT NOT NULL,
    decided_by TEXT NOT NULL, decided_s REAL, reason TEXT NOT NULL) STRICT;
CREATE INDEX promotions_by_digest ON promotions (digest, state);

CREATE TABLE unit_versions (
    id INTEGER PRIMARY KEY, at_s REAL NOT NULL, connection TEXT NOT NULL, unit TEXT NOT NULL,
    model TEXT NOT NULL, version TEXT NOT NULL, digest BLOB NOT NULL, owner TEXT NOT NULL,
    rollout TEXT NOT NULL) STRICT;
CREATE INDEX unit_versions_by_model ON unit_versions (model, connection, id);

CREATE TABLE leavings (digest BLOB PRIMARY KEY, left_s REAL NOT NULL) STRICT, WITHOUT ROWID;
"""


def versions_have_a_life(db: Database) -> None:
    """Stages, pins, promotions and history of versions; blobs that wait to leave the vault."""
    for statement in _VERSIONS.split(";"):
        if statement.strip():
            db.execute(statement)
    for digest, data in db.execute("SELECT digest, manifest FROM bundles").fetchall():
        manifest = decode(Manifest, data)
        db.execute(
            "UPDATE bundles SET accuracy = ?, trained_s = ? WHERE digest = ?",
            (accuracy_of(manifest), manifest.provenance.trained_at_s, digest),
        )


def troubles_watches_and_reports(db: Database) -> None:
    """Units in trouble; rollouts that are watched after their end; reports of the fleet."""
    db.execute("ALTER TABLE units ADD COLUMN trouble TEXT NOT NULL DEFAULT ''")
    db.execute("CREATE INDEX units_in_trouble ON units (connection) WHERE trouble <> ''")
    db.execute(
        "CREATE TABLE watches (rollout TEXT PRIMARY KEY, began_s REAL NOT NULL, "
        "until_s REAL NOT NULL, looked_s REAL NOT NULL, state TEXT NOT NULL, "
        "document TEXT NOT NULL) STRICT"
    )
    db.execute("CREATE INDEX watches_standing ON watches (until_s) WHERE state = 'watching'")
    db.execute(
        "CREATE TABLE fleet_reports (id INTEGER PRIMARY KEY, at_s REAL NOT NULL, "
        "document TEXT NOT NULL) STRICT"
    )


def suites_that_ran(db: Database) -> None:
    """Verdicts about bundles on units, kept with when and how they were found."""
    db.execute(
        "CREATE TABLE verifications (id TEXT PRIMARY KEY, suite TEXT NOT NULL, "
        "target TEXT NOT NULL, model TEXT NOT NULL, who TEXT NOT NULL, reason TEXT NOT NULL, "
        "began_s REAL NOT NULL, plan TEXT NOT NULL, ended_s REAL, outcome TEXT NOT NULL) STRICT"
    )
    db.execute(
        "CREATE TABLE examinations (verification TEXT NOT NULL, connection TEXT NOT NULL, "
        "unit TEXT NOT NULL, model TEXT NOT NULL, suite TEXT NOT NULL, digest BLOB NOT NULL, "
        "hardware_class TEXT NOT NULL, environment TEXT NOT NULL, outcome TEXT NOT NULL, "
        "failure TEXT NOT NULL, ended_s REAL, document TEXT NOT NULL, "
        "PRIMARY KEY (verification, connection, unit, model)) STRICT, WITHOUT ROWID"
    )
    db.execute("CREATE INDEX examinations_by_outcome ON examinations (outcome)")
    db.execute("CREATE INDEX examinations_by_digest ON examinations (digest, suite)")


def shadows_and_summaries(db: Database) -> None:
    """How shadows came out, and what was told at the end of a rollout; none is told late."""
    db.execute(
        "CREATE TABLE shadows (id INTEGER PRIMARY KEY, rollout TEXT NOT NULL, "
        "digest BLOB NOT NULL, primary_digest BLOB NOT NULL, is_passed INTEGER NOT NULL, "
        "text TEXT NOT NULL, ended_s REAL NOT NULL) STRICT"
    )
    db.execute("CREATE INDEX shadows_by_pair ON shadows (digest, primary_digest)")
    db.execute(
        "CREATE TABLE summaries (rollout TEXT PRIMARY KEY, made_s REAL NOT NULL, "
        "digest BLOB NOT NULL, markdown TEXT NOT NULL) STRICT"
    )
    db.execute(
        "INSERT INTO summaries SELECT id, updated_s, zeroblob(32), '' FROM rollouts "
        "WHERE is_open = 0"
    )


def who_joined_is_owed(db: Database) -> None:
    """What units of a dynamic group do not have yet of what the group runs."""
    db.execute(
        "CREATE TABLE group_owed (name TEXT NOT NULL, model TEXT NOT NULL, unit TEXT NOT NULL, "
        "tries INTEGER NOT NULL, PRIMARY KEY (name, model, unit)) STRICT, WITHOUT ROWID"
    )


def self_test_by_itself(db: Database) -> None:
    """What the newest self-test of the alerts found, so that its alert may be pruned."""
    db.execute(
        "UPDATE meta SET value = (SELECT json_object('alert', a.id, 'at_s', a.first_s, "
        "'has_arrived', json(iif((SELECT count(*) > 0 AND sum(d.state <> 'delivered') = 0 "
        "FROM deliveries d WHERE d.alert = a.id), 'true', 'false'))) "
        "FROM alerts a WHERE a.id = CAST(meta.value AS INTEGER)) "
        "WHERE name = 'alerts.self_test' AND CAST(value AS INTEGER) IN (SELECT id FROM alerts)"
    )
    db.execute("DELETE FROM meta WHERE name = 'alerts.self_test' AND json_type(value) = 'integer'")


def units_were_released(db: Database) -> None:
    """When a unit's isolation ended last, from where on it may show that it serves."""
    db.execute("ALTER TABLE units ADD COLUMN released_s REAL NOT NULL DEFAULT 0")


def examinations_by_run(db: Database) -> None:
    """What is left of a run, and who failed, without its documents."""
    db.execute("CREATE INDEX examinations_by_run ON examinations (verification, outcome)")


def rollouts_wind_down(db: Database) -> None:
    """An abort and a decommission take their time; what has to go on is found by this."""
    db.execute("ALTER TABLE rollouts ADD COLUMN is_winding_down INTEGER NOT NULL DEFAULT 0")
    db.execute("CREATE INDEX rollouts_winding_down ON rollouts (id) WHERE is_winding_down = 1")


def who_was_told_of_is_known(db: Database) -> None:
    """That people know of a unit that is not given what its group runs was the same number as
    how often a rollout was refused, by which the next one is made smaller."""
    db.execute("ALTER TABLE group_owed ADD COLUMN is_told INTEGER NOT NULL DEFAULT 0")
    db.execute("UPDATE group_owed SET is_told = tries > 0, tries = 0")


def slots_of_versions(db: Database) -> None:
    """In which slot a version was switched to; it was one word per environment and model.

    As it would have been kept: of each blue-green that ended with its version switched to.
    """
    old = [
        name
        for (name,) in db.execute("SELECT name FROM meta WHERE name GLOB 'slot.*'").fetchall()
        if not re.fullmatch(r"slot\..*\.[0-9a-f]{64}", name)
    ]
    for name in old:
        db.execute("DELETE FROM meta WHERE name = ?", (name,))
    ended = db.execute(
        "SELECT r.model, lower(hex(r.bundle_digest)), p.document, h.document FROM rollouts r "
        "JOIN rollout_parts p ON p.rollout = r.id AND p.part = 'plan' "
        "JOIN rollout_parts h ON h.rollout = r.id AND h.part = 'head' "
        "WHERE r.state IN ('succeeded', 'aborted') ORDER BY r.updated_s DESC, r.id DESC"
    ).fetchall()
    for model, digest, plan_text, head_text in ended:
        plan, progress = json.loads(plan_text)["plan"], json.loads(head_text)["progress"]
        actions = [stage.get("action", "swap") for stage in plan["stages"]]
        opened = actions[: progress["stage_index"] + (progress["stage_opened_s"] is not None)]
        if "switch" in actions and {"swap", "switch"} & set(opened):
            for environment in {"", *plan.get("environment", "").split(", ")}:
                name = f"slot.{environment}.{model}.{digest}"
                db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, plan["slot"]))


MIGRATIONS: Final[tuple[Callable[[Database], None], ...]] = (
    first_schema,
    guard_in_columns,
    units_by_issue,
    releases,
    alerts_and_deliveries,
    rollout_papers,
    custom_metrics,
    groups,
    baselines,
    versions_have_a_life,
    troubles_watches_and_reports,
    suites_that_ran,
    shadows_and_summaries,
    who_joined_is_owed,
    self_test_by_itself,
    units_were_released,
    examinations_by_run,
    rollouts_wind_down,
    who_was_told_of_is_known,
    slots_of_versions,
)
SCHEMA_VERSION: Final = len(MIGRATIONS)


def migrate(db: Database) -> None:
    """Bring the schema to this version. Raises StateError for a newer one."""
    applied: int = scalar(db, "PRAGMA user_version")
    if applied > SCHEMA_VERSION:
        raise StateError(
            f"the database has schema {applied}, this Wherry knows up to {SCHEMA_VERSION}; "
            "run the newer version",
            Code.UNSUPPORTED_FORMAT,
        )
    for number, migration in enumerate(MIGRATIONS[applied:], applied + 1):
        with db.atomic():
            migration(db)
            db.execute(f"PRAGMA user_version = {number}")
