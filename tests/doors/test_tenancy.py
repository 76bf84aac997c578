"""Organizations, roles, keys at rest and the audit log, from outside."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from wherry_controller.core.permissions import PERMISSIONS, Role
from wherry_controller.fleet import Inbound

from tests.cli.door import wherry
from tests.controller.device import FakeDevice
from tests.controller.made import bundle_file, make_bundle
from tests.doors.quay import Quay, make_quay


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Quay]]:
    """Three organizations on one machine, each with the same device and model names."""
    made = [make_quay(tmp_path / name, name) for name in ("alpha", "beta", "gamma")]
    for quay in made:
        quay.enroll("gw1")
        quay.install("1.0.0")
    yield made
    for quay in made:
        quay.close()


def endpoints(quay: Quay) -> list[tuple[str, str]]:
    document = quay.client.get("/api/v1/openapi.json").json()
    found = []
    for path, methods in document["paths"].items():
        short = path.removeprefix("/api/v1")
        names = {"{connection}": "gw1", "{unit}": "self", "{model}": "digits", "{version}": "1.0.0",
                 "{name}": "linux-x86_64", "{rollout_id}": "digits-1.0.0-1"}  # fmt: skip
        for name, value in names.items():
            short = short.replace(name, value)
        found += [(method.upper(), short) for method in methods]
    return found


def test_no_endpoint_answers_the_token_of_another_organization(three: list[Quay]) -> None:
    for quay in three:
        before = quay.rest("GET", "/audit/verify")["last_hash"]
        asked = endpoints(quay)
        assert len(asked) == len(PERMISSIONS)
        for stranger in three:
            if stranger is quay:
                continue
            header = {"Authorization": f"Bearer {stranger.tokens[Role.ADMIN]}"}
            for method, path in asked:
                answer = quay.client.request(method, f"/api/v1{path}", headers=header, json={})
                assert answer.status_code == 401, (method, path)
                assert "digits" not in answer.text
        assert quay.rest("GET", "/audit/verify")["last_hash"] == before


def test_no_topic_of_one_organization_moves_anything_in_another(three: list[Quay]) -> None:
    for quay in three:
        for stranger in three:
            if stranger is quay:
                continue
            theirs = stranger.devices["gw1"]
            messages = [
                theirs.presence(False),
                theirs.reported(),
                theirs.telemetry(theirs.performance("digits", errors=99)),
                theirs.event("hello"),
            ]
            for topic, payload in messages:
                own_topic = topic.replace(theirs.topics.org, quay.devices["gw1"].topics.org)
                for name in (topic, own_topic):
                    quay.hear((name, payload))
        assert quay.rest("GET", "/devices")[0]["health"] == "ok"
        assert quay.rest("GET", "/performance") == []
        assert quay.rest("GET", "/events") == []
        assert sum(row["count"] for row in quay.rest("GET", "/status")["dropped"].values()) == 16


def test_no_organization_takes_anothers_bundles(three: list[Quay]) -> None:
    alpha, beta, _ = three
    theirs = bundle_file(alpha.stage.world.release, "6.6.6", program_bytes=640)
    assert beta.call("POST", "/bundles", content=theirs).status_code == 422
    assert [row["version"] for row in beta.rest("GET", "/bundles")] == ["1.0.0"]


def test_a_device_of_one_organization_believes_no_other(three: list[Quay]) -> None:
    alpha, beta, _ = three
    device = alpha.devices["gw1"]
    theirs = beta.at_sea(lambda world: dict(world.retained))
    renamed = {topic.replace("/beta/", "/alpha/"): payload for topic, payload in theirs.items()}
    before = device.revision
    device.follow(renamed)
    assert device.revision == before


def test_bundles_at_rest_are_ciphertext_in_the_organizations_own_folder(quay: Quay) -> None:
    quay.push("1.0.0", program_bytes=150_000)
    made = make_bundle(quay.stage.world.release, "1.0.0")
    pieces = [piece[:64] for piece in made.blobs.values()]
    files = [path for path in quay.data.root.rglob("*") if path.is_file()]
    stored = [path for path in files if path.is_relative_to(quay.data.vault)]
    assert sum(path.stat().st_size for path in stored) > 150_000
    for path in files:
        content = path.read_bytes()
        assert not any(piece in content for piece in pieces), path
        assert not path.stat().st_mode & 0o077, path
    assert quay.call("GET", "/bundles/digits/1.0.0/file").content[-100:]


def test_what_one_organizations_key_encrypted_another_cannot_open(three: list[Quay]) -> None:
    alpha, beta, _ = three
    alpha.push("2.0.0", model="secret")
    digest = alpha.rest("GET", "/bundles/secret/2.0.0")["digest"]
    shutil.copytree(alpha.data.vault, beta.data.vault, dirs_exist_ok=True)
    assert beta.call("GET", "/bundles/secret/2.0.0/file").status_code == 404
    rows = sqlite3.connect(alpha.data.database)
    copied = sqlite3.connect(beta.data.database)
    for table in ("bundles", "blobs", "bundle_blobs"):
        columns = [row[1] for row in rows.execute(f"PRAGMA table_info({table})")]
        marks = ", ".join("?" * len(columns))
        for row in rows.execute(f"SELECT * FROM {table}"):
            copied.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", row)
    copied.commit()
    answer = beta.call("GET", "/bundles/secret/2.0.0/file")
    assert answer.json()["code"] == "DECRYPT"
    assert digest


@pytest.mark.parametrize(
    ("role", "status"), [(Role.VIEWER, 16), (Role.OPERATOR, 0), (Role.APPROVER, 0), (Role.ADMIN, 0)]
)
def test_a_viewer_looks_and_does_not_touch(quay: Quay, role: Role, status: int) -> None:
    quay.enroll("gw1")
    given = ("--server", quay.url, "--token", quay.tokens[role])
    assert wherry(*given, "device", "list").status == 0
    assert wherry(*given, "device", "isolate", "gw1", "--reason", "test").status == status
    added = wherry(*given, "operator", "add", "eve", "--role", "admin").status
    assert added == (0 if role is Role.ADMIN else 16)


def test_every_change_is_in_the_log_with_who_and_why(quay: Quay) -> None:
    quay.enroll("gw1")
    quay.push("1.0.0")
    quay.cli("deploy", "digits:1.0.0", "--target", "all", "--reason", "first", "--no-wait")
    quay.go(20)
    quay.push("1.1.0")
    quay.deploy("1.1.0")
    quay.go(3)
    quay.cli("rollback", "digits", "--target", "all", "--to-previous", "--reason", "odd sevens")
    rows = quay.cli("audit", "log")
    by_action = {row["action"]: row for row in rows}
    assert {"device.enroll", "bundle.push", "rollout.create"} <= by_action.keys()
    assert all(row["who"] for row in rows)
    rollout = [row for row in rows if row["subject"] == "digits-1.0.0-1"]
    [made] = [row for row in rollout if row["action"] == "rollout.create"]
    named = {key: made["details"][key] for key in ("model", "version", "strategy", "target")}
    assert named == {"model": "digits", "version": "1.0.0", "strategy": "direct", "target": "all"}
    assert made["who"] == "ada"
    assert any(row["reason"] == "first" for row in rollout)
    decisions = [row for row in rollout if "checks" in row["details"]]
    assert decisions
    assert any(row["reason"] == "odd sevens" for row in rows)
    assert "odd sevens" in quay.wherry("audit", "log").out


@pytest.mark.parametrize(
    "tamper",
    [
        "UPDATE audit SET reason = 'nothing' WHERE id = 3",
        "UPDATE audit SET who = 'nobody' WHERE id = 2",
        "DELETE FROM audit WHERE id = 3",
    ],
)
def test_a_tampered_audit_log_is_found_and_its_first_bad_row_named(quay: Quay, tamper: str) -> None:
    quay.enroll("gw1", "gw2")
    assert quay.wherry("audit", "verify").status == 0
    with sqlite3.connect(quay.data.database) as db:
        for (name,) in db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'"
        ).fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute(tamper)
    found = quay.wherry("audit", "verify")
    assert found.status == 11
    assert "audit row" in found.err


def test_a_folder_is_an_organization_and_named_by_option(tmp_path: Path) -> None:
    for name in ("here", "there"):
        made = wherry("--data", tmp_path / name, "init", "--org", name, "--json")
        assert made.status == 0, made
    assert {path.name for path in tmp_path.iterdir()} == {"here", "there"}
    again = wherry("--data", tmp_path / "here", "init", "--org", "other")
    assert again.status == 14


def test_a_revoked_device_is_believed_no_more(quay: Quay) -> None:
    quay.enroll("gw1", "gw2")
    quay.install("1.0.0")
    quay.cli("device", "revoke", "gw1", "--reason", "stolen")
    quay.hear(quay.devices["gw1"].telemetry(quay.devices["gw1"].performance("digits")))
    assert quay.rest("GET", "/performance") == []
    quay.push("1.1.0")
    made = quay.deploy("1.1.0")
    assert [row["unit"] for row in quay.rollout(made)["units"]] == ["gw2/self"]
    again = quay.call("POST", "/devices", json={"request": quay.devices["gw1"].request_base64()})
    assert again.status_code == 409


def test_a_stranger_cannot_take_the_name_of_a_device(quay: Quay) -> None:
    quay.enroll("gw1")
    thief = FakeDevice("gw1")
    answer = quay.call("POST", "/devices", json={"request": thief.request_base64()})
    assert answer.status_code == 409
    mine = quay.devices["gw1"]
    thief.topics, thief.trust, thief.keys = mine.topics, mine.trust, mine.keys
    quay.at_sea(lambda world: world.fleet.receive([Inbound(*thief.reported())], world.now_s))
    assert quay.rest("GET", "/status")["dropped"]


def test_a_backup_lies_apart_and_restores_the_organization(quay: Quay, tmp_path: Path) -> None:
    quay.enroll("gw1")
    quay.install("1.0.0")
    made = Path(quay.cli("backup")["path"])
    assert not made.is_relative_to(quay.data.vault)
    shutil.copytree(made, tmp_path / "elsewhere")
    done = wherry("--data", tmp_path / "new", "restore", tmp_path / "elsewhere", "--json")
    assert done.status == 0, done
    changed = next(path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()
                   and path.stat().st_size > 1000)  # fmt: skip
    content = bytearray(changed.read_bytes())
    content[500] ^= 1
    changed.chmod(0o600)
    changed.write_bytes(content)
    again = wherry("--data", tmp_path / "other", "restore", tmp_path / "elsewhere")
    assert again.status != 0
    assert not (tmp_path / "other" / "wherry.db").exists()
