"""Shadows, experiments, and why a rollout decided so: what a gate knows, as an operator sees it."""

from typing import Any

import pytest
from wherry_protocol.senml import Record
from wherry_protocol.sketch import sketch_of

from tests.doors.quay import TRIAL, Quay

PROTOCOL = (1, 2)
SAMPLE = f"77 {'a1' * 16} {'b2' * 16} {'c3' * 16}"


def shadowed(quay: Quay, **gate: Any) -> dict[str, Any]:
    """Three devices on 1.0.0 that run 1.1.0 as a shadow."""
    quay.enroll("gw0", "gw1", "gw2", protocol=PROTOCOL)
    quay.install("1.0.0")
    quay.push("1.1.0")
    limits = {"interval_s": 1.0, "require": ["shadow", "update"]} | gate
    made = quay.deploy("1.1.0", strategy="shadow", parameters={"hours": 0.02}, gate=limits)
    quay.go(3)
    return made


def tell(quay: Quay, name: str, agreed: int, shadow_us: int = 550, compared: int = 500) -> None:
    """One interval of a device's shadow, as the agent sends it."""

    def run(world: Any) -> None:
        device = world.devices[name]
        served = device.candidate["digits"]
        base = f"{device.topics.org}/{device.name}/{device.unit}/digits/{served.version}/shadow/"
        latency = sketch_of([shadow_us * 1_000] * compared).to_bytes()
        primary = sketch_of([500_000] * compared).to_bytes()
        counts = {
            "compared": compared,
            "agreed": agreed,
            "agreed.argmax": agreed,
            "agreed.tolerance": agreed - 1,
            "skipped.sampling": 100,
            "skipped.deadline": 2,
        }
        pack = [
            Record(base_name=base, name="digest", string=served.digest.hex()),
            Record(name="inferences", unit="1", value=float(compared)),
            Record(name="latency.sketch", data=latency),
            *[Record(name=f"shadow.{k}", unit="1", value=float(v)) for k, v in counts.items()],
            Record(name="shadow.primary_latency", data=primary),
            Record(name="shadow.disagreement", string=SAMPLE),
            Record(name="shadow.disagreement", string=SAMPLE.replace("77", "78")),
        ]
        world.receive(device.telemetry(tuple(pack)))

    quay.at_sea(run)
    quay.go(2)


def test_a_shadow_is_compared_over_all_devices_with_interval_latencies_and_samples(
    quay: Quay,
) -> None:
    made = shadowed(quay)
    tell(quay, "gw0", 499)
    tell(quay, "gw1", 392, compared=400)
    quay.at_sea(lambda world: world.restart())
    quay.jump(80)
    assert quay.rollout(made)["state"] == "running"
    assert "900 inferences compared, at least 1000" in quay.rollout(made)["waiting_for"][-1]
    tell(quay, "gw2", 480)
    found = quay.cli("rollout", "shadow", made["id"])
    assert (found["compared"], found["agreement"]) == (1400, pytest.approx(1371 / 1400))
    low, high = found["agreement_interval"]
    assert low < found["agreement"] < high
    assert found["agreed_by_comparator"] == {"argmax": 1371, "tolerance": 1368}
    assert found["skipped"] == {"sampling": 300, "deadline": 6}
    assert found["primary_latency_us"]["p95"] == pytest.approx(500, rel=0.02)
    assert found["latency_us"]["p99"] == pytest.approx(550, rel=0.02)
    assert found["devices"]["gw1/self"] == {"compared": 400, "agreement": 0.98}
    assert len(found["disagreements"]) == 6
    assert found["disagreements"][0] == {"unit": "gw2/self", "sample": SAMPLE.replace("77", "78")}
    assert "agreement 0.9793 (" in quay.wherry("rollout", "shadow", made["id"]).out
    quay.go(5)
    assert quay.rollout(made)["state"] == "succeeded"


@pytest.mark.parametrize(
    ("agreed", "shadow_us", "what"),
    [
        (475, 500, "agreement 0.9500 of 1500 (above 0.95 is needed)"),  # not above it
        (500, 610, "against 5"),  # 1.2 times
        (100, 500, "devices prove too many disagreements"),
    ],
)
def test_a_shadow_that_disagrees_or_is_slow_is_held_and_nobody_is_served_by_it(
    quay: Quay, agreed: int, shadow_us: int, what: str
) -> None:
    made = shadowed(quay)
    for name in ("gw0", "gw1", "gw2"):
        tell(quay, name, agreed, shadow_us)
    quay.jump(80)
    found = quay.rest("GET", f"/rollouts/{made['id']}/shadow")
    assert (found["verdict"], what in found["text"]) == ("fail", True), found["text"]
    assert quay.rollout(made)["state"] == "running"
    assert set(quay.versions().values()) == {"1.0.0"}
    assert any("shadow" in notice for notice in quay.notices())


def test_too_few_comparisons_are_no_shadow_report(quay: Quay) -> None:
    made = shadowed(quay, inconclusive="pause", inconclusive_after_s=60)
    tell(quay, "gw0", 500)
    quay.jump(80)
    assert quay.rollout(made)["state"] == "running"
    quay.jump(80)
    assert "500 inferences compared, at least 1000" in quay.rollout(made)["reason"]


def experimented(quay: Quay, count: int = 8) -> dict[str, Any]:
    """Half of the devices are treated with 1.1.0; a device counts after a minute."""
    quay.enroll(*[f"gw{n}" for n in range(count)])
    quay.install("1.0.0")
    quay.push("1.1.0")
    limits = {"error_rate_max": 0.2, "error_increase_min": 0.5, "require": ["errors"]}
    gate = {"experiment_devices_min": 3, "experiment_s": 60} | limits
    parameters = {"split": 0.5, "hours": 0.1}
    made = quay.deploy("1.1.0", strategy="ab", parameters=parameters, gate=gate, trial=TRIAL)
    quay.go(3)
    return made


def advice(quay: Quay, made: dict[str, Any]) -> dict[str, Any]:
    return dict(quay.cli("rollout", "experiment", made["id"]))


@pytest.mark.parametrize(
    ("new_us", "errors", "recommendation"),
    [(500, 0, "rollout"), (1_400, 0, "rollback"), (1_000, 0, "continue"), (500, 60, "rollback")],
)
def test_an_experiment_compares_both_arms_and_says_what_to_do(
    quay: Quay, new_us: int, errors: int, recommendation: str
) -> None:
    made = experimented(quay)
    before = advice(quay, made)
    assert (before["recommendation"], before["arms"]) == (
        "continue", {"treatment": {}, "control": {}},
    )  # fmt: skip
    for _ in range(2):
        quay.sail(1, 61.0, old={"latency_ns": 1_000_000}, latency_ns=new_us * 1_000, errors=errors)
    found = advice(quay, made)
    assert found["recommendation"] == recommendation, found
    assert quay.rollout(made)["state"] in ("running", "paused")  # the standing guard may hold it
    served = {f"{name}/self": version for name, version in quay.versions().items()}
    new = {unit for unit, variant in found["variants"].items() if variant == "treatment"}
    assert {unit for unit, version in served.items() if version == "1.1.0"} == new
    assert any("error" in notice for notice in quay.notices()) is (errors > 50)
    assert found["arms"]["treatment"]["success"]["devices"] == 4
    assert found["arms"]["control"]["latency_us"]["mean"] == pytest.approx(1_000)
    assert sorted(found["variants"].values()).count("treatment") == 4
    shown = quay.wherry("rollout", "experiment", made["id"]).out
    assert shown.startswith(f"{made['id']}: {recommendation}: ")
    assert "latency_us" in found["lifts"]
    assert found["lifts"]["success"]["classical"]["test"] == "z"


def test_results_that_users_saw_are_recorded_per_device(quay: Quay) -> None:
    made = experimented(quay)
    for unit, variant in advice(quay, made)["variants"].items():
        for result in (1, 0) if variant == "treatment" else (1, 1):
            push = ("metric", "push", "success", str(result), "--unit", unit)
            assert quay.wherry(*push, "--rollout", made["id"]).status == 0
    quay.rest("POST", "/custom-metrics", {
        "name": "latency_ms", "value": 40.0, "unit": "gw0/self", "rollout": made["id"],
    })  # fmt: skip
    for _ in range(2):
        quay.sail(1, 61.0)
    found = advice(quay, made)
    assert found["arms"]["treatment"]["result_success"]["mean"] == 0.5
    assert found["arms"]["control"]["result_success"]["mean"] == 1.0
    assert found["recommendation"] == "rollback"
    assert "result_success is 0.5000, below 0.95" in found["why"]


def test_a_rollout_explains_which_rule_fired_with_its_numbers_and_its_baseline(quay: Quay) -> None:
    quay.enroll(*[f"gw{n}" for n in range(8)])
    quay.install("1.0.0")
    quay.push("1.1.0")
    gate = {"requests_min": 500, "interval_s": 1.0, "error_rate_max": 0.02}
    stages = [{"share": "50%", "soak_s": 60}, {"share": "100%"}]
    made = quay.deploy("1.1.0", stages=stages, gate=gate)
    quay.go(3)
    quay.sail(3)
    before = quay.rest("GET", f"/rollouts/{made['id']}/explain")
    assert (before["fired"], "gate.error_rate_max = 0.02 (0.01)" in before["overrides"]) == (
        [], True,
    )  # fmt: skip
    assert before["baselines"]["latency linux-x86_64"] == "control"
    assert "no rule has fired" in quay.wherry("rollout", "explain", made["id"]).out
    quay.sail(3, errors=500)
    found = quay.cli("rollout", "explain", made["id"])
    fired = {row["check"]: row["figures"] for row in found["fired"]}
    assert fired["errors"]["error_rate_max"] == 0.02
    assert fired["errors"]["error_rate"] > 0.1
    assert "error rate" in found["reason"]
