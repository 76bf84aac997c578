"""The ways back: by command, by the gate, by the standing guard; and the emergency brake."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from wherry_controller.core.permissions import Role
from wherry_protocol.errors import Code
from wherry_protocol.messages.observed import Kind
from wherry_protocol.messages.reported import Outcome

from tests.doors.quay import TRIAL, Quay
from tests.doors.test_evidence import tell

GATE: dict[str, Any] = {"interval_s": 1.0, "require": ["errors", "latency"]}
HALF: list[dict[str, Any]] = [{"share": "50%", "soak_s": 2.0}, {"share": "100%", "soak_s": 2.0}]


def two_versions(quay: Quay, count: int = 2) -> list[str]:
    """Devices that ran 1.0.0 and now serve 1.1.0."""
    names = [f"gw{n}" for n in range(count)]
    quay.enroll(*names)
    for version in ("1.0.0", "1.1.0"):
        quay.install(version)
    return names


def gated(quay: Quay, preset: str = "balanced", **gate: Any) -> dict[str, Any]:
    """Eight devices on 1.0.0, four of them on 1.1.0 in a stage with that gate."""
    quay.enroll(*(f"gw{n}" for n in range(8)))
    quay.install("1.0.0")
    quay.push("1.1.0")
    made = quay.deploy("1.1.0", stages=HALF, preset=preset, gate=GATE | gate)
    quay.go(3)
    return made


def test_a_rollback_to_the_previous_version_is_each_devices_own(quay: Quay) -> None:
    quay.enroll("early", "late")
    quay.install("1.0.0", "early")
    quay.install("1.1.0", "late")
    quay.install("1.2.0")
    back = ("rollback", "digits", "--target", "all", "--to-previous", "--reason", "false alarms")
    sent = quay.cli(*back)["sent"]
    quay.go(3)
    assert sent == {"early/self": "1.0.0", "late/self": "1.1.0"}
    assert quay.versions() == {"early": "1.0.0", "late": "1.1.0"}


def test_a_rollback_is_audited_with_who_and_why_and_refused_without_a_reason(quay: Quay) -> None:
    two_versions(quay)
    command = ("rollback", "digits", "--target", "all", "--to-previous")
    assert quay.wherry(*command).status == 2
    body = {"model": "digits", "target": "all", "reason": ""}
    assert "reason" in quay.refused("POST", "/rollback", body)
    quay.cli(*command, "--reason", "field engineers object")
    rows = [row for row in quay.cli("audit", "log") if row["action"] == "rollback"]
    assert [(row["who"], row["reason"]) for row in rows] == [("ada", "field engineers object")] * (
        len(rows)
    )
    assert rows


def test_a_rollback_to_a_version_goes_the_standard_way_under_a_higher_revision(quay: Quay) -> None:
    names = two_versions(quay)
    before = {name: quay.devices[name].revision for name in names}
    body = {"model": "digits", "target": "all", "to_version": "1.0.0", "reason": "drill"}
    quay.rest("POST", "/rollback", body | {"plan": {"trial": TRIAL}})
    quay.go(3)
    assert set(quay.versions().values()) == {"1.0.0"}
    for name in names:
        unit = quay.rest("GET", f"/devices/{name}")["units"][0]
        [model], [wanted] = unit["models"], unit["assignments"]
        assert (model["previous_version"], wanted["version"]) == ("1.1.0", "1.0.0")
        assert model["active_digest"] == wanted["bundle"]
        assert quay.devices[name].revision > before[name]
    quay.go(30)
    assert set(quay.versions().values()) == {"1.0.0"}, "the bad version is not pushed again"


def test_a_rollback_to_what_is_not_there_is_refused_and_names_what_is(quay: Quay) -> None:
    two_versions(quay)
    body = {"model": "digits", "target": "all", "to_version": "0.9.0", "reason": "drill"}
    sentence = quay.refused("POST", "/rollback", body)
    assert "1.0.0" in sentence
    assert set(quay.versions().values()) == {"1.1.0"}


def test_rolling_back_twice_never_brings_the_bad_version_back(quay: Quay) -> None:
    two_versions(quay)
    body = {"model": "digits", "target": "all", "reason": "bad"}
    quay.rest("POST", "/rollback", body)
    quay.go(3)
    assert "1.1.0 is bad" in quay.refused("POST", "/rollback", body)
    quay.go(3)
    assert set(quay.versions().values()) == {"1.0.0"}


def test_a_rollback_below_the_security_floor_is_refused(quay: Quay) -> None:
    quay.enroll("gw1")
    quay.install("1.0.0")
    quay.install("1.1.0", floor="1.1.0")
    body = {"model": "digits", "target": "all", "to_version": "1.0.0", "reason": "drill"}
    done = quay.call("POST", "/rollback", json=body)
    assert "floor" in done.text
    quay.go(3)
    assert quay.versions() == {"gw1": "1.1.0"}


@pytest.mark.parametrize(
    ("preset", "errors", "rounds", "state"),
    [
        ("conservative", 7, 3, "reverted"),  # 0.7 % of 4000 requests: 0.5 % may be
        ("balanced", 7, 3, "succeeded"),  # 1 % may be
        ("balanced", 13, 6, "reverted"),
        ("aggressive", 13, 16, "paused"),  # 2 % may be; the watch of 1 % holds it all the same
        ("aggressive", 25, 16, "reverted"),
    ],
)
def test_a_preset_decides_how_many_errors_a_rollout_may_make(
    quay: Quay, preset: str, errors: int, rounds: int, state: str
) -> None:
    made = gated(quay, preset)
    quay.sail(rounds, errors=errors)
    for _ in range(20):
        quay.sail(1, errors=errors)
        quay.go(2)
    ended = quay.rollout(made)
    assert (ended["preset"], ended["state"]) == (preset, state), ended["checks"]


@pytest.mark.parametrize(
    ("errors", "state"), [(2, "succeeded"), (21, "reverted")]
)  # of 1000; the old version has 1
def test_twice_a_tiny_error_rate_stays_and_a_large_one_goes(
    quay: Quay, errors: int, state: str
) -> None:
    made = gated(quay)
    quay.sail(20, errors=errors)
    assert quay.rollout(made)["state"] == state


@pytest.mark.parametrize(
    ("old_ns", "new_ns", "state"),
    [
        (600_000, 860_000, "succeeded"),  # 1.43 times: 1.5 may be
        (100_000, 300_000, "succeeded"),  # 3 times, and only 200 us more: 250 may be
        (400_000, 700_000, "reverted"),
    ],
)
def test_latency_goes_back_on_ratio_and_excess_over_the_control_group(
    quay: Quay, old_ns: int, new_ns: int, state: str
) -> None:
    made = gated(quay)
    quay.sail(20, old={"latency_ns": old_ns}, latency_ns=new_ns)
    ended = quay.rollout(made)
    assert ended["state"] == state, ended["checks"]
    evidence = [row["details"] for row in quay.audited() if row["subject"] == made["id"]]
    bases = {
        check["figures"]["basis"]
        for details in evidence
        for check in details.get("checks", ())
        if check["check"] == "latency" and check["verdict"] != "inconclusive"
    }
    assert "control" in bases


def test_all_reasons_are_kept_errors_before_latency(quay: Quay) -> None:
    made = gated(quay)
    quay.sail(20, old={"latency_ns": 200_000}, errors=500, latency_ns=900_000)
    assert quay.rollout(made)["state"] == "reverted"
    [row] = [row for row in quay.audited() if row["action"] == "rollout.revert"]
    failed = [c["check"] for c in row["details"]["checks"] if c["verdict"] == "fail"]
    assert failed == ["errors", "latency"]
    assert (row["who"], "error rate" in row["reason"]) == ("rollout guard", True)


def test_every_number_of_the_policy_can_be_set_per_rollout_and_is_listed(quay: Quay) -> None:
    made = gated(quay, error_rate_max=0.6, requests_min=100)
    shown = quay.wherry("rollout", "show", made["id"]).out
    assert "gate.error_rate_max = 0.6 (0.01)" in "\n".join(made["overrides"])
    assert made["id"] in shown
    quay.sail(20, errors=500)
    assert quay.rollout(made)["state"] in ("succeeded", "paused")
    assert "rollout.revert" not in [row["action"] for row in quay.audited()]


def test_an_operator_sends_a_running_rollout_back_with_a_reason(quay: Quay) -> None:
    made = gated(quay)
    assert list(quay.versions().values()).count("1.1.0") == 4
    quay.wherry("rollout", "abort", made["id"], "--revert", "--reason", "EMERGENCY: smoke")
    quay.go(5)
    assert set(quay.versions().values()) == {"1.0.0"}
    assert quay.rollout(made)["state"] == "reverted"
    [row] = [row for row in quay.audited() if row["action"] == "rollout.revert"]
    assert (row["who"], row["reason"]) == ("ada", "EMERGENCY: smoke")


def test_errors_above_10_percent_for_2_minutes_put_the_former_version_back(quay: Quay) -> None:
    names = two_versions(quay)
    quay.report(names[:1], errors=11, inferences=100)
    quay.report(names[1:], errors=10, inferences=100)
    quay.go(2)
    assert set(quay.versions().values()) == {"1.1.0"}, "60 s are not 120 s"
    quay.report(names[:1], errors=11, inferences=100)
    quay.report(names[1:], errors=10, inferences=100)
    quay.go(3)
    assert quay.versions() == {"gw0": "1.0.0", "gw1": "1.1.0"}, "10 % is not above 10 %"


def give_back(quay: Quay, name: str) -> None:
    """The device went back by itself after two minutes of errors, and reports it."""

    def run(world: Any) -> None:
        device = world.devices[name]
        device.active["digits"] = device.previous.pop("digits")
        told = device.done["digits"][0]
        device.done["digits"] = (told, Outcome.REVERTED, Code.ERROR_RATE)
        world.receive(device.reported())

    quay.at_sea(run)


def test_what_a_device_gave_back_by_itself_is_known_as_failed_and_not_given_again(
    quay: Quay,
) -> None:
    two_versions(quay)
    give_back(quay, "gw0")
    quay.go(5)
    assert quay.versions() == {"gw0": "1.0.0", "gw1": "1.1.0"}, "nobody brings it back"
    again = quay.deploy("1.1.0")
    quay.go(5)
    assert quay.versions() == {"gw0": "1.0.0", "gw1": "1.1.0"}
    assert "gw0/self" in quay.rollout(again)["skipped"]
    quay.push("1.1.1")
    quay.deploy("1.1.1")
    quay.go(5)
    assert set(quay.versions().values()) == {"1.1.1"}, "another version comes"


def tell_of_giving_back(quay: Quay, name: str) -> None:
    """As `give_back`, where `reported` answers another assignment than the one that failed: only
    the event says which bundle went."""

    def run(world: Any) -> None:
        device = world.devices[name]
        bad = device.active["digits"]
        device.active["digits"] = device.previous.pop("digits")
        told = {"model": "digits", "manifest_digest": bad.digest, "code": Code.ERROR_RATE}
        world.receive(device.event("it failed for 120 s", Kind.REVERTED, **told))
        world.receive(device.reported())

    quay.at_sea(run)


def test_what_went_back_beside_a_shadow_is_known_as_failed_and_the_shadow_is_not(
    quay: Quay,
) -> None:
    quay.enroll("gw0", "gw1", protocol=(1, 2))
    quay.install("1.0.0")
    quay.install("1.1.0")
    quay.push("1.2.0")
    shadow = quay.deploy("1.2.0", strategy="shadow", gate={"require": []})
    quay.go(3)
    tell(quay, "gw0", 90, compared=100)
    tell(quay, "gw1", 90, compared=100)
    tell_of_giving_back(quay, "gw0")
    quay.go(3)
    assert quay.rollout(shadow)["failed"] == {}
    found = quay.cli("rollout", "shadow", shadow["id"])["devices"]
    assert found["gw1/self"]["compared"] == 100
    assert found["gw0/self"]["compared"] == 0, "it was compared with what does not serve any more"
    quay.rest("POST", f"/rollouts/{shadow['id']}/abort", {"reason": "enough"})
    quay.go(3)
    assert quay.versions() == {"gw0": "1.0.0", "gw1": "1.1.0"}, "what failed does not come back"
    again = quay.deploy("1.1.0")
    quay.go(5)
    assert quay.versions() == {"gw0": "1.0.0", "gw1": "1.1.0"}
    assert "gw0/self" in quay.rollout(again)["skipped"]


@pytest.mark.parametrize("goes_back", [give_back, tell_of_giving_back])
def test_a_rollout_counts_a_confirmed_device_that_goes_back_by_itself_as_failed(
    quay: Quay, goes_back: Callable[[Quay, str], None]
) -> None:
    quay.enroll("gw0", "gw1")
    quay.install("1.0.0")
    quay.push("1.1.0")
    stages = [{"share": "100%", "soak_s": 600.0}]
    made = quay.deploy("1.1.0", stages=stages, gate={"require": []})
    quay.go(3)
    assert set(quay.versions().values()) == {"1.1.0"}
    goes_back(quay, "gw0")
    quay.go(3)
    assert "gw0/self" in quay.rollout(made)["failed"]


@pytest.mark.parametrize(("latency_ns", "version"), [(1_490_000, "1.1.0"), (1_600_000, "1.0.0")])
def test_a_mean_latency_above_150_percent_of_the_budget_puts_the_former_version_back(
    quay: Quay, latency_ns: int, version: str
) -> None:
    [name] = two_versions(quay, 1)
    quay.report([name], latency_ns=latency_ns)
    quay.go(3)
    assert quay.versions() == {name: version}


@pytest.mark.parametrize(
    ("energy_j", "source", "version"),
    [
        (620e-6, "measured:hwmon", "1.1.0"),  # the budget is 500 uJ: 625 may be
        (630e-6, "measured:hwmon", "1.0.0"),
        (630e-6, "modelled:calibrated", "1.0.0"),
        (5000e-6, "modelled:datasheet", "1.1.0"),
    ],
)
def test_energy_above_125_percent_of_the_budget_goes_back_unless_it_is_from_a_data_sheet(
    quay: Quay, energy_j: float, source: str, version: str
) -> None:
    [name] = two_versions(quay, 1)
    quay.report([name], energy_j=energy_j, energy_source=source)
    quay.go(3)
    assert quay.versions() == {name: version}


def test_a_stop_holds_every_rollout_and_resuming_is_explicit(quay: Quay) -> None:
    quay.enroll(*(f"gw{n}" for n in range(4)))
    quay.install("1.0.0")
    quay.push("1.1.0")
    stages = [{"share": "25%", "is_gated": False, "soak_s": 5.0},
              {"share": "100%", "is_gated": False}]  # fmt: skip
    made = quay.deploy("1.1.0", stages=stages)
    quay.go(2)
    quay.cli("stop", "--reason", "wrong model is spreading")
    quay.go(60)
    assert quay.rollout(made)["state"] == "paused"
    assert list(quay.versions().values()).count("1.1.0") == 1
    stop = quay.devices["gw0"].topics.stop
    assert quay.at_sea(lambda world: stop in world.retained), "a device that was away reads it"
    order = {"model": "digits", "version": "1.1.0", "target": "all", "plan": {}}
    assert "stop" in quay.refused("POST", "/rollouts", order).lower()
    quay.cli("go", "--reason", "found and fixed")
    quay.go(60)
    assert quay.rollout(made)["state"] == "paused"
    quay.cli("rollout", "resume", made["id"], "--reason", "go on")
    quay.go(20)
    assert quay.rollout(made)["state"] == "succeeded"
    told = [row["action"] for row in quay.audited()]
    assert told.count("stop") + told.count("fleet.stop") + told.count("go") >= 1


def test_an_isolated_device_is_told_takes_no_rollout_and_still_reports(quay: Quay) -> None:
    names = two_versions(quay)
    quay.push("1.2.0")
    quay.cli("device", "isolate", names[0], "--reason", "smells burnt")
    quay.go(2)
    desired = quay.devices[names[0]].desired
    assert desired is not None
    assert desired.is_isolated
    made = quay.deploy("1.2.0")
    quay.go(3)
    assert quay.versions() == {names[0]: "1.1.0", names[1]: "1.2.0"}
    quay.report(names)
    rows = quay.rest("GET", "/performance", device=names[0])
    assert rows
    quay.cli("device", "release", names[0], "--reason", "new fan")
    quay.go(2)
    desired = quay.devices[names[0]].desired
    assert desired is not None
    assert not desired.is_isolated
    assert quay.rollout(made)["id"] == made["id"]


@pytest.mark.parametrize(("interval_s", "state"), [(1.0, "reverted"), (300.0, "paused")])
def test_the_check_interval_is_obeyed(quay: Quay, interval_s: float, state: str) -> None:
    made = gated(quay, interval_s=interval_s)
    quay.sail(20, errors=40)
    assert quay.rollout(made)["state"] == state
    quay.sail(300 if state == "paused" else 1, errors=40)
    assert quay.rollout(made)["state"] == "reverted"


def test_a_device_that_is_not_heard_of_after_an_abort_is_named_across_restarts(quay: Quay) -> None:
    quay.enroll("a", "b")
    quay.install("1.0.0")
    quay.push("1.1.0")
    quay.devices["b"].is_deaf = True
    made = quay.deploy("1.1.0", return_after_s=60.0)
    quay.rest("POST", f"/rollouts/{made['id']}/abort", {"reason": "wrong version"})
    quay.at_sea(lambda world: world.restart())
    quay.go(3)
    quay.be_quiet(70.0)
    ended = quay.rollout(made)
    assert (ended["state"], list(ended["not_back"])) == ("aborted", ["b/self"])


def asked_to_come_back(quay: Quay) -> dict[str, Any]:
    """An aborted rollout of 1.1.0, of which `b` has not heard anything; 1.2.0 in the registry."""
    quay.enroll("a", "b")
    quay.install("1.0.0")
    quay.push("1.1.0")
    quay.push("1.2.0")
    quay.devices["b"].is_deaf = True
    made = quay.deploy("1.1.0", return_after_s=60.0)
    quay.rest("POST", f"/rollouts/{made['id']}/abort", {"reason": "wrong version"})
    quay.go(3)
    return made


def test_who_is_asked_back_after_an_abort_is_shown_until_the_last_is_back(quay: Quay) -> None:
    made = asked_to_come_back(quay)
    shown = quay.rollout(made)
    assert (shown["state"], shown["is_open"], shown["is_winding_down"]) == ("aborted", False, True)
    assert shown["waiting_for"] == ["1 device to come back"]
    assert "aborted, winding down" in quay.wherry("rollout", "list").out
    text = quay.wherry("rollout", "show", made["id"]).out
    assert "aborted, winding down (failed)" in text
    assert "waits for 1 device to come back" in text
    assert quay.rest("GET", "/status")["winding_down"] == [made["id"]]
    assert f"winding down: {made['id']}" in quay.wherry("status").out
    headers = {"Authorization": f"Bearer {quay.tokens[Role.VIEWER]}"}
    path = f"/api/v1/rollouts/{made['id']}/watch"
    with quay.client.stream("GET", path, headers=headers) as answer:
        views = (json.loads(line[5:]) for line in answer.iter_lines() if line.startswith("data"))
        assert next(views)["is_winding_down"]
        quay.devices["b"].is_deaf = False
        quay.go(3)
        last = list(views)[-1]
    assert (last["is_winding_down"], last["returns"]["sent"], last["waiting_for"]) == (False, 0, [])
    assert "winding down" not in quay.wherry("rollout", "list").out


def test_who_another_rollout_has_taken_after_an_abort_is_not_named_as_not_back(quay: Quay) -> None:
    made = asked_to_come_back(quay)
    quay.deploy("1.2.0", "b")
    assert quay.rollout(made)["returns"]["sent"] == 0
    quay.devices["b"].is_deaf = False
    quay.go(3)
    quay.be_quiet(70.0)
    assert quay.versions()["b"] == "1.2.0"
    assert quay.rollout(made)["not_back"] == {}


def test_who_was_isolated_on_the_way_back_of_an_abort_is_named_with_that(quay: Quay) -> None:
    made = asked_to_come_back(quay)
    quay.rest("POST", "/devices/b/self/isolate", {"reason": "smoke"})
    assert quay.rollout(made)["not_back"] == {"b/self": "isolated by ada: smoke"}
