"""A version's life in the registry: stages with four eyes, history, pins, retention."""

from pathlib import Path
from typing import Any

from wherry_controller.core.assurance import PRECONDITIONS, Policy
from wherry_controller.core.permissions import Role
from wherry_controller.store import leavings
from wherry_protocol.manifest import Evaluation, Provenance

from tests.controller.world import World
from tests.doors.quay import Quay, make_quay
from tests.doors.test_gates import GOOD

DAY_S = 86_400.0
RECORD = (Evaluation(**GOOD),)


def order(quay: Quay, role: Role, version: str, what: str, status: int = 200, **body: Any) -> Any:
    answer = quay.call("POST", f"/bundles/digits/{version}/{what}", role, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def promote(quay: Quay, version: str, to: str, role: Role = Role.OPERATOR, **more: Any) -> Any:
    body = {"to": to, "justification": "passed in the lab", **more}
    return order(quay, role, version, "promotion", 201, **body)


def stage(quay: Quay, version: str) -> str:
    rows = quay.cli("registry", "stages", "--model", "digits")
    return next(str(row["stage"]) for row in rows if row["version"] == version)


def actions(quay: Quay, prefix: str = "version.") -> list[tuple[str, str, str]]:
    return [(row["action"], row["who"], row["reason"]) for row in quay.audited()
            if row["action"].startswith(prefix)]  # fmt: skip


def test_a_version_goes_through_its_stages_with_four_eyes(quay: Quay) -> None:
    quay.push("1.0.0", evaluations=RECORD)
    assert stage(quay, "1.0.0") == "development"
    promote(quay, "1.0.0", "staging")
    waiting = quay.cli("registry", "stages")[0]["promotion"]
    assert (waiting["to_stage"], waiting["requested_by"]) == ("staging", "OPERATOR")
    assert order(quay, Role.APPROVER, "1.0.0", "promotion/approve")["stage"] == "staging"
    quay.cli("registry", "promote", "digits:1.0.0", "--to", "production",
             "--justification", "a week in staging")  # fmt: skip
    own = quay.wherry("registry", "approve", "digits:1.0.0")
    assert own.status == 16
    assert "somebody else has to approve it" in own.err
    assert stage(quay, "1.0.0") == "staging"
    done = order(quay, Role.APPROVER, "1.0.0", "promotion/approve", reason="looks good")
    assert done["stage"] == stage(quay, "1.0.0") == "production"
    assert actions(quay) == [
        ("version.promotion asked", "OPERATOR", "passed in the lab"),
        ("version.promotion approved", "APPROVER", ""),
        ("version.promotion asked", "ada", "a week in staging"),
        ("version.promotion approved", "APPROVER", "looks good"),
    ]


def test_an_operator_approves_nothing(quay: Quay) -> None:
    quay.push("1.0.0")
    promote(quay, "1.0.0", "staging")
    told = order(quay, Role.OPERATOR, "1.0.0", "promotion/approve", 403)
    assert "for the role approver or above" in told["error"]


def test_a_promotion_is_rejected_with_a_reason_and_can_be_asked_for_again(quay: Quay) -> None:
    quay.push("1.0.0")
    promote(quay, "1.0.0", "staging")
    assert quay.wherry("registry", "promote", "digits:1.0.0", "--to", "staging",
                       "--justification", "again").status == 14  # fmt: skip
    assert quay.wherry("registry", "reject", "digits:1.0.0").status == 2
    quay.cli("registry", "reject", "digits:1.0.0", "--reason", "too few samples")
    assert stage(quay, "1.0.0") == "development"
    assert actions(quay)[-1] == ("version.promotion rejected", "ada", "too few samples")
    assert quay.wherry("registry", "approve", "digits:1.0.0").status == 14
    promote(quay, "1.0.0", "staging")


def test_only_an_admin_skips_staging_and_it_is_audited(quay: Quay) -> None:
    quay.push("1.0.0", evaluations=RECORD)
    straight = {"to": "production", "justification": "urgent"}
    told = order(quay, Role.ADMIN, "1.0.0", "promotion", 409, **straight)
    assert "skips staging" in told["error"]
    skip = straight | {"skip_staging": True}
    assert order(quay, Role.APPROVER, "1.0.0", "promotion", 403, **skip)
    quay.cli("registry", "promote", "digits:1.0.0", "--to", "production", "--skip-staging",
             "--justification", "urgent")  # fmt: skip
    [row] = [row for row in quay.audited() if row["action"] == "version.promotion asked"]
    assert (row["details"]["skips_staging"], row["who"]) == (True, "ada")
    assert order(quay, Role.APPROVER, "1.0.0", "promotion/approve")["stage"] == "production"


def test_into_production_the_gates_pass_or_are_overridden_with_a_reason(quay: Quay) -> None:
    quay.push("1.0.0")
    promote(quay, "1.0.0", "staging")
    order(quay, Role.APPROVER, "1.0.0", "promotion/approve")
    promote(quay, "1.0.0", "production")
    told = order(quay, Role.APPROVER, "1.0.0", "promotion/approve", 409)
    assert "does not pass its gates: accuracy" in told["error"]
    order(quay, Role.APPROVER, "1.0.0", "promotion/approve", 409, override_gates=True)
    done = order(quay, Role.APPROVER, "1.0.0", "promotion/approve",
                 override_gates=True, reason="measured by hand")  # fmt: skip
    assert done["stage"] == "production"
    details = [row for row in quay.audited() if row["action"].startswith("version.")][-1]["details"]
    assert details["overrides_gates"]
    assert "accuracy" in details["gates_failed"]


def test_a_rollout_that_succeeds_in_production_moves_its_version_there(quay: Quay) -> None:
    quay.enroll("lab-1", labels={"env": "staging"}, protocol=(1, 2))
    quay.enroll("pump-1", labels={"env": "production"}, protocol=(1, 2))
    quay.push("1.0.0")
    quay.deploy("1.0.0", "lab-1")
    quay.go(3)
    assert stage(quay, "1.0.0") == "development"
    quay.at_sea(lambda world: setattr(world.org, "policies", {"production": Policy()}))
    made = quay.deploy("1.0.0", "pump-1")
    quay.go(3)
    assert quay.rollout(made)["state"] == "succeeded"
    assert stage(quay, "1.0.0") == "production"
    assert ("version.stage", "wherry", f"rollout {made['id']} succeeded") in actions(quay)


def test_ten_comes_after_nine_wherever_versions_are_listed(quay: Quay) -> None:
    for version in ("1.10.0", "1.9.0", "10.0.0", "9.0.0"):
        quay.push(version)
    wanted = ["1.9.0", "1.10.0", "9.0.0", "10.0.0"]
    assert [row["version"] for row in quay.cli("registry", "stages")] == wanted
    assert [row["version"] for row in quay.cli("registry", "history", "digits")] == wanted
    fates = quay.cli("registry", "retention", "run", "--dry-run")
    assert [row["version"] for row in fates] == wanted[::-1]


def test_what_is_archived_is_not_rolled_out_and_comes_back_by_promotion(quay: Quay) -> None:
    quay.enroll("pump-1", protocol=(1, 2))
    quay.install("1.0.0")
    refused = quay.wherry("registry", "archive", "digits:1.0.0", "--reason", "old")
    assert refused.status == 14
    assert "serves on pump-1/self" in refused.err
    quay.push("1.1.0")
    quay.cli("registry", "archive", "digits:1.1.0", "--reason", "superseded")
    body = {"model": "digits", "version": "1.1.0", "target": "all"}
    assert "is archived" in quay.refused("POST", "/rollouts", body)
    promote(quay, "1.1.0", "development")
    order(quay, Role.APPROVER, "1.1.0", "promotion/approve")
    assert quay.deploy("1.1.0")["state"] == "running"


def test_history_tells_who_did_what_when_and_where_each_version_serves_now(quay: Quay) -> None:
    quay.enroll("pump-1", "pump-2", protocol=(1, 2))
    quay.install("1.0.0", notes="first")
    quay.push("1.1.0")
    made = quay.deploy("1.1.0", "pump-2")
    quay.go(3)
    old, new = quay.cli("registry", "history", "digits")
    assert [event["action"] for event in old["events"]] == ["pushed", "rollout succeeded"]
    assert (old["events"][0]["who"], old["events"][0]["reason"]) == ("ada", "first")
    assert (old["serving_units"], new["serving_units"]) == (1, 1)
    assert (new["rollout"], new["deployed_by"]) == (made["id"], "ada")
    assert new["deployed_s"] > old["deployed_s"]
    shown = quay.wherry("registry", "history", "digits").out
    assert f"{made['id']} on 1 units" in shown
    rows = quay.cli("registry", "history", "digits", "--device", "pump-2")
    assert [(row["version"], row["owner"], row["rollout"]) for row in rows] == [
        ("1.0.0", "rollout", old["rollout"]), ("1.1.0", "rollout", made["id"]),
    ]  # fmt: skip
    quay.cli("rollback", "digits", "--target", "pump-2", "--to-previous", "--reason", "false alarm")
    quay.go(3)
    rows = quay.cli("registry", "history", "digits", "--device", "pump-2")
    assert (rows[-1]["version"], rows[-1]["owner"]) == ("1.0.0", "manual")


def test_accuracy_and_training_date_can_be_queried_in_the_store(quay: Quay) -> None:
    quay.push("1.0.0", evaluations=RECORD, provenance=Provenance(trained_at_s=1_700_000_000))
    sql = "SELECT version, accuracy, trained_s FROM bundles WHERE accuracy > 0.9"
    found = quay.at_sea(lambda world: world.org.db.execute(sql).fetchall())
    assert found == [("1.0.0", 0.97, 1_700_000_000)]
    row = quay.rest("GET", "/bundles")[0]
    assert (row["accuracy"], row["trained_s"]) == (0.97, 1_700_000_000)


# --- retention


def set_retention(quay: Quay, *more: str) -> Any:
    return quay.cli("registry", "retention", "set", "--reason", "house rule", *more)


def fates(quay: Quay) -> dict[str, tuple[bool, str]]:
    found = quay.cli("registry", "retention", "run", "--dry-run")
    return {row["version"]: (row["is_kept"], "; ".join(row["reasons"])) for row in found}


def kept(quay: Quay) -> list[str]:
    return [row["version"] for row in quay.rest("GET", "/bundles")]


def prune(world: World) -> None:
    world.fleet.tick(world.now_s)
    world.fleet.prune()


def vault_files(quay: Quay) -> set[str]:
    return {path.name for path in quay.data.vault.rglob("*") if path.is_file()}


def blobs(quay: Quay, version: str) -> set[str]:
    manifest = quay.rest("GET", f"/bundles/digits/{version}")["manifest"]
    return {blob["digest"] for blob in manifest["blobs"]}


def test_the_defaults_are_five_versions_accuracy_0_7_and_30_days(quay: Quay) -> None:
    found = quay.cli("registry", "retention", "show")
    assert (found["versions_max"], found["accuracy_min"], found["age_days_max"]) == (5, 0.7, 30.0)
    assert (found["keep_deployed"], found["is_scheduled"]) == (True, False)
    refused = quay.wherry("registry", "retention", "set", "--no-keep-deployed", "--reason", "x")
    assert refused.status == 1
    assert "never deleted" in refused.err.replace("\n", " ")


def test_a_dry_run_gives_a_reason_per_version_and_deletes_nothing(quay: Quay) -> None:
    quay.enroll("pump-1", "pump-2", protocol=(1, 2))
    quay.install("1.0.0")
    quay.install("1.1.0", "pump-1")
    quay.push("1.2.0", evaluations=(Evaluation(**GOOD | {"accuracy": 0.69}),))
    quay.push("1.3.0")
    quay.push("1.4.0", evaluations=RECORD)
    quay.push("1.5.0")
    quay.cli("registry", "pin", "digits:1.5.0", "--reason", "reference")
    before = kept(quay)
    found = fates(quay)
    assert found["1.0.0"][0]
    assert "serves on pump-2/self" in found["1.0.0"][1]
    assert "is the way back of pump-1/self" in found["1.0.0"][1]
    assert found["1.1.0"] == (True, "serves on pump-1/self")
    assert found["1.2.0"] == (False, "has accuracy 0.69, at least 0.7 is kept")
    assert found["1.3.0"] == (False, "has no accuracy on record, at least 0.7 is kept")
    assert found["1.4.0"] == (True, "is within every limit")
    assert found["1.5.0"] == (True, "is pinned by ada")
    assert "would go" in quay.wherry("registry", "retention", "run", "--dry-run").out
    assert kept(quay) == before


def test_what_breaks_one_limit_goes_with_its_blobs_and_what_is_needed_stays(quay: Quay) -> None:
    quay.enroll("pump-1", "pump-2", protocol=(1, 2))
    quay.install("1.0.0", backbone="shared")
    quay.install("1.1.0", "pump-1", backbone="shared")
    quay.push("1.2.0", evaluations=RECORD, backbone="shared")
    quay.push("1.3.0", evaluations=RECORD)
    only = blobs(quay, "1.2.0") - blobs(quay, "1.1.0")
    set_retention(quay, "--versions-max", "1", "--no-schedule")
    done = quay.cli("registry", "retention", "run", "--reason", "disk is small")
    assert [row["version"] for row in done if not row["is_kept"]] == ["1.2.0"]
    assert kept(quay) == ["1.0.0", "1.1.0", "1.3.0"]
    assert only <= vault_files(quay), "files leave after the commit"
    quay.at_sea(prune)
    assert not only & vault_files(quay)
    assert blobs(quay, "1.1.0") <= vault_files(quay)
    content = quay.call("GET", "/bundles/digits/1.1.0/file")
    assert content.status_code == 200
    [run] = [row for row in quay.audited() if row["action"] == "retention.run"]
    assert run["reason"] == "disk is small"
    assert run["details"]["deleted"] == {"digits:1.2.0": ["is number 2, the newest 1 are kept"]}
    [gone] = [row for row in quay.cli("registry", "history", "digits")
              if row["version"] == "1.2.0"]  # fmt: skip
    assert (gone["is_kept"], gone["events"][-1]["action"]) == (False, "deleted")


def test_age_counts_from_the_push(quay: Quay) -> None:
    quay.push("1.0.0", evaluations=RECORD)
    quay.jump(29 * DAY_S)
    assert fates(quay)["1.0.0"][0]
    quay.jump(2 * DAY_S)
    assert fates(quay)["1.0.0"] == (False, "is 31.0 days old, up to 30 are kept")


def test_it_is_applied_every_hour_and_after_a_rollout_where_that_is_wanted(quay: Quay) -> None:
    quay.push("1.0.0", evaluations=RECORD)
    quay.jump(31 * DAY_S)
    quay.at_sea(prune)
    assert kept(quay) == ["1.0.0"], "nobody asked for it"
    set_retention(quay)
    quay.at_sea(prune)
    assert kept(quay) == []
    quay.enroll("pump-1", protocol=(1, 2))
    quay.push("1.1.0")
    quay.push("1.2.0", evaluations=RECORD)
    quay.at_sea(prune)
    assert kept(quay) == ["1.1.0", "1.2.0"], "it ran less than an hour ago"
    quay.deploy("1.2.0")
    quay.go(3)
    quay.at_sea(prune)
    assert kept(quay) == ["1.2.0"]
    assert {row["who"] for row in quay.audited() if row["action"] == "retention.run"} == {"wherry"}


def test_an_open_rollout_and_an_open_promotion_keep_their_versions(quay: Quay) -> None:
    quay.enroll("pump-1", protocol=(1, 2))
    quay.install("1.0.0")
    quay.push("1.1.0")
    quay.push("1.2.0")
    made = quay.rest("POST", "/rollouts", {
        "model": "digits", "version": "1.1.0", "target": "all", "start": False})  # fmt: skip
    promote(quay, "1.2.0", "staging")
    found = fates(quay)
    assert found["1.1.0"] == (True, f"is in the open rollout {made['id']}")
    assert found["1.2.0"] == (True, "waits for staging")


def test_what_a_dynamic_group_runs_is_kept_for_whoever_joins(quay: Quay) -> None:
    quay.enroll("pump-1", labels={"site": "oslo"}, protocol=(1, 2))
    quay.rest("POST", "/groups", {"name": "oslo", "target": "label:site=oslo", "is_dynamic": True})
    quay.push("1.0.0")
    quay.deploy("1.0.0", "group:oslo")
    quay.go(3)
    assert "is what the group oslo runs" in fates(quay)["1.0.0"][1]


def test_a_crash_between_commit_and_file_leaves_nothing_for_good(quay: Quay) -> None:
    quay.push("1.0.0")
    gone = blobs(quay, "1.0.0")
    set_retention(quay, "--no-schedule")
    quay.cli("registry", "retention", "run", "--reason", "tidy")
    quay.at_sea(lambda world: world.restart())
    assert gone <= vault_files(quay)
    quay.at_sea(prune)
    assert not gone & vault_files(quay)
    # As after a crash that came between the file and the commit of its note:
    digest = bytes.fromhex(min(gone))
    quay.at_sea(lambda world: leavings.put(world.org.db, digest, world.now_s))
    quay.at_sea(prune)
    assert quay.at_sea(lambda world: leavings.everyone(world.org.db)) == []


def test_what_is_pushed_again_before_its_file_left_stays_whole(quay: Quay) -> None:
    quay.push("1.0.0")
    set_retention(quay, "--no-schedule")
    quay.cli("registry", "retention", "run", "--reason", "tidy")
    quay.push("1.0.0")
    quay.at_sea(prune)
    assert blobs(quay, "1.0.0") <= vault_files(quay)
    assert quay.call("GET", "/bundles/digits/1.0.0/file").status_code == 200


def test_a_dry_run_is_answered_while_the_writer_is_busy_and_knows_what_is_under_way(
    quay: Quay,
) -> None:
    quay.enroll("pump-1", "pump-2", protocol=(1, 2))
    quay.install("1.0.0")
    quay.push("1.1.0")
    made = quay.deploy("1.1.0", stages=[{"share": "50%", "soak_s": 600.0}, {"share": "100%"}])
    quay.go(3)
    with quay.busy_writer():
        answer = quay.call("GET", "/retention", Role.VIEWER)
    found = {row["version"]: "; ".join(row["reasons"]) for row in answer.json()["versions"]}
    assert f"is in the open rollout {made['id']}" in found["1.1.0"]
    assert f"is the way back of the open rollout {made['id']}" in found["1.0.0"]


def test_only_an_admin_deletes(quay: Quay) -> None:
    for role in (Role.VIEWER, Role.OPERATOR, Role.APPROVER):
        answer = quay.call("POST", "/retention/run", role, json={"reason": "x"})
        assert answer.status_code == 403
        assert quay.call("GET", "/retention", role).status_code == 200


def test_production_looks_at_stage_and_gates_before_a_rollout_starts(tmp_path: Path) -> None:
    toml = "\n[environments.production]\n" + "".join(
        f'{item} = "{"block" if item in ("promotion", "evaluation") else "off"}"\n'
        for item in PRECONDITIONS
    )
    quay = make_quay(tmp_path / "acme", edit=lambda text: text + toml)
    try:
        quay.enroll("pump-1", labels={"env": "production"}, protocol=(1, 2))
        quay.push("1.0.0")
        body = {"model": "digits", "version": "1.0.0", "target": "all"}
        told = quay.refused("POST", "/rollouts", body)
        assert "digits:1.0.0 is in development" in told
        assert "release gates fail: accuracy, f1_macro" in told
        quay.push("1.1.0", evaluations=RECORD)
        promote(quay, "1.1.0", "staging")
        order(quay, Role.APPROVER, "1.1.0", "promotion/approve")
        quay.deploy("1.1.0")
        quay.go(3)
        assert quay.versions() == {"pump-1": "1.1.0"}
        assert stage(quay, "1.1.0") == "production"
    finally:
        quay.close()
