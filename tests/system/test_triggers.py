"""Errors and latency: one device breaches a limit and is taken back, another stays under it.

Twice for each: by the agent's own trial, and by the controller's gate once the trial has passed.
"""

from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest
from wherry_protocol.errors import Code

from tests.system.fleet import TRIAL, Boat, Feeds, Flotilla, flotilla, sorted_feeds

FACTOR = 4  # limits set from measured figures keep this distance to either side
HEAVY_ROWS = 60_000
FEEDS = sorted_feeds()
ERRORS_BREACHED, ERRORS_KEPT = FEEDS.mixed(80, of=200), FEEDS.mixed(1, of=200)
ERROR_RATE_MAX = 0.1  # between 40 % and 0.5 %


@pytest.fixture(scope="module")
def fleet(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flotilla]:
    boats = {
        "breach": Boat(samples=ERRORS_BREACHED),
        "calm": Boat(samples=ERRORS_KEPT),
        "control-1": Boat(),
        "control-2": Boat(),
    }
    with flotilla(mosquitto, tmp_path_factory.mktemp("triggers"), boats) as one:
        yield one


def trial(**limits: Any) -> dict[str, Any]:
    """Judged by the trial alone: the gate lets everything pass."""
    return {"trial": {**TRIAL, "error_samples_min": 50, **limits}, "gate": {"error_rate_max": 1.0}}


def gated(require: str, **limits: Any) -> dict[str, Any]:
    """Judged by the gate alone, after a trial that lets everything pass."""
    gate = {"error_rate_max": 1.0, "requests_min": 100, "interval_s": 1.0, "control_units_min": 2,
            "require": [require], **limits}  # fmt: skip
    return {"trial": TRIAL, "gate": gate, "stages": [{"share": "100%", "soak_s": 1.0}]}


def ranged(fleet: Flotilla, feeds: Feeds = FEEDS) -> str:
    """The first model again, and now its outputs have a valid range."""
    return fleet.push(contract_changes={"valid_max": feeds.valid_max})


def reverted_by_itself(fleet: Flotilla, rollout_id: str, code: Code, before: str) -> None:
    """The device took the model back in its trial, before any gate could."""
    ended = fleet.ends(rollout_id, "reverted")
    assert ended["reason"] == "1 devices failed, 0 may"
    member = fleet.members(rollout_id)["breach"]
    assert (member["phase"], member["code"]) == ("reverted", code), member["reason"]
    assert fleet.serving("breach") == before


def taken_back_by_gate(fleet: Flotilla, rollout_id: str, check: str, before: str) -> None:
    """The trial found nothing; the controller's check failed (it need not wait for the trial's
    end) and sent the device back."""
    ended = fleet.ends(rollout_id, "reverted")
    member = fleet.members(rollout_id)["breach"]
    assert member["phase"] in ("trial", "confirmed")
    assert (member["way_back"], ended["failed"]) == ("back", {})
    assert [c["check"] for c in ended["checks"] if c["verdict"] == "fail"] == [check]
    assert fleet.serving("breach") == before


def stayed(fleet: Flotilla, rollout_id: str, version: str) -> dict[str, Any]:
    """Nothing reverted there."""
    ended = fleet.ends(rollout_id, "succeeded")
    assert ended["members"]["confirmed"] == 1
    assert (fleet.serving("calm"), fleet.model("calm")["outcome"]) == (version, "confirmed")
    return ended


def test_a_device_whose_outputs_leave_the_valid_range_reverts_by_itself_and_a_calm_one_stays(
    fleet: Flotilla,
) -> None:
    before, version = fleet.serving("breach"), ranged(fleet)
    plan = trial(error_rate_max=ERROR_RATE_MAX)
    breach, calm = (fleet.deploy(version, name, plan) for name in ("breach", "calm"))
    reverted_by_itself(fleet, breach, Code.ERROR_RATE, before)
    stayed(fleet, calm, version)
    row = fleet.measured(version, "calm", lambda row: row["errors_range"] > 0)
    assert row["errors"] == row["errors_range"], "errors there were, of that kind, and they stayed"


def test_the_gate_takes_back_a_version_with_outputs_out_of_range_and_lets_a_calm_one_stay(
    fleet: Flotilla,
) -> None:
    before, version = fleet.serving("breach"), ranged(fleet)
    plan = gated("errors", error_rate_max=ERROR_RATE_MAX)
    breach, calm = (fleet.deploy(version, name, plan) for name in ("breach", "calm"))
    taken_back_by_gate(fleet, breach, "errors", before)
    [check] = [c for c in stayed(fleet, calm, version)["checks"] if c["check"] == "errors"]
    assert check["verdict"] == "pass"


@pytest.fixture(scope="module")
def heavy(fleet: Flotilla) -> dict[str, float]:
    """Latencies in us of a slow model: p50 and p95 of the faster device, p99 of the slower."""
    version = fleet.push(seed=2, ballast_rows=HEAVY_ROWS)
    fleet.install(version, "breach, calm")
    rows = [fleet.measured(version, name) for name in ("breach", "calm")]
    return {
        "p50": min(row["latency_us_p50"] for row in rows),
        "p95": min(row["latency_us_p95"] for row in rows),
        "p99": max(row["latency_us_p99"] for row in rows),
    }


def test_a_device_that_misses_its_deadlines_reverts_by_itself_and_one_that_meets_them_stays(
    fleet: Flotilla, heavy: dict[str, float]
) -> None:
    before, version = fleet.serving("breach"), fleet.push(seed=2, ballast_rows=HEAVY_ROWS)
    plan = trial(error_rate_max=ERROR_RATE_MAX)
    breach = fleet.deploy(
        version, "breach", {**plan, "inference_deadline_us": int(heavy["p50"] / FACTOR)}
    )
    calm = fleet.deploy(
        version, "calm", {**plan, "inference_deadline_us": int(heavy["p99"] * FACTOR)}
    )
    reverted_by_itself(fleet, breach, Code.ERROR_RATE, before)
    stayed(fleet, calm, version)
    row = fleet.measured(version, "breach", lambda row: row["inferences"] > 0)
    assert row["errors"] == row["errors_deadline"] == row["inferences"]


def test_a_device_slower_than_its_trial_allows_reverts_by_itself_and_one_within_it_stays(
    fleet: Flotilla, heavy: dict[str, float]
) -> None:
    before, version = fleet.serving("breach"), fleet.push(seed=2, ballast_rows=HEAVY_ROWS)
    low, high = int(heavy["p50"] / FACTOR), int(heavy["p99"] * FACTOR)
    breach = fleet.deploy(version, "breach", trial(latency_us_p95_max=low))
    calm = fleet.deploy(version, "calm", trial(latency_us_p95_max=high))
    reverted_by_itself(fleet, breach, Code.LATENCY, before)
    stayed(fleet, calm, version)


def test_the_gate_takes_back_a_version_slower_than_the_comparison_by_ratio_and_excess(
    fleet: Flotilla, heavy: dict[str, float]
) -> None:
    before, version = fleet.push(), fleet.push(seed=2, ballast_rows=HEAVY_ROWS)
    fleet.install(before)  # everywhere, so that control group and own past are both light
    light_us = max(fleet.measured(before, name)["latency_us_p95"] for name in fleet.agents)
    assert heavy["p95"] > FACTOR * light_us, "the slow model is not slow enough for this test"
    low = gated(
        "latency",
        latency_ratio=heavy["p95"] / light_us / FACTOR,
        latency_excess_us=(heavy["p95"] - light_us) / FACTOR,
    )
    high = gated(
        "latency",
        latency_ratio=min(1_000.0, heavy["p99"] / light_us * FACTOR),
        latency_excess_us=heavy["p99"] * FACTOR,
    )
    breach, calm = fleet.deploy(version, "breach", low), fleet.deploy(version, "calm", high)
    taken_back_by_gate(fleet, breach, "latency", before)
    [check] = [c for c in stayed(fleet, calm, version)["checks"] if c["check"] == "latency"]
    assert check["verdict"] == "pass"
    assert check["figures"]["basis"] in ("control", "before")


def test_refused_inputs_are_counted_apart_and_never_revert(fleet: Flotilla) -> None:
    version = fleet.push(seed=3)
    plan = trial(error_rate_max=0.0, trial_s_min=2.0)
    rollout_id = fleet.deploy(version, "calm", plan)
    fleet.wait_model("calm", phase="trial")
    refused = 0
    while fleet.model("calm")["phase"] == "trial":
        with pytest.raises(HTTPError) as caught:
            fleet.agents["calm"].get("/inference", {"model": "digits", "input_q": [1, 2, 3]})
        assert caught.value.code == 400
        refused += 1
    stayed(fleet, rollout_id, version)
    row = fleet.measured(version, "calm", lambda row: row["refused"] >= refused)
    assert (row["errors"], refused > 10) == (0, True), (row, refused)
