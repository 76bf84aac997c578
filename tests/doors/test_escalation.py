"""What is too grave to wait for a person: isolated or halted first, and told as critical."""

from typing import Any

from wherry_controller.fleet import escalating
from wherry_controller.inspecting import Inspector
from wherry_protocol.errors import Code
from wherry_protocol.messages.observed import Event, Kind, Severity
from wherry_protocol.sealed import seal_mac

from tests.controller.device import FakeDevice
from tests.doors.quay import Quay
from tests.doors.test_alerts import alerts
from tests.doors.test_watching import in_rollout, serving


def critical(quay: Quay) -> dict[str, dict[str, Any]]:
    """Topic -> alert."""
    return {a["topic"]: a for a in alerts(quay, limit=100) if a["severity"] == "critical"}


def test_a_device_whose_rollback_fails_is_shown_isolated_and_critical_until_it_serves_again(
    quay: Quay,
) -> None:
    made, new = in_rollout(quay, return_after_s=60.0)
    stuck = quay.devices[new[0]]
    stuck.is_deaf = True  # it is there, and does not do what it is told
    quay.jump(400)
    quay.rest("POST", f"/rollouts/{made['id']}/revert", {"reason": "too slow"})
    quay.go(5)
    quay.be_quiet(70)
    assert quay.rollout(made)["not_back"]
    quay.be_quiet(15)
    shown = {row["connection"]: row for row in quay.cli("device", "list")}
    assert shown[new[0]]["health"] == "rollback-failed"
    assert shown[new[0]]["is_isolated"]
    assert [r["connection"] for r in quay.rest("GET", "/devices", target="health=rollback-failed")
            ] == [new[0]]  # fmt: skip
    alert = critical(quay)["rollback failed"]
    assert (alert["cause"], alert["rollout"], new[0] in alert["text"]) == (
        "rollback", made["id"], True)  # fmt: skip
    assert {"device.rollback-failed", "device.isolate"} <= {
        row["action"] for row in quay.audited() if row["who"] == "wherry"}  # fmt: skip
    stuck.is_deaf = False
    quay.cli("device", "release", new[0], "--reason", "cleaned up")
    quay.go(2)
    assert quay.cli("device", "show", new[0])["units"][0]["health"] == "ok"


def test_a_release_does_not_say_that_a_rollback_has_worked(quay: Quay) -> None:
    made, new = in_rollout(quay, return_after_s=60.0)
    stuck = quay.devices[new[0]]
    stuck.is_deaf = True
    quay.jump(400)
    quay.rest("POST", f"/rollouts/{made['id']}/revert", {"reason": "too slow"})
    quay.go(5)
    quay.be_quiet(85)

    def shown() -> tuple[str, bool]:
        [unit] = quay.cli("device", "show", new[0])["units"]
        return unit["health"], unit["is_isolated"]

    assert shown() == ("rollback-failed", True)
    quay.cli("device", "release", new[0], "--reason", "it was rebooted")
    quay.be_quiet(60)
    assert shown() == ("rollback-failed", False)
    quay.be_quiet(300)  # in vain
    assert shown() == ("rollback-failed", True)
    stuck.is_deaf = False
    quay.cli("device", "release", new[0], "--reason", "its disk was replaced")
    quay.go(2)
    quay.be_quiet(15)
    assert shown() == ("ok", False)
    assert quay.versions()[new[0]] == "1.0.0"


def test_two_devices_and_five_percent_that_fall_silent_halt_every_rollout_of_the_model(
    quay: Quay,
) -> None:
    names = serving(quay, 6)
    quay.push("1.1.0")
    stages = [{"share": "100%", "soak_s": 9000.0}]
    plan = {"stages": stages, "gate": {"interval_s": 60.0}}
    made = quay.deploy("1.1.0", "(gw0 or gw1 or gw2 or gw3)", **plan)
    other = quay.deploy("1.1.0", "(gw4 or gw5)", **plan)
    quay.go(3)
    for _ in range(2):
        quay.report(names)
    for _ in range(4):
        quay.report(names[1:])
    assert escalating.HALTED not in quay.rollout(made)["reason"]  # one silent device is not two
    for _ in range(4):
        quay.report(names[2:])
    quay.be_quiet(15)
    for one in (made, other):
        assert quay.rollout(one)["state"] == "paused"
        assert f"2 of 4 devices fell silent in {made['id']}" in quay.rollout(one)["reason"]
    assert set(critical(quay)) == {"unresponsive"}
    quay.report(names)
    assert quay.rollout(made)["state"] == "paused"  # going on is an operator's decision


def test_after_a_halt_an_operator_goes_on_and_only_new_silence_halts_again(quay: Quay) -> None:
    names = serving(quay, 8)
    quay.push("1.1.0")
    plan = {"stages": [{"share": "100%", "soak_s": 9000.0}], "gate": {"interval_s": 60.0}}
    made = quay.deploy("1.1.0", "(gw0 or gw1 or gw2 or gw3)", **plan)
    other = quay.deploy("1.1.0", "(gw4 or gw5)", **plan)
    held = quay.deploy("1.1.0", "(gw6 or gw7)", **plan)
    quay.go(3)
    quay.rest("POST", f"/rollouts/{held['id']}/pause", {"reason": "the site is being moved"})
    for heard in (names, names, names[2:], names[2:], names[2:], names[2:]):
        quay.report(heard)
    assert escalating.HALTED in quay.rollout(made)["reason"]
    assert quay.rollout(held)["reason"] == "the site is being moved"
    for one in (other, made):  # each was halted for devices of the first
        quay.rest("POST", f"/rollouts/{one['id']}/resume", {"reason": "their line was cut"})
    quay.report(names[2:])
    assert {quay.rollout(one)["state"] for one in (made, other)} == {"running"}
    for _ in range(5):
        quay.report(names[4:])
    quay.be_quiet(15)
    assert f"2 of 4 devices fell silent in {made['id']}" in quay.rollout(other)["reason"]
    assert {quay.rollout(one)["state"] for one in (made, other)} == {"paused"}


def test_a_suite_that_fails_on_one_device_halts_the_rollout_and_is_critical(quay: Quay) -> None:
    made, new = in_rollout(quay)
    old = next(name for name in quay.devices if name not in new)
    body = {"target": "all", "model": "digits", "suite": "smoke"}
    quay.devices[old].golden = (3, 4)  # the rollout has not touched it
    quay.rest("POST", "/verifications", body)
    quay.go(5)
    assert quay.rollout(made)["state"] == "running"
    quay.devices[new[0]].golden = (3, 4)
    quay.rest("POST", "/verifications", body)
    quay.go(5)
    assert quay.rollout(made)["state"] == "paused"
    alert = critical(quay)["suite smoke"]
    assert (alert["cause"], alert["unit"]) == ("suite", f"{new[0]}/self")
    assert "3 of 4 golden vectors passed" in alert["text"]


def test_a_suite_over_every_model_halts_the_rollout_at_its_first_failure(quay: Quay) -> None:
    made, new = in_rollout(quay)
    old = next(name for name in quay.devices if name not in new)
    quay.devices[old].is_mute = True  # it keeps the run open
    quay.devices[new[0]].golden = (3, 4)
    run = quay.cli("verify", "--target", "all", "--no-wait")
    quay.go(5)
    assert quay.rest("GET", f"/verifications/{run['id']}")["outcome"] == "running"
    assert quay.rollout(made)["state"] == "paused"
    assert critical(quay)["suite smoke"]["unit"] == f"{new[0]}/self"


def damaged(device: FakeDevice) -> tuple[str, bytes]:
    """What an agent tells at its start when the active bundle does not have its hash."""
    message = Event(
        origin=device.origin(),
        kind=Kind.STORAGE,
        severity=Severity.ERROR,
        code=Code.DIGEST,
        text="the active bundle was damaged on disk; the previous one serves",
        model="digits",
    )
    return device.topics.event(device.name, device.unit), seal_mac(message, device.keys.mac_key)


def test_a_hash_mismatch_of_the_active_slot_isolates_the_device(quay: Quay) -> None:
    names = serving(quay)
    for _ in range(2):
        quay.hear(damaged(quay.devices[names[0]]))
    quay.go(2)
    units = {row["connection"]: (row["health"], row["is_isolated"])
             for row in quay.cli("device", "list")}  # fmt: skip
    assert units == {names[0]: ("corrupted", True), names[1]: ("ok", False)}
    [alert] = critical(quay).values()
    assert (alert["cause"], alert["count"]) == ("corruption", 1)
    assert quay.devices[names[0]].desired.is_isolated  # type: ignore[union-attr]


def test_a_damaged_database_pauses_every_rollout_and_is_critical(quay: Quay) -> None:
    made, _ = in_rollout(quay)
    inspector = Inspector(
        quay.settings, quay.data.database, quay.stage.submit, lambda: quay.stage.world.now_s
    )
    assert inspector.inspect() == "ok"

    def damage(org: Any) -> None:
        db = org.db
        db.execute("CREATE TABLE hurt (id INTEGER PRIMARY KEY, x TEXT)")
        db.execute("INSERT INTO hurt VALUES (1, NULL)")
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = 'CREATE TABLE hurt (id INTEGER PRIMARY KEY, "
                   "x TEXT NOT NULL)' WHERE name = 'hurt'")  # fmt: skip
        db.execute("PRAGMA writable_schema = OFF")

    quay.at_sea(lambda world: world.do(damage))
    assert "hurt" in inspector.inspect()
    quay.go(2)
    assert "hurt" in inspector.inspect()
    quay.go(2)  # told once
    assert quay.rollout(made)["state"] == "paused"
    alert = critical(quay)["database damaged"]
    assert ("restore a backup" in alert["text"], alert["count"]) == (True, 1)
