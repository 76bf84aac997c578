"""Alerts: one per matter, from its first breach until it is over; who is at it, and how it ends."""

import json
from pathlib import Path
from typing import Any

import pytest
from wherry_controller.core.permissions import Role
from wherry_controller.fleet import Organization
from wherry_controller.store.rollouts import Notice, put_notice
from wherry_protocol.errors import Code

from tests.doors.quay import Quay, make_quay
from tests.doors.test_watching import resources, serving

GOOD = {"inferences": 1000, "latency_ns": 500_000, "energy_j": 1e-4}


def alerts(quay: Quay, **query: Any) -> list[dict[str, Any]]:
    return list(quay.rest("GET", "/alerts", **query))


def raised(quay: Quay) -> dict[str, Any]:
    """A device with 6 % errors: its one alert."""
    [name] = serving(quay, 1)
    quay.report([name], inferences=1000, errors=60)
    quay.go(2)
    [alert] = alerts(quay)
    return alert


def test_one_matter_is_one_alert_and_one_recovery_however_often_it_flaps(quay: Quay) -> None:
    [name] = serving(quay, 1)
    for _ in range(4):
        quay.report([name], interval_s=15.0, inferences=1000, errors=60)
        quay.report([name], interval_s=15.0, **GOOD)
    quay.report([name], interval_s=15.0, inferences=1000, errors=60)
    [alert] = quay.cli("alerts", "list")
    assert (alert["state"], alert["count"], alert["cause"]) == ("open", 5, "errors")
    assert alert["last_s"] - alert["first_s"] == pytest.approx(8 * 15.0)
    for _ in range(3):
        quay.report([name], **GOOD)
    [alert] = quay.cli("alerts", "list")
    assert (alert["state"], alert["resolved_by"], alert["count"]) == ("resolved", "wherry", 5)
    quay.report([name], inferences=1000, errors=60)
    quay.go(2)
    assert [a["state"] for a in alerts(quay)] == ["open", "resolved"]  # another time, another alert


def test_an_operator_acknowledges_and_resolves_with_a_reason_and_both_are_audited(
    quay: Quay,
) -> None:
    number = str(raised(quay)["id"])
    assert quay.wherry("alerts", "ack", number).status == 2  # a reason is mandatory
    shown = quay.cli("alerts", "ack", number, "--reason", "on my way")
    assert (shown["state"], shown["acknowledged_by"]) == ("acknowledged", "ada")
    again = quay.wherry("alerts", "ack", number, "--reason", "me too")
    assert (again.status, "acknowledged already, by ada" in again.err) == (14, True)
    assert quay.cli("alerts", "resolve", number, "--reason", "new sensor")["state"] == "resolved"
    assert quay.wherry("alerts", "resolve", number, "--reason", "twice").status == 14
    rows = {row["action"]: row for row in quay.audited()}
    assert rows["alert.acknowledge"]["reason"] == "on my way"
    assert (rows["alert.resolve"]["who"], rows["alert.resolve"]["reason"]) == ("ada", "new sensor")


def test_what_gets_worse_opens_an_acknowledged_alert_again(quay: Quay) -> None:
    number = str(raised(quay)["id"])
    quay.cli("alerts", "ack", number, "--reason", "on my way")
    for _ in range(4):
        quay.report(["gw0"], inferences=1000, errors=200)
    shown = quay.cli("alerts", "show", number)
    assert (shown["state"], shown["severity"], shown["acknowledged_by"]) == ("open", "critical", "")
    assert "above 0.1" in shown["text"]


def test_alerts_are_listed_by_state_ten_at_a_time_newest_first(quay: Quay) -> None:
    def raise_eleven(org: Organization) -> None:
        for number in range(11):
            put_notice(org.db, Notice(None, 1.8e9, "warning", f"matter {number}", "", "text"))

    quay.at_sea(lambda world: world.do(raise_eleven))
    quay.go(2)
    found = quay.cli("alerts", "list")
    assert [a["id"] for a in found] == list(range(11, 1, -1))
    assert len(quay.cli("alerts", "list", "--limit", "11", "--state", "open")) == 11
    assert quay.cli("alerts", "list", "--state", "resolved") == []
    assert quay.refused("GET", "/alerts?state=gone").startswith("query.state")


def test_a_temperature_outside_the_range_of_its_class_alerts(quay: Quay) -> None:
    [name] = serving(quay, 1)  # linux-x86_64: 0..95 C
    for celsius, count in ((95.0, 0), (95.5, 1), (0.0, 1), (-0.5, 2)):
        resources(quay, quay.devices[name], temperature=celsius)
        quay.go(2)
        assert len(alerts(quay)) == count, celsius
        resources(quay, quay.devices[name], temperature=40.0)
        quay.jump(61)
        assert {a["state"] for a in alerts(quay)} <= {"resolved"}
    assert {a["cause"] for a in alerts(quay)} == {"temperature"}


def test_no_temperature_and_a_class_without_a_range_give_no_verdict(quay: Quay) -> None:
    [name] = serving(quay, 1)
    resources(quay, quay.devices[name], memory_rss=10.0, memory_budget=100.0)
    profile = quay.rest("GET", "/classes/linux-x86_64")
    quay.rest("PUT", "/classes/linux-x86_64",
              profile | {"temperature_c_min": None, "temperature_c_max": None})  # fmt: skip
    resources(quay, quay.devices[name], temperature=300.0)
    quay.go(2)
    assert alerts(quay) == []


def test_a_nearly_full_device_alerts_and_so_does_a_refused_load(quay: Quay) -> None:
    [name] = serving(quay, 1)
    device = quay.devices[name]
    budget = quay.rest("GET", "/classes/linux-x86_64")["storage_budget_bytes"]
    resources(quay, device, storage_free=1e12, storage_used=budget * 0.94)
    quay.go(2)
    assert alerts(quay) == []
    resources(quay, device, storage_free=1e12, storage_used=budget * 0.96)
    quay.hear(device.event("needs 3 MiB, 1 MiB is left", code=Code.OVER_MEMORY, model="digits"))
    quay.go(2)
    found = {a["cause"]: a for a in alerts(quay)}
    assert set(found) == {"storage", "memory"}
    assert "needs 3 MiB" in found["memory"]["text"]
    assert "4% of the storage budget" in found["storage"]["text"]


def test_without_a_budget_five_milliseconds_alert(quay: Quay) -> None:
    [name] = serving(quay, 1)
    served = quay.devices[name].active["digits"]
    quay.devices[name].active["digits"] = type(served)(bytes(32), served.version)
    for latency_ns, causes in ((4_900_000, []), (5_200_000, ["latency"])):
        quay.report([name], inferences=1000, latency_ns=latency_ns)
        quay.go(2)
        assert [a["cause"] for a in alerts(quay)] == causes


def test_stale_trust_and_an_unknown_time_alert_and_recover(quay: Quay) -> None:
    serving(quay, 2)
    quay.devices["gw0"].is_trust_stale = True
    quay.devices["gw1"].refusal_code = Code.TIME_UNKNOWN
    quay.hear(*(device.reported() for device in quay.devices.values()))
    quay.be_quiet(70)
    found = {a["unit"]: a for a in alerts(quay) if a["cause"] == "stale"}
    assert "stale trust" in found["gw0/self"]["text"]
    assert "the time" in found["gw1/self"]["text"]
    quay.devices["gw0"].is_trust_stale = False
    quay.devices["gw1"].refusal_code = Code.OK
    quay.hear(*(device.reported() for device in quay.devices.values()))
    quay.be_quiet(140)
    assert {a["state"] for a in alerts(quay) if a["cause"] == "stale"} == {"resolved"}


def test_fast_forward_attack_alerts_until_the_devices_can_be_told_something_again(
    quay: Quay,
) -> None:
    serving(quay, 2)
    quay.devices["gw0"].revision = (1 << 63) - 1
    quay.devices["gw1"].refusal_code = Code.EXPIRED
    quay.hear(*(device.reported() for device in quay.devices.values()))
    quay.be_quiet(70)
    found = {a["unit"]: a for a in alerts(quay) if a["cause"] == "stale"}
    assert found[""]["severity"] == "critical"
    assert "gw0/self follows revision 9223372036854775807" in found[""]["text"]
    assert "for expired" in found["gw1/self"]["text"]
    assert "refused: EXPIRED" in quay.wherry("device", "show", "gw1").out
    assert "refused" not in quay.wherry("device", "show", "gw0").out
    quay.devices["gw0"].revision = 3
    quay.devices["gw1"].refusal_code = Code.OK
    quay.hear(*(device.reported() for device in quay.devices.values()))
    quay.be_quiet(140)
    assert {a["state"] for a in alerts(quay) if a["cause"] == "stale"} == {"resolved"}


def test_a_root_that_ends_soon_alerts_and_one_that_has_ended_more_so(quay: Quay) -> None:
    """By its date: the words of an alert stand for as long as nothing gets worse."""
    quay.jump(340 * 86_400)
    quay.be_quiet(70)
    [found] = [one for one in alerts(quay, limit=100) if one["text"].startswith("root 1 ends at")]
    assert (found["severity"], found["state"]) == ("warning", "open")
    at = found["text"].removeprefix("root 1 ends at ").partition(";")[0]
    quay.jump(30 * 86_400)
    quay.be_quiet(70)
    [found] = [one for one in alerts(quay, limit=100) if one["text"].startswith("root 1 ended")]
    assert f"ended at {at}: devices take nothing new" in found["text"]
    assert (found["severity"], found["state"]) == ("critical", "open")


def test_what_befalls_many_devices_at_once_is_one_alert(quay: Quay) -> None:
    names = [f"gw{n:02}" for n in range(12)]
    quay.enroll(*names)
    quay.push("1.0.0")

    def stale(count: int) -> dict[str, str]:
        """That many devices have stale trust; the alerts that stand of it, by unit."""
        for name in names:
            quay.devices[name].is_trust_stale = name in names[:count]
        quay.hear(*(device.reported() for device in quay.devices.values()))
        quay.be_quiet(140)
        return {a["unit"]: a["text"] for a in alerts(quay, limit=100)
                if a["cause"] == "stale" and a["state"] == "open"}  # fmt: skip

    assert stale(12) == {
        "": "12 units have stale trust (gw00/self, gw01/self, gw02/self, ...): they take no update"
        " until they have heard of us"
    }
    assert set(stale(2)) == {"gw00/self", "gw01/self"}
    assert set(stale(12)) == {""}
    told = [text for text in quay.notices() if "stale trust" in text]
    assert len(told) == 1 + 1 + 2 + 2 + 1  # raised and over, two and over, raised again
    assert stale(0) == {}


def test_the_controllers_own_disk_and_database_alert(tmp_path: Path) -> None:
    def edit(text: str) -> str:
        text = text.replace(f"disk_free_bytes_min = {1 << 30}", f"disk_free_bytes_min = {1 << 62}")
        return text.replace(f"database_bytes_max = {64 << 30}", "database_bytes_max = 1000")

    quay = make_quay(tmp_path / "small", "small", edit)
    quay.be_quiet(15)
    found = {a["cause"]: a["severity"] for a in quay.cli("alerts", "list")}
    quay.close()
    assert found == {"disk": "critical", "database": "warning"}


def test_alerts_are_streamed_as_they_change(quay: Quay) -> None:
    before = raised(quay)
    quay.at_sea(lambda world: world.restart())
    quay.go(3)
    assert alerts(quay) == [before]  # a restart forgets none and counts none twice
    number = before["id"]
    headers = {"Authorization": f"Bearer {quay.tokens[Role.VIEWER]}"}
    with quay.client.stream("GET", "/api/v1/alerts/watch", headers=headers) as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("data: "))
        assert json.loads(next(lines).removeprefix("data: "))["state"] == "open"
        quay.rest("POST", f"/alerts/{number}/acknowledge", {"reason": "here"})
        assert json.loads(next(lines).removeprefix("data: "))["state"] == "acknowledged"
