"""Every command that asks the controller, as text and as JSON, against the real API."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wherry_protocol.errors import Code
from wherry_protocol.messages.reported import Outcome

from tests.cli.door import Answer, Service, wherry

PLAN = """
strategy = "direct"
silent_after_s = 60
[trial]
good_inferences_min = 1
trial_s_min = 0.0
trial_s_max = 5.0
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "direct.toml"
    path.write_text(PLAN)
    return path


def wait_for(holds: Callable[[], Any], what: str, deadline_s: float = 20.0) -> Any:
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {deadline_s} s: {what}")


def push(service: Service, package: Path, version: str, folder: Path) -> None:
    """Sign and push the digits as `version`."""
    tree, bundle = folder / f"tree-{version}", folder / f"digits-{version}.wherry"
    assert wherry("model", "extract", package, "--output", tree).status == 0
    packaged = wherry("model", "package", "--input", tree, "--version", version, "--output", bundle)
    assert packaged.status == 0, packaged
    key = service.data / "offline" / "release-1.pem"
    assert wherry("model", "sign", bundle, "--key", key).status == 0
    pushed = service.ok("registry", "push", bundle)
    assert (pushed["model"], pushed["version"]) == ("digits", version)


def text_of(service: Service, *arguments: str | Path) -> str:
    answer = service.wherry(*arguments)
    assert (answer.status, answer.err) == (0, ""), answer
    return answer.out


def seen(service: Service, name: str) -> None:
    wait_for(lambda: service.ok("device", "show", name)["units"][0]["seen_s"], f"{name} is seen")


def test_operators_are_added_listed_and_disabled(service: Service) -> None:
    made = service.ok("operator", "add", "bob", "--role", "viewer")
    assert (made["name"], made["role"]) == ("bob", "viewer")
    assert "wherry_" in text_of(service, "operator", "add", "eve", "--role", "approver")
    assert "eve" in text_of(service, "operator", "list")
    assert service.wherry("device", "list", token=made["token"]).status == 0
    forbidden = service.wherry("stop", "--reason", "x", token=made["token"])
    assert forbidden.status == 16
    assert "viewer" in forbidden.err
    text_of(service, "operator", "disable", "bob", "--reason", "left")
    assert service.wherry("device", "list", token=made["token"]).status == 16
    rows = {row["name"]: row for row in service.ok("operator", "list")}
    assert rows["bob"]["is_disabled"]


def test_a_class_is_shown_as_the_file_that_adds_it(service: Service, tmp_path: Path) -> None:
    shown = text_of(service, "class", "show", "linux-arm64")
    profile = tmp_path / "mine.toml"
    profile.write_text(shown.replace('"linux-arm64"', '"my-board"'))
    text_of(service, "class", "add", profile)
    mine, original = (service.ok("class", "show", n) for n in ("my-board", "linux-arm64"))
    assert mine | {"name": "linux-arm64"} == original
    assert original["energy_model"]["nj_per_cycle"] > 0
    assert "my-board" in text_of(service, "class", "list")
    assert "my-board" in [row["name"] for row in service.ok("class", "list")]


def test_a_class_with_an_unknown_key_is_refused_by_name(service: Service, tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text(text_of(service, "class", "show", "linux-arm64") + "wheels = 4\n")
    refused = service.wherry("class", "add", profile)
    assert refused.status == 10
    assert "'wheels'" in refused.err


def test_a_bundle_is_pushed_listed_shown_and_pulled(
    service: Service, package: Path, tmp_path: Path
) -> None:
    push(service, package, "1.0.0", tmp_path)
    push(service, package, "1.10.0", tmp_path)
    push(service, package, "1.9.0", tmp_path)
    rows = service.ok("registry", "list", "--model", "digits")
    assert [row["version"] for row in rows] in (
        ["1.0.0", "1.9.0", "1.10.0"],
        ["1.10.0", "1.9.0", "1.0.0"],
    )
    listed = text_of(service, "registry", "list")
    assert rows[0]["digest"][:16] in listed
    shown = text_of(service, "registry", "show", "digits:1.9.0")
    assert "50000 us at p95" in shown
    assert service.ok("registry", "show", "digits:1.9.0")["manifest"]["version"] == "1.9.0"
    copy = tmp_path / "copy.wherry"
    text_of(service, "registry", "pull", "digits:v1.9.0", "--output", copy)
    assert copy.read_bytes() == (tmp_path / "digits-1.9.0.wherry").read_bytes()


def test_an_unsigned_bundle_is_refused_by_the_registry(service: Service, package: Path) -> None:
    refused = service.wherry("registry", "push", package)
    assert refused.status == 11
    assert service.ok("registry", "list") == []


def test_a_device_is_enrolled_listed_configured_isolated_and_revoked(
    service: Service, tmp_path: Path
) -> None:
    assert text_of(service, "device", "list") == "no devices\n"
    service.enroll("gw1", tmp_path, labels={"site": "oslo"})
    seen(service, "gw1")
    assert (tmp_path / "gw1.answer").stat().st_mode & 0o777 == 0o600
    assert "site=oslo" in text_of(service, "device", "list", "--target", "label:site=oslo")
    text_of(service, "device", "configure", "--target", "all", "--performance-s", "5",
            "--label", "site=bergen", "--json-mirror")  # fmt: skip
    shown = service.ok("device", "show", "gw1")
    assert shown["labels"] == {"site": "bergen"}
    assert (shown["units"][0]["performance_s"], shown["units"][0]["json_mirror"]) == (5, True)
    assert text_of(service, "device", "isolate", "gw1", "--reason", "smoke") == "gw1 is isolated\n"
    assert "isolated" in text_of(service, "device", "show", "gw1")
    assert service.ok("device", "release", "gw1/self", "--reason", "new fan") == {
        "unit": "gw1/self",
        "is_isolated": False,
    }
    assert service.ok("device", "revoke", "gw1", "--reason", "stolen")["connection"] == "gw1"
    assert "revoked" in text_of(service, "device", "show", "gw1")


def test_a_deployment_is_followed_to_its_end_and_rolled_back(
    service: Service, package: Path, plan: Path, tmp_path: Path
) -> None:
    device = service.enroll("gw1", tmp_path)
    for version in ("1.0.0", "1.1.0"):
        push(service, package, version, tmp_path)
    done = service.wherry(
        "deploy", "digits:1.0.0", "--target", "all", "--file", plan, "--reason", "first"
    )
    assert done.status == 0, done
    assert "succeeded" in done.out
    assert "succeeded (stable), stage 1 of 1, 1 of 1 confirmed" in done.err.splitlines()[-1]
    made = service.ok("rollout", "create", "digits:1.1.0", "--target", "all", "--file", plan)
    watched = service.wherry("rollout", "watch", made["id"])
    assert watched.status == 0, watched
    assert device.active["digits"].version == "1.1.0"
    assert made["id"] in text_of(service, "rollout", "list")
    assert "1 of 1 confirmed" in text_of(service, "rollout", "show", made["id"])
    shown = text_of(service, "device", "show", "gw1")
    assert "active 1.1.0, previous 1.0.0" in shown
    back = text_of(
        service, "rollback", "digits", "--target", "all", "--to-previous", "--reason", "no good"
    )
    assert back == "gw1/self: back to 1.0.0\n"
    wait_for(lambda: device.active["digits"].version == "1.0.0", "the device is back")


def test_a_rollout_that_fails_ends_with_its_own_status(
    service: Service, package: Path, plan: Path, tmp_path: Path
) -> None:
    device = service.enroll("gw1", tmp_path)
    device.verdict, device.verdict_code = Outcome.REJECTED, Code.GOLDEN_MISMATCH
    push(service, package, "1.0.0", tmp_path)
    done = service.wherry(
        "deploy", "digits:1.0.0", "--target", "all", "--file", plan, "--reason", "r", "--json"
    )
    assert done.status == 18
    assert done.json["state"] in ("paused", "reverting", "reverted")
    assert json.loads(done.err)["code"] == "failed"


def test_a_subset_pauses_and_the_same_command_widens_it(
    service: Service, package: Path, plan: Path, tmp_path: Path
) -> None:
    devices = [service.enroll(f"gw{n}", tmp_path) for n in range(4)]
    push(service, package, "1.0.0", tmp_path)
    deploy = ("deploy", "digits:1.0.0", "--target", "all", "--reason", "r")
    first = service.ok(*deploy, "--subset", "25%", "--file", plan)
    assert (first["state"], first["members"]["confirmed"]) == ("paused", 1)
    whole = service.ok(*deploy, "--subset", "100%")
    assert (whole["id"], whole["state"]) == (first["id"], "succeeded")
    assert [d.active["digits"].version for d in devices] == ["1.0.0"] * 4


def test_a_dry_run_shows_the_stages_and_does_nothing(
    service: Service, package: Path, tmp_path: Path
) -> None:
    for n in range(4):
        service.enroll(f"gw{n}", tmp_path)
    push(service, package, "1.0.0", tmp_path)
    deploy = ("deploy", "digits:1.0.0", "--target", "all", "--dry-run")
    whole = text_of(service, *deploy)
    assert whole.splitlines()[0] == "nothing is done; this is what would be:"
    assert whole.splitlines()[1].startswith("stage 1: 4 more: ")
    half = service.ok(*deploy, "--subset", "50%")
    assert [len(stage) for stage in half["stages"]] == [2]
    canary = service.ok("rollout", "create", "digits:1.0.0", "--target", "all",
                        "--strategy", "canary", "--dry-run")  # fmt: skip
    assert [len(stage) for stage in canary["stages"]] == [1, 0, 0, 1, 2]
    assert service.ok("rollout", "list") == []


def test_a_rollout_is_drafted_approved_paused_resumed_advanced_and_aborted(
    service: Service, package: Path, plan: Path, tmp_path: Path
) -> None:
    device = service.enroll("gw1", tmp_path)
    service.wire.devices.remove(device)  # it is there, and never gets round to it
    push(service, package, "1.0.0", tmp_path)
    made = service.ok("rollout", "create", "digits:1.0.0", "--target", "all", "--file", plan,
                      "--draft")  # fmt: skip
    assert made["state"] == "draft"
    steps = {"approve": "running", "pause": "paused", "resume": "running"}
    for verb, state in steps.items():
        assert state in text_of(service, "rollout", verb, made["id"], "--reason", "because")
        assert service.ok("rollout", "show", made["id"])["state"] == state
    early = service.wherry("rollout", "advance", made["id"], "--reason", "because")
    assert early.status in (0, 14), early
    ended = service.ok("rollout", "abort", made["id"], "--reason", "never mind")
    assert ended["state"] == "aborted"
    assert service.wherry("rollout", "abort", made["id"], "--reason", "again").status == 14
    watched = service.wherry("rollout", "watch", made["id"])
    assert watched.status == 18
    assert "aborted" in watched.err


def test_abort_with_revert_sends_swapped_devices_back(
    service: Service, package: Path, plan: Path, tmp_path: Path
) -> None:
    devices = [service.enroll(f"gw{n}", tmp_path) for n in range(2)]
    push(service, package, "1.0.0", tmp_path)
    push(service, package, "1.1.0", tmp_path)
    service.ok("deploy", "digits:1.0.0", "--target", "all", "--file", plan, "--reason", "r")
    half = service.ok("deploy", "digits:1.1.0", "--target", "all", "--file", plan,
                      "--subset", "50%", "--reason", "r")  # fmt: skip
    text_of(service, "rollout", "abort", half["id"], "--revert", "--reason", "wrong weights")
    wait_for(
        lambda: {d.active["digits"].version for d in devices} == {"1.0.0"}, "everybody is back"
    )


def test_stop_and_go_are_shown_by_status(service: Service) -> None:
    assert "no device installs anything" in text_of(service, "stop", "--reason", "wrong model")
    assert "STOPPED" in text_of(service, "status")
    assert service.ok("status")["is_stopped"] is True
    text_of(service, "go", "--reason", "fixed")
    assert "STOPPED" not in text_of(service, "status")


def test_telemetry_is_followed_as_it_is_committed(
    service: Service, package: Path, plan: Path, tmp_path: Path
) -> None:
    device = service.enroll("gw1", tmp_path)
    push(service, package, "1.0.0", tmp_path)
    service.ok("deploy", "digits:1.0.0", "--target", "all", "--file", plan, "--reason", "r")
    assert text_of(service, "telemetry", "list") == "no telemetry yet\n"
    done = threading.Event()

    def report() -> None:
        while not done.wait(0.05):
            pack = device.performance("digits", energy_j=0.001)
            service.wire.deliver(device.telemetry(pack), device.event("\x1b[31mhot"))

    sender = threading.Thread(target=report)
    sender.start()
    try:
        text = service.wherry("telemetry", "tail", "--device", "gw1", "--count", "4")
        rows = service.wherry("telemetry", "tail", "--count", "4", "--json")
    finally:
        done.set()
        sender.join()
    assert "inferences=100" in text.out
    assert "\\x1b[31mhot" in text.out
    assert "\x1b" not in text.out
    kinds = {json.loads(line)["kind"] for line in rows.out.splitlines()}
    assert kinds == {"telemetry", "event"}
    assert "digits" in text_of(service, "telemetry", "list")
    assert service.ok("telemetry", "list")[0]["inferences"] >= 100
    assert "hot" in text_of(service, "telemetry", "events", "--device", "gw1")


def test_the_audit_log_says_who_did_what_and_its_chain_is_verified(service: Service) -> None:
    text_of(service, "stop", "--reason", "smoke")
    log = text_of(service, "audit", "log", "--limit", "5")
    assert "ada" in log
    assert "smoke" in log
    assert "rows are intact" in text_of(service, "audit", "verify")
    rows = service.ok("audit", "log")
    assert service.ok("audit", "verify")["count"] == len(rows)


def test_the_doctor_fails_while_offline_keys_lie_about(service: Service) -> None:
    found = service.wherry("doctor")
    assert found.status == 18
    assert "FAIL  offline keys: move release-1.pem, root-1.pem" in found.out
    (service.data / "offline" / "root-1.pem").unlink()
    (service.data / "offline" / "release-1.pem").unlink()
    assert service.wherry("doctor").status == 0


def test_a_backup_is_restored_into_an_empty_folder(service: Service, tmp_path: Path) -> None:
    made = service.ok("backup")
    copy = tmp_path / "copy"
    restored = wherry("--data", copy, "restore", made["path"])
    assert restored.status == 0, restored
    assert (copy / "wherry.toml").read_bytes() == (service.data / "wherry.toml").read_bytes()
    again = wherry("--data", copy, "restore", made["path"])
    assert (again.status, "already holds an organization" in again.err) == (14, True)


def test_names_from_devices_are_shown_without_markup(service: Service, tmp_path: Path) -> None:
    service.enroll("gw1", tmp_path, labels={"note": "[red]x[/red]"})
    assert "note=[red]x[/red]" in text_of(service, "device", "list")


def no_traceback(answer: Answer) -> bool:
    return "Traceback" not in answer.out + answer.err


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        (["device", "list", "--target", "label:site="], 1, "position"),
        (["device", "list", "--target", "'; DROP TABLE units; --"], 1, "position"),
        (["device", "show", "ghost"], 15, "ghost"),
        (["device", "isolate", "a/b/c", "--reason", "x"], 1, "DEVICE or DEVICE/UNIT"),
        (["device", "ask", "ghost", "status"], 15, "ghost"),
        (["device", "configure", "--target", "all"], 1, "nothing to change"),
        (["device", "configure", "--target", "all", "--label", "x"], 1, "KEY=VALUE"),
        (["registry", "show", "digits"], 1, "NAME:VERSION"),
        (["registry", "show", "digits:9.9.9"], 15, "9.9.9"),
        (["rollout", "show", "ghost"], 15, "ghost"),
        (["rollout", "watch", "ghost"], 15, "ghost"),
        (["deploy", "digits:1.0.0", "--target", "all"], 15, "digits"),
        (["rollback", "digits", "--target", "all", "--to-previous", "--reason", "x"], 15, "all"),
        (["class", "show", "ghost"], 15, "ghost"),
        (["operator", "disable", "ghost", "--reason", "x"], 15, "ghost"),
        (["operator", "disable", "ada", "--reason", "x"], 14, "admin"),
        (["stop", "--reason", ""], 1, "reason"),
    ],
)
def test_a_mistake_is_one_sentence_and_the_status_of_its_family(
    command: list[str], status: int, words: str, service: Service
) -> None:
    text = service.wherry(*command)
    assert (text.status, text.out) == (status, ""), text
    assert text.err.startswith("wherry: ")
    assert text.err.count("\n") == 1
    assert words in text.err
    as_json = service.wherry(*command, "--json")
    assert as_json.status == status
    assert json.loads(as_json.err)["error"] in text.err
    assert json.loads(as_json.err)["code"].upper() in Code.__members__


def test_a_rollback_needs_to_be_told_where_to(service: Service) -> None:
    for more in ([], ["--to-previous", "--to-version", "1.0.0"]):
        answer = service.wherry("rollback", "digits", "--target", "all", "--reason", "x", *more)
        assert (answer.status, no_traceback(answer)) == (2, True)
        assert "--to-previous or --to-version" in answer.err
