"""What models did, to hold them to: baselines, comparison, and what explains a regression."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.doors.quay import Quay
from tests.doors.test_watching import resources, serving

CLASS = "linux-x86_64"


def measured(quay: Quay, count: int = 2, rounds: int = 6, **figures: Any) -> list[str]:
    """Devices that serve 1.0.0 and have reported."""
    names = serving(quay, count)
    usual = {"inferences": 1000, "errors": 1, "latency_ns": 500_000, "energy_j": 1e-4}
    for _ in range(rounds):
        quay.report(names, **(usual | figures))
    return names


def recorded(quay: Quay) -> str:
    found = quay.cli("baseline", "record", "digits", "--target", "all")
    [name] = found["names"]
    return str(name)


def test_a_baseline_has_counts_quantiles_energy_with_source_versions_and_engine(
    quay: Quay, tmp_path: Path
) -> None:
    measured(quay)
    path = tmp_path / "baseline.json"
    found = quay.cli("baseline", "record", "digits", "--target", "all", "--duration", "3600",
                     "--output", path)  # fmt: skip
    kept = json.loads(path.read_text())
    assert kept["format"] == "wherry-baseline-1"
    [one] = kept["baselines"]
    assert one == found["baselines"][0]
    assert (one["model"], one["major"], one["class"]) == ("digits", 1, CLASS)
    assert (one["inferences"], one["errors"], one["units"]) == (12_000, 12, 2)
    assert (one["versions"], one["engine_abi"]) == (["1.0.0"], [1])
    assert one["error_rate"] == pytest.approx(0.001)
    for quantile in ("p50", "p95", "p99"):
        assert one["latency_us"][quantile] == pytest.approx(500, rel=1 / 64)
    assert one["energy_uj"]["mean"] == pytest.approx(100)
    assert (one["energy_uj"]["count"], one["energy_uj"]["source"]) == (12_000, "measured:hwmon")
    assert one["inferences_per_s"] == pytest.approx(12_000 / 360, rel=0.25)
    [row] = quay.cli("baseline", "list")
    assert (row["name"], row["is_applied"]) == (f"digits-1-{CLASS}-1", False)
    assert quay.cli("baseline", "show", row["name"])["baselines"] == [one]


def test_too_little_makes_no_baseline(quay: Quay) -> None:
    measured(quay, 1, 1, inferences=50)
    answer = quay.wherry("baseline", "record", "digits", "--target", "all")
    assert (answer.status, "50 inferences in the last 3600 s" in answer.err) == (15, True)


def test_an_applied_baseline_makes_the_guard_watch_ten_percent_above_it(quay: Quay) -> None:
    names = measured(quay, 1)
    slower = {"inferences": 1000, "latency_ns": 560_000}
    quay.report(names, **slower)
    assert not [n for n in quay.notices() if "latency" in n]
    name = recorded(quay)
    preview = quay.cli("baseline", "apply", name, "--reason", "look", "--dry-run")
    assert preview[0]["before"] is None
    quay.report(names, **slower)
    assert not [n for n in quay.notices() if "latency" in n]  # a dry run changes nothing
    [change] = quay.cli("baseline", "apply", name, "--reason", "first week")
    figures = {t["name"]: (t["before"], t["after"]) for t in change["thresholds"]}
    p95 = figures["baseline_latency_us_p95"][1]
    assert figures["watch_latency_us_p95"] == (None, pytest.approx(1.1 * p95, abs=0.001))
    quay.report(names, inferences=1000, latency_ns=int(p95 * 1050))
    assert not [n for n in quay.notices() if "latency" in n]
    quay.report(names, inferences=1000, latency_ns=int(p95 * 1150))
    [told] = [n for n in quay.notices() if "latency" in n]
    assert told.startswith("info:")
    assert f"1.1x {p95:.0f} us" in told


def test_a_baseline_is_versioned_audited_and_taken_back(quay: Quay) -> None:
    names = measured(quay, 1)
    first = recorded(quay)
    quay.cli("baseline", "apply", first, "--reason", "first")
    quay.jump(4000)
    for _ in range(3):
        quay.report(names, inferences=1000, latency_ns=800_000)
    second = recorded(quay)
    quay.cli("baseline", "apply", second, "--reason", "second")
    back = ["baseline", "revert", "digits", "--major", "1", "--class", CLASS, "--reason", "storm"]
    assert quay.cli(*back)["after"] == first
    assert [row["is_applied"] for row in quay.cli("baseline", "list")] == [False, True]
    assert quay.cli(*back)["after"] is None
    assert quay.wherry(*back).status == 14
    changes = quay.cli("baseline", "changes")
    assert [(c["version"], c["baseline"], c["is_revert"]) for c in changes] == [
        (1, first, 0), (2, second, 0), (3, first, 1), (4, None, 1)]  # fmt: skip
    actions = [row["action"] for row in quay.audited() if row["action"].startswith("baseline")]
    assert actions == ["baseline.record", "baseline.apply", "baseline.record", "baseline.apply",
                       "baseline.revert", "baseline.revert"]  # fmt: skip
    assert quay.wherry("baseline", "apply", first).status == 2  # without a reason


def test_a_file_is_applied_as_it_was_recorded_and_a_broken_one_is_one_sentence(
    quay: Quay, tmp_path: Path
) -> None:
    measured(quay, 1)
    path = tmp_path / "baseline.json"
    quay.cli("baseline", "record", "digits", "--target", "all", "--output", path)
    [change] = quay.cli("baseline", "apply", path, "--reason", "from the lab")
    assert change["after"] == f"digits-1-{CLASS}-2"
    whole = json.loads(path.read_text())
    for key, value in (("inferences", -1), ("units", "two"), ("spread", {}), ("model", "../x")):
        broken = {**whole, "baselines": [{**whole["baselines"][0], key: value}]}
        path.write_text(json.dumps(broken))
        answer = quay.wherry("baseline", "apply", path, "--reason", "x")
        assert answer.status == 1, answer
        assert answer.err.count("\n") == 1
    path.write_text("{}")
    assert quay.wherry("baseline", "apply", path, "--reason", "x").status == 10


VERDICTS: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({}, {"error_rate": "same", "latency_us_p95": "same", "energy_uj": "same"}),
    ({"latency_ns": 700_000}, {"error_rate": "same", "latency_us_p95": "worse"}),
    ({"latency_ns": 300_000}, {"latency_us_mean": "better", "latency_us_p95": "better"}),
    ({"errors": 30}, {"error_rate": "worse", "latency_us_p95": "same"}),
    ({"energy_j": 1.5e-4}, {"energy_uj": "worse", "error_rate": "same"}),
    ({"energy_j": 1.5e-4, "energy_source": "modelled:sheet"}, {"energy_uj": "inconclusive"}),
]


def test_comparison_gives_a_verdict_per_metric(quay: Quay) -> None:
    [name] = measured(quay, 1)
    baseline = recorded(quay)
    usual = {"inferences": 1000, "errors": 1, "latency_ns": 500_000, "energy_j": 1e-4}
    for now, verdicts in VERDICTS:
        quay.jump(4000)
        for _ in range(6):
            quay.report([name], **(usual | now))
        answer = quay.wherry("compare", "--target", name, "--baseline", baseline, "--json")
        found = {v["metric"]: v["verdict"] for v in answer.json[0]["verdicts"]}
        assert {metric: found[metric] for metric in verdicts} == verdicts
        assert answer.status == (18 if "worse" in verdicts.values() else 0)


def test_few_windows_are_inconclusive_and_say_so(quay: Quay, tmp_path: Path) -> None:
    [name] = measured(quay, 1)
    path = tmp_path / "previous.json"
    quay.cli("baseline", "record", "digits", "--target", "all", "--output", path)
    quay.jump(4000)
    quay.report([name], inferences=1000, latency_ns=900_000)
    [found] = quay.cli("compare", "--target", name, "--baseline", path)
    assert {v["verdict"] for v in found["verdicts"]} == {"inconclusive"}
    assert "5 are needed" in found["verdicts"][0]["text"]
    quay.jump(4000)
    silent = quay.wherry("compare", "--target", name, "--baseline", path)
    assert (silent.status, "reported nothing" in silent.err) == (15, True)


def test_analysis_ranks_who_carries_the_excess_and_says_what_speaks_for_a_cause(
    quay: Quay,
) -> None:
    names = measured(quay, 5)
    quay.cli("baseline", "apply", recorded(quay), "--reason", "first week")
    calm = quay.cli("analyze", "--target", "all")
    assert (calm["is_regression"], calm["explanations"]) == (False, [])  # nothing is blamed
    quay.jump(4000)
    for _ in range(5):
        quay.report(names[1:], inferences=1000, latency_ns=505_000)
        quay.report(names[:1], inferences=1000, latency_ns=1_150_000)
    resources(quay, quay.devices[names[0]], temperature=99.0, cpu=0.2)
    found = quay.cli("analyze", "--target", "all", "--metric", "performance")
    assert found["is_regression"]
    first = found["explanations"][0]
    assert (first["dimension"], first["name"]) == ("device", f"{names[0]}/self")
    assert first["excess_share"] > 0.9
    assert first["inference_share"] == pytest.approx(0.2)
    assert first["signs"] == ["thermal: 99.0 C, the class allows 95 C"]
    assert found["references"] == {f"digits 1.x on {CLASS}": f"baseline digits-1-{CLASS}-1"}
    assert "need a profile" in found["not_measured"]["layers"]
