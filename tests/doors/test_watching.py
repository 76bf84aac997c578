"""What is seen of a fleet: figures, health, alerts; and what trouble does to a rollout."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from wherry_controller.core.permissions import Role
from wherry_protocol.senml import Record

from tests.controller.device import FakeDevice
from tests.doors.quay import Quay

STAGES: list[dict[str, Any]] = [{"share": "50%", "soak_s": 600.0}, {"share": "100%"}]


def serving(quay: Quay, count: int = 2) -> list[str]:
    names = [f"gw{n}" for n in range(count)]
    quay.enroll(*names)
    quay.install("1.0.0")
    return names


def in_rollout(quay: Quay, **plan: Any) -> tuple[dict[str, Any], list[str]]:
    """A rollout that soaks in its first stage, and the devices that are on the new version."""
    serving(quay, 4)
    quay.push("1.1.0")
    made = quay.deploy("1.1.0", stages=STAGES, gate={"interval_s": 60.0}, **plan)
    quay.go(3)
    return made, [n for n, version in quay.versions().items() if version == "1.1.0"]


def resources(quay: Quay, device: FakeDevice, **values: float) -> None:
    """A pack of the unit's figures; `memory_rss` stands for memory.rss."""
    base = f"{device.topics.org}/{device.name}/self/"
    records = [Record(name=name.replace("_", "."), value=v) for name, v in values.items()]
    pack = (Record(base_name=base, name="interval", unit="s", value=30.0), *records)
    quay.hear(device.telemetry(pack))


def test_every_enrolled_device_is_told_to_report_each_60_and_30_s_and_groups_differ(
    quay: Quay,
) -> None:
    quay.enroll("a", labels={"site": "oslo"})
    quay.enroll("b", labels={"site": "bergen"})
    quay.push("1.0.0")
    quay.deploy("1.0.0")
    quay.go(3)
    intervals = lambda name: (  # noqa: E731
        quay.devices[name].desired.telemetry.performance_s,  # type: ignore[union-attr]
        quay.devices[name].desired.telemetry.resources_s,  # type: ignore[union-attr]
    )
    assert (intervals("a"), intervals("b")) == ((60, 30), (60, 30))
    quay.cli("device", "configure", "--target", "label:site=oslo", "--performance-s", "10",
             "--resources-s", "5")  # fmt: skip
    quay.go(2)
    assert (intervals("a"), intervals("b")) == ((10, 5), (60, 30))


def test_figures_are_kept_per_device_and_version_with_their_counts(quay: Quay) -> None:
    [name] = serving(quay, 1)
    quay.report([name], inferences=500, errors=2, latency_ns=800_000, energy_j=1e-4)
    quay.install("1.1.0")
    quay.report([name], inferences=300, errors=0, latency_ns=400_000)
    rows = {row["version"]: row for row in quay.cli("telemetry", "list", "--device", name)}
    assert (rows["1.0.0"]["inferences"], rows["1.0.0"]["errors"]) == (500, 2)
    assert (rows["1.1.0"]["inferences"], rows["1.1.0"]["errors"]) == (300, 0)
    for quantile in ("p50", "p95", "p99", "mean"):
        for version, us in (("1.0.0", 800), ("1.1.0", 400)):
            assert rows[version][f"latency_us_{quantile}"] == pytest.approx(us, rel=1 / 64)
    assert rows["1.0.0"]["energy_uj"] == pytest.approx(100)
    assert rows["1.1.0"]["energy_uj"] is None


def test_metrics_are_a_histogram_per_model_and_version_that_a_viewer_may_scrape(
    quay: Quay,
) -> None:
    names = serving(quay)
    quay.report(names, inferences=400, errors=4, latency_ns=300_000)
    answer = quay.call("GET", "/metrics", Role.VIEWER)
    families = {f.name: f for f in text_string_to_metric_families(answer.text)}
    histogram = families["wherry_latency_recent_seconds"]
    assert histogram.type == "histogram"
    samples = {(s.name, s.labels.get("le")): s for s in histogram.samples}
    below = samples["wherry_latency_recent_seconds_bucket", "0.00025"]
    above = samples["wherry_latency_recent_seconds_bucket", "0.0005"]
    assert (below.value, above.value) == (0, 800)
    assert (above.labels["model"], above.labels["version"]) == ("digits", "1.0.0")
    [errors] = families["wherry_errors_recent"].samples
    assert errors.value == 8
    [health] = families["wherry_units"].samples
    assert (health.labels["health"], health.value) == ("ok", 2)


def test_what_a_device_can_measure_of_itself_is_shown(quay: Quay) -> None:
    [name] = serving(quay, 1)
    resources(quay, quay.devices[name], memory_rss=5e6, storage_free=1e9, cpu=0.01)
    shown = quay.cli("device", "show", name)["units"][0]["resources"]
    assert (shown["memory.rss"], shown["storage.free"], shown["cpu"]) == (5e6, 1e9, 0.01)


def test_a_device_shows_its_class_engine_and_agent(quay: Quay) -> None:
    [name] = serving(quay, 1)
    [unit] = quay.cli("device", "show", name)["units"]
    assert (unit["hardware_class"], unit["agent_version"]) == ("linux-x86_64", "0")
    assert (unit["abi_min"], unit["abi_max"]) == (1, 1)


@pytest.mark.parametrize(
    ("figures", "severity", "words"),
    [
        ({"errors": 51}, "warning", "error rate"),  # of 1000; 5 % may be
        ({"latency_ns": 1_250_000}, "warning", "latency"),  # p95, 1.2 times 1000 us may be
        ({"energy_j": 580e-6}, "warning", "uJ"),  # 1.15 times 500 uJ may be
        ({"errors": 10}, "info", "error rate"),  # a watch from 1 % on
        ({"energy_j": 505e-6}, "info", "uJ"),  # a watch above the budget
    ],
)
def test_a_figure_over_its_limit_alerts_once_and_recovery_is_told(
    quay: Quay, figures: dict[str, Any], severity: str, words: str
) -> None:
    [name] = serving(quay, 1)
    for _ in range(5):
        quay.report([name], **({"inferences": 1000} | figures))
    raised = [n for n in quay.notices() if words in n and "back to" not in n]
    assert [n.partition(":")[0] for n in raised] == [severity]
    quay.report([name], inferences=1000, energy_j=1e-4, latency_ns=500_000)
    assert any("back to ok" in text for text in quay.notices())


@pytest.mark.parametrize(
    "figures",
    [{"errors": 49}, {"latency_ns": 1_150_000}, {"energy_j": 570e-6}, {"errors": 1}],
)
def test_a_figure_under_its_limit_raises_no_alert(quay: Quay, figures: dict[str, Any]) -> None:
    [name] = serving(quay, 1)
    for _ in range(5):
        quay.report([name], **({"inferences": 1000} | figures))
    assert not [n for n in quay.notices() if n.startswith(("warning", "critical"))]


def test_one_failure_and_fifty_successes_raise_nothing(quay: Quay) -> None:
    [name] = serving(quay, 1)
    quay.report([name], inferences=51, errors=1)
    for _ in range(3):
        quay.report([name], inferences=50)
    assert not [n for n in quay.notices() if "gw0" in n]


@pytest.mark.parametrize(("rss", "severity"), [(79, None), (85, "info"), (95, "warning")])
def test_memory_near_its_budget_is_told(quay: Quay, rss: int, severity: str | None) -> None:
    [name] = serving(quay, 1)
    resources(quay, quay.devices[name], memory_rss=float(rss), memory_budget=100.0)
    told = [n.partition(":")[0] for n in quay.notices() if "memory" in n]
    assert told == ([] if severity is None else [severity])


def test_a_device_that_is_not_heard_for_three_reports_alerts_and_its_return_is_told(
    quay: Quay,
) -> None:
    names = serving(quay)
    quay.report(names)
    quay.report(names[:1])
    quay.report(names[:1])
    assert not [n for n in quay.notices() if "nothing heard" in n]
    quay.report(names[:1])
    quay.be_quiet(15.0)
    silent = [n for n in quay.notices() if "nothing heard" in n]
    assert len(silent) == 1
    assert names[1] in silent[0]
    quay.report(names)
    assert any("silence back to ok" in n for n in quay.notices())


def test_a_device_that_was_told_to_report_rarely_is_silent_later(quay: Quay) -> None:
    [name] = serving(quay, 1)
    quay.cli("device", "configure", "--target", "all", "--performance-s", "600",
             "--resources-s", "600")  # fmt: skip
    quay.report([name], 600.0)
    quay.be_quiet(900.0)
    assert not [n for n in quay.notices() if "nothing heard" in n]
    quay.be_quiet(1000.0)
    assert [n for n in quay.notices() if "nothing heard" in n]


def test_a_last_will_shows_the_device_offline_and_health_is_counted(quay: Quay) -> None:
    names = serving(quay)
    quay.hear(quay.devices[names[0]].presence(is_online=False))
    assert quay.cli("status")["units"] == {"offline": 1, "ok": 1}
    health = {row["connection"]: row["health"] for row in quay.cli("device", "list")}
    assert health == {names[0]: "offline", names[1]: "ok"}


@pytest.mark.parametrize(
    "figures", [{"errors": 10}, {"energy_j": 505e-6}, {"latency_ns": 1_250_000}]
)
def test_trouble_on_the_new_version_stops_the_widening_and_recovery_lets_it_go(
    quay: Quay, figures: dict[str, Any]
) -> None:
    made, new = in_rollout(quay)
    quay.report(new, **({"inferences": 1000} | figures))
    assert quay.rollout(made)["state"] == "paused"
    assert "held for" in quay.rollout(made)["reason"]
    quay.report(new, inferences=1000, energy_j=1e-4)
    assert quay.rollout(made)["state"] == "running"


def test_a_rollout_is_held_until_the_last_device_in_trouble_has_recovered(quay: Quay) -> None:
    made, new = in_rollout(quay)
    first, second = new
    quay.report([first], inferences=1000, errors=10)
    quay.report([second], inferences=1000, errors=10)
    quay.report([first], inferences=1000)
    assert quay.rollout(made)["state"] == "paused"
    quay.report([second], inferences=1000)
    assert quay.rollout(made)["state"] == "running"


def test_what_the_guard_held_does_not_go_on_by_itself_under_a_stop(quay: Quay) -> None:
    made, new = in_rollout(quay)
    quay.report(new, inferences=1000, errors=10)
    quay.cli("stop", "--reason", "wrong model is spreading")
    quay.report(new, inferences=1000)
    assert quay.rollout(made)["state"] == "paused"
    path = f"/rollouts/{made['id']}/resume"
    assert "release the stop first" in quay.refused("POST", path, {"reason": "it looks well"})
    quay.cli("go", "--reason", "it was another one")
    quay.report(new, inferences=1000)
    assert quay.rollout(made)["state"] == "paused"
    quay.rest("POST", path, {"reason": "it looks well"})
    assert quay.rollout(made)["state"] == "running"


def test_trouble_on_the_old_version_does_not_hold_the_cure(quay: Quay) -> None:
    made, new = in_rollout(quay)
    old = [name for name in quay.devices if name not in new]
    quay.report(old, inferences=1000, errors=40)
    assert quay.rollout(made)["state"] == "running"


def test_memory_above_80_percent_holds_the_stage(quay: Quay) -> None:
    made, new = in_rollout(quay)
    resources(quay, quay.devices[new[0]], memory_rss=81.0, memory_budget=100.0)
    assert quay.rollout(made)["state"] == "paused"


def test_missing_telemetry_is_not_green(quay: Quay) -> None:
    made, _ = in_rollout(quay)
    quay.go(130)
    verdicts = {c["check"]: c["verdict"] for c in quay.rollout(made)["checks"]}
    assert verdicts["errors"] == verdicts["latency"] == "inconclusive"


def test_limits_are_those_of_the_bundle(quay: Quay) -> None:
    [name] = serving(quay, 1)
    shown = quay.cli("registry", "show", "digits:1.0.0")["manifest"]["budgets"]["linux-x86_64"]
    assert (shown["latency_us_p95"], shown["energy_uj"]) == (1000, 500.0)
    quay.report([name], inferences=1000, energy_j=580e-6)
    assert any("the budget is 500.0 uJ" in n for n in quay.notices())


@pytest.mark.parametrize(
    "record",
    [
        Record(name="inferences", unit="1", value=-5.0),
        Record(name="errors", unit="1", value=1.5),
        Record(name="latency.sketch", data=b"\xff" * 40),
    ],
)
def test_hostile_telemetry_attack_is_counted_and_dropped_and_the_device_goes_on(
    quay: Quay, record: Record
) -> None:
    [name] = serving(quay, 1)
    device = quay.devices[name]
    pack = [r for r in device.performance("digits") if r.name != record.name]
    base = pack[0]
    quay.hear(device.telemetry((base, record, *pack[1:])))
    assert quay.rest("GET", "/performance") == []
    assert quay.rest("GET", "/status")["dropped"]
    quay.report([name])
    assert len(quay.rest("GET", "/performance")) == 1
