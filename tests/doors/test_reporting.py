"""Why an alert stands, whether anybody looks, the fleet on a page, and rollouts after their end."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wherry_controller import settings as setup
from wherry_controller.inspecting import Inspector
from wherry_protocol.errors import WherryError

from tests.doors.post import PostOffice, open_post_office, webhook, wire
from tests.doors.quay import Quay
from tests.doors.test_alerts import alerts, raised
from tests.doors.test_baselines import measured, recorded
from tests.doors.test_watching import serving


@pytest.fixture
def office() -> Iterator[PostOffice]:
    made = open_post_office()
    yield made
    made.close()


def inspector_of(quay: Quay) -> Inspector:
    return Inspector(
        quay.settings, quay.data.database, quay.stage.submit, lambda: quay.stage.world.now_s
    )


def test_an_alert_is_explained_by_rule_budget_baseline_and_figures(quay: Quay) -> None:
    names = measured(quay, 1)
    name = recorded(quay)
    quay.cli("baseline", "apply", name, "--reason", "first week")
    quay.report(names, inferences=1000, latency_ns=1_250_000)
    quay.go(2)
    [alert] = alerts(quay)
    found = quay.cli("alerts", "explain", str(alert["id"]))
    assert "alert p95 above 1.2x the budget" in found["rule"]
    assert found["budget"] == {
        "source": "digits:1.0.0 for linux-x86_64",
        "latency_us_p95": 1000,
        "energy_uj": 500.0,
    }
    assert (found["baseline"]["source"], found["baseline"]["inferences"]) == (name, 6_000)
    assert (found["baseline"]["applied_by"], found["baseline"]["reason"]) == ("ada", "first week")
    assert found["levels"] == "latency=2"
    assert found["windows"][-1]["latency_us_p95"] == pytest.approx(1250, rel=1 / 64)
    assert [edit["reason"] for edit in found["edits"]] == ["first week"]
    text = quay.wherry("alerts", "explain", str(alert["id"])).out
    assert "applied by ada" in text


def test_monitoring_is_ready_when_telemetry_is_fresh_and_a_tested_route_takes_alerts(
    tmp_path: Path, office: PostOffice
) -> None:
    one = wire(tmp_path / "acme", office, lambda url: webhook("on-call", url))
    quay = one.quay
    try:
        names = serving(quay)
        quay.report(names)
        answer = quay.wherry("alerts", "ready")
        assert (answer.status, "no self-test" in answer.err) == (18, True)
        one.courier.start()
        quay.cli("alerts", "test")
        assert quay.cli("alerts", "ready", "--version", "digits:1.0.0")["is_configured"]
        quay.push("1.1.0")
        answer = quay.wherry("alerts", "ready", "--version", "digits:1.1.0")
        assert (answer.status, "2 units have no figures" in answer.err) == (18, True)
        quay.be_quiet(300)
        answer = quay.wherry("alerts", "ready")
        assert (answer.status, "2 units report nothing" in answer.err) == (18, True)
    finally:
        one.close()


def test_a_self_test_counts_after_its_alert_and_messages_have_been_pruned(
    tmp_path: Path, office: PostOffice
) -> None:
    def forgetful(text: str) -> str:
        return text.replace("events_keep = 200000", "events_keep = 0")

    one = wire(tmp_path / "acme", office, lambda url: webhook("on-call", url), edit=forgetful)
    try:
        serving(one.quay, 1)
        one.courier.start()
        tested = one.quay.cli("alerts", "test")["alert"]["id"]
        one.quay.at_sea(lambda world: world.fleet.prune())
        assert "does not exist" in one.quay.refused("GET", f"/alerts/{tested}")
        assert one.quay.rest("GET", "/monitoring")["is_tested"]
    finally:
        one.close()


def test_the_fleet_is_reported_as_markdown_and_as_json(quay: Quay, tmp_path: Path) -> None:
    raised(quay)
    assert not quay.rest("GET", "/monitoring")["has_route"]
    path = tmp_path / "fleet.md"
    quay.cli("report", "fleet", "--output", path)  # --json writes JSON
    found = json.loads(path.read_text())
    assert found["units"] == {"ok": 1}
    [row] = found["models"]
    assert (row["model"], row["version"], row["inferences"], row["units"]) == (
        "digits", "1.0.0", 1000, 1)  # fmt: skip
    assert row["error_rate"] == pytest.approx(0.06)
    assert found["alerts"] == {"open": 1, "acknowledged": 0, "resolved": 0}
    text = quay.wherry("report", "fleet").out
    assert "| digits | 1.0.0 | 1 | 1000 | 6.00% |" in text
    assert "- warning, open, 1 times: gw0/self digits: error rate" in text


def test_a_report_is_made_on_schedule_and_sent_to_who_takes_it(
    tmp_path: Path, office: PostOffice
) -> None:
    def routes(url: str) -> str:
        return webhook("management", url, events=["report"])

    def scheduled(text: str) -> str:
        return text.replace("report_s = 0", "report_s = 86400")

    one = wire(tmp_path / "acme", office, routes, edit=scheduled)
    try:
        inspector = inspector_of(one.quay)
        for wait_s in (0, 3600, 86_400):
            one.quay.jump(wait_s)
            inspector.round()
            one.deliver()
        assert office.kinds() == ["report.fleet", "report.fleet"]
        assert office.told[0]["report"]["organization"] == "acme"
        assert "# Fleet of acme" in office.told[0]["markdown"]
        assert len(one.quay.cli("report", "kept")) == 2
    finally:
        one.close()


USUAL = {"inferences": 1000, "errors": 1, "latency_ns": 500_000, "energy_j": 1e-4}


def after_rollout(quay: Quay, **new: Any) -> tuple[dict[str, Any], Callable[[], None]]:
    """A rollout of 1.1.0 that has succeeded; the second lets an hour pass in which all report."""
    names = measured(quay, 2)
    quay.push("1.1.0")
    made = quay.deploy("1.1.0")
    quay.go(3)
    inspector = inspector_of(quay)

    def hour() -> None:
        quay.jump(3600 - 6 * 60)
        for _ in range(6):
            quay.report(names, **(USUAL | new))
        inspector.round()
        quay.go(2)

    return made, hour


def test_a_rollout_is_watched_for_a_day_after_it_has_succeeded(quay: Quay) -> None:
    made, hour = after_rollout(quay)
    hour()
    row = quay.cli("report", "watched")[0]
    assert (row["rollout"], row["state"], row["until_s"] - row["began_s"]) == (
        made["id"], "watching", 86_400)  # fmt: skip
    verdicts = {v["metric"]: v["verdict"] for v in row["document"]["classes"]["linux-x86_64"]}
    assert verdicts["latency_us_p95"] == "same"
    assert alerts(quay) == []
    quay.jump(86_400)
    hour()
    assert quay.cli("report", "watched")[0]["state"] == "ended"
    ended = {r["subject"]: r["reason"] for r in quay.audited() if r["action"] == "rollout.watched"}
    assert ended[made["id"]] == "nothing is worse than before"


def test_what_is_worse_after_a_rollout_warns_against_the_time_before(quay: Quay) -> None:
    made, hour = after_rollout(quay, latency_ns=700_000)
    hour()
    hour()
    found = {a["topic"]: a for a in alerts(quay)}
    alert = found["watch latency_us_p95 linux-x86_64"]
    assert (alert["severity"], alert["cause"], alert["rollout"]) == (
        "warning", "latency", made["id"])  # fmt: skip
    assert "worse than the time before the rollout" in alert["text"]


def after_canary(quay: Quay, rounds: int, **new: Any) -> dict[str, Any]:
    """A canary of a week, watched to its end; its devices had reported so often before it."""
    names = measured(quay, 2, rounds)
    quay.push("1.1.0")
    week = [{"share": "50%", "soak_s": 7 * 86_400.0}, {"share": "100%"}]
    made = quay.deploy("1.1.0", stages=week, gate={"require": []})
    quay.go(3)
    changed = [name for name, version in quay.versions().items() if version == "1.1.0"]
    for interval_s in (60.0, 7 * 86_400.0):
        quay.report(changed, 60.0, **(USUAL | new))
        quay.jump(interval_s)
    quay.go(3)
    assert quay.rollout(made)["state"] == "succeeded"
    inspector = inspector_of(quay)
    for wait_s in (3600.0, 86_400.0):
        quay.jump(wait_s - 6 * 60)
        for _ in range(6):
            quay.report(names, **(USUAL | new))
        inspector.round()
        quay.go(2)
    return made


def watched_to(quay: Quay, made: dict[str, Any]) -> str:
    [reason] = [r["reason"] for r in quay.audited()
                if (r["action"], r["subject"]) == ("rollout.watched", made["id"])]  # fmt: skip
    return str(reason)


def test_a_device_is_compared_with_its_own_day_before_it_swapped_however_long_a_canary_took(
    quay: Quay,
) -> None:
    made = after_canary(quay, 6, latency_ns=700_000)
    row = quay.cli("report", "watched")[0]
    verdicts = {v["metric"]: v for v in row["document"]["classes"]["linux-x86_64"]}
    assert verdicts["latency_us_p95"]["verdict"] == "worse"
    assert verdicts["latency_us_p95"]["baseline_windows"] == 6  # the other reported no day before
    assert watched_to(quay, made) == "worse: latency_us_mean, latency_us_p95"


def test_a_watch_that_could_compare_nothing_says_so(quay: Quay) -> None:
    made = after_canary(quay, 0, latency_ns=700_000)
    assert watched_to(quay, made) == "not compared: linux-x86_64"
    assert "not compared" in quay.wherry("report", "watched").out


def test_the_watch_can_be_two_days_at_most(tmp_path: Path) -> None:
    path = tmp_path / "wherry.toml"
    path.write_text('organization = "acme"\n[alerts]\nwatch_s = 172800\n')
    assert setup.load(path).alerts.watch_s == 172_800
    path.write_text('organization = "acme"\n[alerts]\nwatch_s = 172801\n')
    with pytest.raises(WherryError, match=r"watch_s: 172801, must be in 0\.\.172800"):
        setup.load(path)
