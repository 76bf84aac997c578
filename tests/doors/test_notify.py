"""Who is told of what: signed webhooks and commands, by routes, until it has arrived."""

import hmac
import json
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from wherry_controller import settings as setup
from wherry_protocol.errors import WherryError

from tests.doors.post import SECRET, PostOffice, Wired, open_post_office, webhook, wire
from tests.doors.quay import Quay
from tests.doors.test_alerts import GOOD, alerts
from tests.doors.test_evidence import shadowed, tell
from tests.doors.test_watching import resources, serving

Opener = Callable[[Callable[[str], str]], Wired]


@pytest.fixture
def office() -> Iterator[PostOffice]:
    made = open_post_office()
    yield made
    made.close()


@pytest.fixture
def wired(tmp_path: Path, office: PostOffice) -> Iterator[Opener]:
    """Opens an organization with routes."""
    opened: list[Wired] = []

    def open_one(routes: Callable[[str], str]) -> Wired:
        opened.append(wire(tmp_path / f"org{len(opened)}", office, routes, f"org{len(opened)}"))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def breach(quay: Quay) -> None:
    """A device with 6 % errors."""
    [name] = serving(quay, 1)
    quay.report([name], inferences=1000, errors=60)
    quay.go(2)


def test_an_alert_is_posted_once_signed_and_its_recovery_once(
    wired: Opener, office: PostOffice
) -> None:
    one = wired(lambda url: webhook("on-call", url, contact="Bo"))
    breach(one.quay)
    for _ in range(3):
        one.quay.report(["gw0"], inferences=1000, errors=60)
        one.deliver()
    for _ in range(3):
        one.quay.report(["gw0"], **GOOD)
        one.deliver()
    assert office.kinds() == ["alert.raised", "alert.recovered"]
    headers, body = office.taken[0]
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = b64encode(hmac.digest(SECRET, content, sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}"
    told = json.loads(body)
    assert (told["id"], told["contact"], told["severity"]) == (
        headers["webhook-id"], "Bo", "warning")  # fmt: skip
    assert (told["alert"]["unit"], told["alert"]["cause"]) == ("gw0/self", "errors")


def test_causes_and_severities_choose_the_contact(wired: Opener, office: PostOffice) -> None:
    one = wired(
        lambda url: (
            webhook("on-call", url + "/call", severity="critical")
            + webhook("hardware", url + "/hw", causes=["temperature", "storage", "crash"])
            + webhook("ml", url + "/ml", causes=["accuracy", "drift", "disagreement"])
            + webhook("devops", url + "/ops", causes=["broker", "disk", "database"])
        )
    )
    quay = one.quay
    [name] = serving(quay, 1)
    resources(quay, quay.devices[name], temperature=120.0)
    quay.at_sea(lambda world: world.fleet.link_changed(False, True, world.now_s))
    quay.be_quiet(90.0)
    one.deliver()
    told = {row["route"]: row["kind"] for row in quay.cli("notify", "list")}
    assert told == {"hardware": "alert.raised", "on-call": "alert.raised", "devops": "alert.raised"}
    causes = {message["cause"] for message in office.told}
    assert causes == {"temperature", "broker"}


def test_what_does_not_arrive_is_tried_later_and_later_then_lies_dead_and_is_sent_again(
    wired: Opener, office: PostOffice
) -> None:
    one = wired(lambda url: webhook("on-call", url, attempts_max=3))
    quay = one.quay
    office.status = 503
    breach(quay)
    one.deliver()
    one.deliver()  # not due yet
    assert len(office.taken) == 1
    for wait_s in (9.0, 2.0, 19.0, 2.0):
        quay.jump(wait_s)
        one.deliver()
    [dead] = quay.cli("notify", "dead")
    assert (dead["attempts"], dead["state"], dead["text"]) == (3, "dead", "503")
    tried = quay.cli("notify", "show", str(dead["id"]))["tried"]
    assert [a["number"] for a in tried] == [1, 2, 3]
    assert tried[1]["at_s"] - tried[0]["at_s"] >= 10.0
    assert tried[2]["at_s"] - tried[1]["at_s"] >= 20.0
    office.status = 200
    quay.cli("notify", "resend", str(dead["id"]), "--reason", "their server is back")
    one.deliver()
    assert [r["state"] for r in quay.cli("notify", "list")] == ["delivered", "dead"]
    assert quay.audited()[-1]["action"] == "delivery.resend"
    assert quay.wherry("notify", "resend", "2", "--reason", "again").status == 14


def test_a_controller_that_died_in_the_middle_of_an_attempt_tries_again(
    wired: Opener, office: PostOffice
) -> None:
    from wherry_controller.fleet import delivering

    one = wired(lambda url: webhook("on-call", url))
    quay = one.quay
    breach(quay)
    route = quay.settings.routes[0]
    quay.at_sea(lambda world: world.do(lambda org: delivering.claim(org, route, world.now_s)))
    quay.at_sea(lambda world: world.restart())
    one.deliver()
    assert office.taken == []
    quay.jump(60)
    one.deliver()
    assert office.kinds() == ["alert.raised"]
    [row] = quay.cli("notify", "list", "--state", "delivered")
    assert row["attempts"] == 2


def test_a_command_gets_the_message_without_a_shell_and_is_ended_when_it_takes_too_long(
    wired: Opener, tmp_path: Path
) -> None:
    said = tmp_path / "said.json"
    script = tmp_path / "page.py"
    script.write_text(
        "import json, os, sys\n"
        "env = {k: v for k, v in os.environ.items() if k.startswith('WHERRY_')}\n"
        f"json.dump([sys.argv[1:], env, json.load(sys.stdin)], open({str(said)!r}, 'w'))\n"
    )
    command = json.dumps([sys.executable, str(script), "$(reboot)", "; true"])
    slow = json.dumps([sys.executable, "-c", "import time; time.sleep(60)"])
    one = wired(
        lambda _: (
            f'[[routes]]\nname = "page"\ncommand = {command}\n'
            f'[[routes]]\nname = "slow"\ncommand = {slow}\ntimeout_s = 1\nattempts_max = 1\n'
            '[[routes]]\nname = "gone"\ncommand = ["/nowhere/at/all"]\nattempts_max = 1\n'
        )
    )
    breach(one.quay)
    one.deliver()
    arguments, env, told = json.loads(said.read_text())
    assert arguments == ["$(reboot)", "; true"]
    assert (env["WHERRY_CAUSE"], env["WHERRY_UNIT"], env["WHERRY_MODEL"]) == (
        "errors", "gw0/self", "digits")  # fmt: skip
    assert told["kind"] == env["WHERRY_KIND"] == "alert.raised"
    states = {row["route"]: (row["state"], row["text"]) for row in one.quay.cli("notify", "list")}
    assert states["page"] == ("delivered", "exit status 0")
    assert states["slow"] == ("dead", "not done within 1 s, it was ended")
    assert states["gone"] == ("dead", "/nowhere/at/all: No such file or directory")


def test_nobody_who_acknowledges_in_time_escalates_and_who_does_ends_it(
    wired: Opener, office: PostOffice
) -> None:
    one = wired(
        lambda url: (
            webhook("team", url, escalate_after_s=600, escalate_to="on-call")
            + webhook(
                "on-call", url, events=["emergency"], escalate_after_s=300, escalate_to="boss"
            )
            + webhook("boss", url, events=["emergency"])
        )
    )
    quay = one.quay
    breach(quay)
    quay.jump(500)
    one.deliver()
    assert office.kinds() == ["alert.raised"]
    quay.jump(110)
    one.deliver()
    assert office.kinds() == ["alert.raised", "alert.escalated"]
    [alert] = alerts(quay)
    quay.cli("alerts", "ack", str(alert["id"]), "--reason", "here")
    quay.jump(1000)
    one.deliver()
    assert office.kinds() == ["alert.raised", "alert.escalated"]
    routes = [row["route"] for row in quay.cli("alerts", "show", str(alert["id"]))["deliveries"]]
    assert routes == ["on-call", "team"]
    assert any(row["action"] == "alert.escalate" for row in quay.audited())


def test_an_organizations_alerts_go_by_its_own_routes_only(
    wired: Opener, office: PostOffice
) -> None:
    first = wired(lambda url: webhook("admins", url, contact="admins of org0"))
    second = wired(lambda url: webhook("admins", url, contact="admins of org1"))
    breach(second.quay)
    first.deliver()
    second.deliver()
    [told] = office.told
    assert (told["organization"], told["contact"]) == ("org1", "admins of org1")
    assert first.quay.cli("notify", "list") == []


def test_a_rollout_is_announced_started_staged_and_completed_to_who_wants_to_know(
    wired: Opener, office: PostOffice
) -> None:
    from wherry_controller.store import deliveries

    one = wired(
        lambda url: (
            webhook("team", url, events=["rollout"])
            + webhook("others", url, events=["rollout.completed"], attempts_max=1)
        )
    )
    quay = one.quay
    quay.enroll("gw0", "gw1")
    quay.push("1.0.0")
    made = quay.deploy("1.0.0")
    quay.go(3)
    one.deliver()
    kinds = [row["kind"] for row in reversed(quay.cli("notify", "list")) if row["route"] == "team"]
    assert kinds == ["rollout.announced", "rollout.started", "rollout.stage", "rollout.completed"]
    assert {message["rollout"] for message in office.told} == {made["id"]}
    [ended] = {m["reason"] for m in office.told if m["kind"] == "rollout.completed"}
    assert ended == "succeeded"

    def arrived(kind: str, rollout: str) -> bool | None:
        return quay.at_sea(lambda world: deliveries.is_delivered(world.org.db, kind, rollout))

    assert arrived("rollout.completed", made["id"]) is True
    assert arrived("rollout.paused", made["id"]) is None
    assert arrived("rollout.completed", "no-such-rollout") is None
    office.status = 500
    quay.push("1.1.0")
    after = quay.deploy("1.1.0")
    quay.go(3)
    one.deliver()
    assert arrived("rollout.completed", after["id"]) is False


def test_an_emergency_stop_is_told_to_the_incident_team(wired: Opener, office: PostOffice) -> None:
    one = wired(lambda url: webhook("incident", url, events=["emergency"]))
    quay = one.quay
    quay.enroll("gw0")
    quay.cli("stop", "--reason", "wrong model is spreading")
    quay.cli("device", "isolate", "gw0", "--reason", "smells burnt")
    quay.go(1)
    one.deliver()
    assert office.kinds() == ["emergency.stop", "emergency.isolated"]
    assert "wrong model is spreading" in office.told[0]["text"]
    failed = quay.wherry("alerts", "test")  # no route takes alerts
    assert (failed.status, "no route" in failed.err) == (18, True)


def test_an_emergency_is_told_by_its_cause_and_to_the_incident_team(
    wired: Opener, office: PostOffice
) -> None:
    one = wired(
        lambda url: (
            webhook("incident", url, events=["emergency"])
            + webhook("on-call", url, causes=["emergency"])
        )
    )
    quay = one.quay
    quay.enroll("gw0")
    quay.install("1.0.0")
    quay.install("1.1.0")
    quay.cli("rollback", "digits", "--target", "all", "--to-previous", "--emergency",
             "--reason", "pumps run dry")  # fmt: skip
    quay.go(2)
    one.deliver()
    told = {message["kind"]: message for message in office.told}
    assert set(told) == {"emergency.declared", "alert.raised"}
    assert told["alert.raised"]["cause"] == "emergency"
    assert "rollback of digits on 1 units" in told["emergency.declared"]["text"]
    assert (told["emergency.declared"]["severity"], told["emergency.declared"]["who"]) == (
        "critical", "ada")  # fmt: skip


def test_a_shadow_that_disagrees_and_a_metric_called_accuracy_are_told_to_the_ml_team(
    wired: Opener, office: PostOffice
) -> None:
    causes = ["accuracy", "drift", "disagreement"]
    one = wired(lambda url: webhook("ml", url, causes=causes))
    quay = one.quay
    shadow = shadowed(quay)
    for name in ("gw0", "gw1", "gw2"):
        tell(quay, name, 100)
    quay.jump(80)
    one.deliver()
    assert [message["cause"] for message in office.told] == ["disagreement"]
    quay.rest("POST", f"/rollouts/{shadow['id']}/abort", {"reason": "it disagrees"})
    rule = {"name": "accuracy", "operator": "<", "limit": 0.8, "samples_min": 1,
            "consequence": "pause"}  # fmt: skip
    stages = [{"share": "50%", "soak_s": 600.0}, {"share": "100%"}]
    quay.push("1.2.0")
    gate = {"interval_s": 1.0, "custom": [rule, rule | {"name": "revenue"}]}
    quay.deploy("1.2.0", "gw0 or gw1", stages=stages, gate=gate)
    quay.go(3)
    for name in ("accuracy", "revenue"):
        quay.cli("metric", "push", name, "0.7", "--unit", "gw0/self")
    quay.go(3)
    one.deliver()
    assert [message["cause"] for message in office.told] == ["disagreement", "accuracy"]


def test_the_self_test_goes_through_guard_and_routes_and_fails_where_it_does_not_arrive(
    wired: Opener, office: PostOffice
) -> None:
    one = wired(lambda url: webhook("hardware", url, causes=["temperature"], attempts_max=1))
    quay = one.quay
    one.courier.start()
    found = quay.cli("alerts", "test")
    assert found["is_passed"]
    assert (found["alert"]["cause"], found["alert"]["state"]) == ("self_test", "resolved")
    assert "error rate 0.1000 of 1000, above 0.05" in found["alert"]["text"]
    assert sorted(office.kinds()) == ["alert.raised", "alert.recovered"]
    assert quay.cli("notify", "test", "hardware")["state"] == "delivered"
    office.status = 500
    failed = quay.wherry("alerts", "test")
    assert (failed.status, "did not arrive: hardware" in failed.err) == (18, True)
    assert quay.wherry("notify", "test", "hardware").status == 18
    assert quay.wherry("notify", "test", "nobody").status == 15
    assert [route["name"] for route in quay.cli("notify", "routes")] == ["hardware"]


def test_a_route_that_is_full_keeps_what_is_new_among_the_dead(
    wired: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wherry_controller.fleet import alerting

    monkeypatch.setattr(alerting, "WAITING_MAX", 2)
    one = wired(lambda url: webhook("on-call", url))
    names = serving(one.quay, 3)
    one.quay.report(names, inferences=1000, errors=60)
    one.quay.go(2)
    assert [row["text"] for row in one.quay.cli("notify", "dead")] == [
        "2 messages wait for this route already"
    ]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"webhook": "ftp://x"}, "is no http or https address"),
        ({"secret_file": ""}, "a webhook needs secret_file"),
        ({"command": ["/bin/true"]}, "give either webhook or command"),
        ({"severity": "bad"}, "must be one of"),
        ({"causes": ["heat"]}, "'heat', known are"),
        ({"events": ["alerts"]}, "'alerts', known are"),
        ({"timeout_s": 0}, "0, must be in 1..60"),
        ({"escalate_to": "b"}, "which is no route"),
        ({"escalate_to": "a"}, "in a circle"),
        ({"name": "A b"}, "must be 1..32 of"),
        ({"adress": "x"}, "unknown key 'adress'"),
    ],
)
def test_a_mistake_in_a_route_is_one_sentence(
    tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    path = tmp_path / "wherry.toml"
    keys = {"name": "a"} | more
    name = keys.pop("name")
    path.write_text('organization = "acme"\n' + webhook(str(name), "http://x.invalid/", **keys))
    with pytest.raises(WherryError, match=r"route|routes") as caught:
        setup.load(path)
    assert words in str(caught.value)


def test_a_message_under_way_when_the_service_stops_ends_and_is_written_down(
    wired: Opener, office: PostOffice
) -> None:
    one = wired(lambda url: webhook("on-call", url))
    is_under_way = threading.Event()

    def hesitate() -> None:
        is_under_way.set()
        one.courier._stopping.wait(20)

    office.before = hesitate
    breach(one.quay)
    one.courier.start()
    assert is_under_way.wait(20)
    one.courier.stop()  # the writer stops after it, and would leave it without an answer
    assert [t.name for t in threading.enumerate() if t.name.startswith("courier")] == []
    [message] = one.quay.rest("GET", "/deliveries")
    assert (message["state"], message["attempts"]) == ("delivered", 1)
