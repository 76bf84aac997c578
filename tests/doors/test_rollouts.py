"""Rollouts as an operator sees them: which devices, when, why, and what it waits for."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from wherry_controller.core.permissions import Role
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import Desired, assignment_id
from wherry_protocol.messages.reported import ModelReport, Outcome, Phase, SlotReport
from wherry_protocol.trust import open_director

from tests.doors.quay import DIRECT, Quay

HOUR_S = 3600.0
ROLLING: dict[str, Any] = {
    "strategy": "rolling",
    "preset": "balanced",
    "gate": {"require": ["errors"]},
}
RARELY = {"performance_s": 14_400, "resources_s": 14_400}
QUICK: dict[str, Any] = {
    "stages": [{"share": "25%", "soak_s": 5.0}, {"share": "100%", "is_gated": False}],
    "gate": {"requests_min": 500, "interval_s": 1.0, "require": ["errors", "latency"]},
}


def fleet(quay: Quay, count: int = 8) -> list[str]:
    """Devices on 1.0.0, and 1.1.0 in the registry."""
    names = [f"gw{n}" for n in range(count)]
    quay.enroll(*names)
    quay.install("1.0.0")
    quay.push("1.1.0")
    return names


def on_new(quay: Quay) -> int:
    return list(quay.versions().values()).count("1.1.0")


def test_a_direct_deployment_is_proved_by_every_device(quay: Quay) -> None:
    fleet(quay, 3)
    made = quay.deploy("1.1.0")
    assert (made["state"], made["strategy"]) == ("running", "direct")
    quay.go(3)
    ended = quay.rollout(made)
    assert (ended["state"], ended["members"]["confirmed"]) == ("succeeded", 3)
    assert set(quay.versions().values()) == {"1.1.0"}


def test_a_target_is_a_class_and_a_label_together(quay: Quay) -> None:
    quay.enroll("lab1", labels={"env": "staging"})
    quay.enroll("lab2", labels={"env": "staging"}, hardware_class="linux-arm64")
    quay.enroll("prod1", labels={"env": "production"})
    quay.push("1.0.0", classes=("linux-x86_64", "linux-arm64"))
    quay.deploy("1.0.0", "class=linux-x86_64 and label:env=staging")
    quay.go(3)
    assert quay.versions() == {"lab1": "1.0.0"}


def test_devices_that_are_not_healthy_can_be_left_out(quay: Quay) -> None:
    quay.enroll("well", "away")
    quay.push("1.0.0")
    quay.hear(quay.devices["away"].presence(is_online=False))
    made = quay.deploy("1.0.0", "health=ok")
    assert [row["unit"] for row in quay.rollout(made)["units"]] == ["well/self"]


def test_a_subset_is_a_quarter_and_widening_touches_no_confirmed_device(quay: Quay) -> None:
    names = fleet(quay)
    command = ("deploy", "digits:1.1.0", "--target", "all", "--reason", "trial run", "--no-wait")
    first = quay.cli(*command, "--subset", "25%")
    quay.go(3)
    chosen = {name for name, version in quay.versions().items() if version == "1.1.0"}
    assert (len(chosen), quay.rollout(first)["state"]) == (2, "paused")
    before = {name: quay.devices[name].desired for name in chosen}
    second = quay.cli(*command, "--subset", "100%")
    quay.go(3)
    assert first["id"] == second["id"]
    assert quay.rollout(second)["state"] == "succeeded"
    assert set(quay.versions()) == set(names)
    assert on_new(quay) == 8
    for name, desired in before.items():
        ids = [a.manifest_digest for a in desired.assignments] if desired else []
        now = quay.devices[name].desired
        assert now is not None
        assert [a.manifest_digest for a in now.assignments] == ids
        assert quay.devices[name].previous["digits"].version == "1.0.0"


def test_rolling_observes_a_quarter_for_300_s_before_the_rest(quay: Quay) -> None:
    fleet(quay)
    made = quay.deploy("1.1.0", **ROLLING)
    quay.go(3)
    assert on_new(quay) == 2
    quay.sail(4, 60.0)
    assert on_new(quay) == 2
    assert "s of soak" in " ".join(quay.rollout(made)["waiting_for"])
    quay.sail(2, 60.0)
    quay.go(3)
    assert on_new(quay) == 8
    quay.sail(7, 60.0)
    assert quay.rollout(made)["state"] == "succeeded"


def test_a_canary_opens_its_shares_on_days_1_2_3_5_and_7_and_completes(quay: Quay) -> None:
    names = fleet(quay, 20)
    for name in names:
        quay.rest("PATCH", f"/devices/{name}/self", RARELY)
    made = quay.deploy("1.1.0", strategy="canary", gate={"require": ["errors", "latency"]})
    quay.go(3)
    by_day = {}
    for day in range(1, 8):
        quay.go(2)
        by_day[day] = on_new(quay)
        quay.sail(6, 4 * HOUR_S)
    assert by_day == {1: 1, 2: 2, 3: 5, 4: 5, 5: 10, 6: 10, 7: 20}
    ended = quay.rollout(made)
    assert (ended["state"], ended["stage"]) == ("succeeded", 5)


def test_one_percent_first_for_a_day_is_a_stage_like_any_other(quay: Quay) -> None:
    names = fleet(quay, 40)
    for name in names:
        quay.rest("PATCH", f"/devices/{name}/self", RARELY)
    stages = [{"share": "1%", "soak_s": 24 * HOUR_S}, {"share": "100%", "is_gated": False}]
    made = quay.deploy("1.1.0", stages=stages, gate={"require": ["errors"]})
    quay.go(3)
    quay.sail(5, 4 * HOUR_S)
    assert (on_new(quay), quay.rollout(made)["state"]) == (1, "running"), quay.rollout(made)[
        "reason"
    ]
    quay.sail(2, 4 * HOUR_S)
    quay.go(3)
    assert (on_new(quay), quay.rollout(made)["state"]) == (40, "succeeded")


@pytest.mark.parametrize("bad", [{"errors": 900}, {"latency_ns": 100_000_000}])
def test_a_bad_canary_is_reverted_while_it_runs_and_nobody_else_is_touched(
    quay: Quay, bad: dict[str, int]
) -> None:
    fleet(quay)
    made = quay.deploy("1.1.0", **QUICK)
    quay.go(3)
    touched = {row["unit"] for row in quay.rollout(made)["units"] if row["phase"] == "confirmed"}
    revisions = {name: device.revision for name, device in quay.devices.items()}
    quay.sail(25, **bad)
    ended = quay.rollout(made)
    assert (ended["state"], len(touched)) == ("reverted", 2)
    assert set(quay.versions().values()) == {"1.0.0"}
    moved = {f"{n}/self" for n, device in quay.devices.items() if device.revision != revisions[n]}
    assert moved == touched


def test_one_rejecting_device_of_a_small_fleet_sends_the_swapped_ones_back(quay: Quay) -> None:
    names = fleet(quay)
    plan: dict[str, Any] = {
        "stages": [{"share": "50%", "is_gated": False}, {"share": "100%", "is_gated": False}]
    }
    made = quay.rest(
        "POST",
        "/rollouts/preview",
        {"model": "digits", "version": "1.1.0", "target": "all", "plan": plan},
    )
    first = made["stages"][0][0].partition("/")[0]
    quay.devices[first].verdict = Outcome.REJECTED
    running = quay.deploy("1.1.0", **plan)
    quay.go(10)
    ended = quay.rollout(running)
    assert ended["state"] == "reverted"
    assert set(quay.versions().values()) == {"1.0.0"}
    assert list(ended["failed"]) == [f"{first}/self"]
    assert len(names) == 8


def test_without_figures_a_stage_is_not_left_and_says_what_it_waits_for(quay: Quay) -> None:
    fleet(quay)
    made = quay.deploy("1.1.0", **QUICK, stage_after_s_max=120.0)
    quay.go(60)
    waiting = quay.rollout(made)
    assert (waiting["state"], on_new(quay)) == ("running", 2)
    assert any("errors" in text for text in waiting["waiting_for"])
    quay.go(70)
    paused = quay.rollout(made)
    assert (paused["state"], on_new(quay)) == ("paused", 2)


def test_a_draft_is_shown_and_touches_nobody_until_it_is_approved(quay: Quay) -> None:
    fleet(quay, 2)
    made = quay.cli("rollout", "create", "digits:1.1.0", "--target", "all", "--draft")
    quay.go(5)
    assert (made["state"], on_new(quay)) == ("draft", 0)
    text = quay.wherry("rollout", "show", made["id"]).out
    assert "draft" in text
    quay.cli("rollout", "approve", made["id"], "--reason", "read and agreed")
    quay.go(3)
    assert on_new(quay) == 2


def test_a_stage_is_opened_early_by_an_approver_only_and_the_audit_says_so(quay: Quay) -> None:
    fleet(quay)
    made = quay.deploy("1.1.0", **QUICK)
    quay.go(3)
    path, body = f"/rollouts/{made['id']}/advance", {"reason": "urgent"}
    assert quay.call("POST", path, Role.OPERATOR, json=body).status_code == 403
    assert quay.call("POST", path, Role.APPROVER, json=body).status_code == 200
    quay.go(3)
    assert on_new(quay) == 8
    [row] = [row for row in quay.audited() if row["who"] == "APPROVER"]
    assert (row["action"], row["reason"]) == ("rollout.stage-done", "advanced: urgent")
    assert [check["verdict"] for check in row["details"]["checks"]]


def test_devices_in_parallel_can_be_limited_to_one(quay: Quay) -> None:
    fleet(quay, 4)
    quay.deploy("1.1.0", parallel_max=1)
    counts = []
    for _ in range(8):
        quay.go(1)
        counts.append(on_new(quay))
    assert counts[-1] == 4
    assert all(b - a <= 1 for a, b in itertools.pairwise(counts))


def windows(quay: Quay) -> dict[str, int]:
    """How many chunks each device was last told to ask for at a time."""
    return {n: d.desired.chunk_window for n, d in quay.devices.items() if d.desired is not None}


def test_a_rollout_may_ask_for_fewer_chunks_at_a_time_than_a_device_is_set_to(quay: Quay) -> None:
    fleet(quay, 2)
    quay.rest("PATCH", "/devices/gw1/self", {"chunk_window": 2})
    quay.go()
    assert windows(quay) == {"gw0": 8, "gw1": 2}
    command = ("deploy", "digits:1.1.0", "--target", "all", "--chunk-window", "3", "--no-wait")
    quay.cli(*command)
    quay.go(3)
    assert on_new(quay) == 2
    assert windows(quay) == {"gw0": 3, "gw1": 2}, "a device's own may be smaller"
    quay.rest("PATCH", "/devices/gw0/self", {"performance_s": 30})
    quay.go()
    assert windows(quay) == {"gw0": 8, "gw1": 2}, "it has ended what the rollout assigned"
    body = {"model": "digits", "version": "1.1.0", "target": "all", "plan": {"chunk_window": 9}}
    said = quay.refused("POST", "/rollouts", body)
    assert "chunk_window is 9, must be a number in 0..8" in said


def test_a_rollouts_window_holds_until_the_device_has_ended_it(quay: Quay) -> None:
    fleet(quay, 1)
    quay.devices["gw0"].is_deaf = True
    quay.deploy("1.1.0", chunk_window=1)
    quay.go(2)
    quay.rest("PATCH", "/devices/gw0/self", {"performance_s": 30})
    quay.devices["gw0"].is_deaf = False
    quay.go(2)
    assert windows(quay) == {"gw0": 1}, "another document came in between"


def test_a_repeated_deployment_of_what_already_serves_touches_nobody(quay: Quay) -> None:
    fleet(quay, 3)
    quay.deploy("1.1.0")
    quay.go(3)
    before = {name: device.revision for name, device in quay.devices.items()}
    again = quay.deploy("1.1.0")
    quay.go(3)
    assert quay.rollout(again)["state"] == "succeeded"
    assert {name: device.revision for name, device in quay.devices.items()} == before


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"version": "9.9.9"}, "1.0.0"),
        ({"target": "label:site=nowhere"}, "select"),
        ({"target": "label:site='x'"}, "position"),
        ({"plan": {"strategy": "teleport"}}, "teleport"),
        ({"plan": {"gates": {}}}, "gates"),
        ({"plan": {"gate": {"error_rate_max": "lots"}}}, "error_rate_max"),
        ({"plan": {"preset": "reckless"}}, "conservative"),
    ],
)
def test_a_rollout_that_cannot_start_says_why_and_touches_nobody(
    quay: Quay, body: dict[str, object], words: str
) -> None:
    quay.enroll("gw1")
    quay.push("1.0.0")
    order = {"model": "digits", "version": "1.0.0", "target": "all", "plan": DIRECT} | body
    assert words in quay.refused("POST", "/rollouts", order)
    assert quay.rest("GET", "/rollouts") == []


def test_a_class_without_a_budget_and_an_engine_that_is_too_old_are_told_apart(quay: Quay) -> None:
    quay.enroll("arm", hardware_class="linux-arm64")
    quay.enroll("old", abi=(1, 1))
    quay.push("1.0.0")
    quay.push("2.0.0", abi=2)
    order = {"model": "digits", "version": "1.0.0", "target": "arm", "plan": {}}
    assert "linux-arm64" in quay.refused("POST", "/rollouts", order)
    made = quay.deploy("2.0.0", "old")
    quay.go(5)
    assert quay.devices["old"].active == {}
    assert quay.rollout(made)["members"]["confirmed"] == 0


def test_a_restart_in_every_stage_changes_nothing(quay: Quay) -> None:
    fleet(quay)
    made = quay.deploy("1.1.0", **QUICK)
    for _ in range(12):
        quay.sail(1)
        quay.at_sea(lambda world: world.restart())
    assert quay.rollout(made)["state"] == "succeeded"
    assert on_new(quay) == 8


def test_a_rollout_that_has_ended_takes_no_command(quay: Quay) -> None:
    fleet(quay, 2)
    made = quay.deploy("1.1.0")
    quay.go(3)
    for verb in ("approve", "pause", "resume", "abort", "advance"):
        sentence = quay.refused("POST", f"/rollouts/{made['id']}/{verb}", {"reason": "late"})
        assert "succeeded" in sentence
    assert quay.rollout(made)["state"] == "succeeded"


def test_progress_of_each_device_is_told_as_it_goes(quay: Quay) -> None:
    quay.enroll("gw1")
    digest = bytes.fromhex(quay.push("1.0.0")["digest"])
    made = quay.deploy("1.0.0")
    device = quay.devices["gw1"]
    assert phase_of(quay, made) == "offered"
    quay.at_sea(lambda world: world.publish())
    topic = device.topics.desired("gw1", "self")
    desired = open_director(device.trust, Desired, quay.stage.world.retained[topic])
    device.revision = desired.revision
    report = ModelReport(
        model="digits", phase=Phase.FETCHING, outcome=Outcome.NONE,
        assignment_id=assignment_id(desired.assignments[0]),
    )  # fmt: skip
    slot = SlotReport(manifest_digest=digest, version="1.0.0")
    steps = [
        ("fetching", replace(report, progress_permille=420)),
        ("fetching", replace(report, phase=Phase.VERIFYING, progress_permille=1000)),
        ("staged", replace(report, phase=Phase.STAGED)),
        ("trial", replace(report, phase=Phase.TRIAL, active=slot)),
        ("confirmed", replace(report, phase=Phase.IDLE, outcome=Outcome.CONFIRMED, active=slot,
                              good_inferences=100)),
    ]  # fmt: skip
    for phase, step in steps:
        device.done["digits"] = (b"", Outcome.NONE, Code.OK)
        device._model = lambda _name, step=step: step  # type: ignore[assignment,misc]
        quay.hear(device.reported())
        [model] = quay.rest("GET", "/devices")[0]["models"]
        assert (phase_of(quay, made), model["progress_permille"]) == (
            phase, step.progress_permille,
        )  # fmt: skip
    assert quay.rollout(made)["state"] == "succeeded"


def phase_of(quay: Quay, made: dict[str, Any]) -> str:
    [unit] = quay.rollout(made)["units"]
    return str(unit["phase"])


def test_a_rollout_file_is_what_is_done(quay: Quay, tmp_path: Path) -> None:
    fleet(quay)
    file = tmp_path / "careful.toml"
    file.write_text(
        'preset = "conservative"\n[[stages]]\nshare = "25%"\nsoak_s = 7.0\n'
        '[[stages]]\nshare = "100%"\nis_gated = false\n'
        '[gate]\nrequests_min = 300\ninterval_s = 1.0\nrequire = ["errors"]\n'
        "[trial]\ngood_inferences_min = 7\ntrial_s_min = 0.0\ntrial_s_max = 5.0\n"
    )
    command = ("deploy", "digits:1.1.0", "--target", "all", "--file", file, "--no-wait")
    made = quay.cli(*command)
    assert (made["preset"], made["stages"]) == ("conservative", 2)
    assert "gate.requests_min = 300 (500)" in made["overrides"]
    quay.go(3)
    assert on_new(quay) == 2
    chosen = next(n for n, version in quay.versions().items() if version == "1.1.0")
    desired = quay.devices[chosen].desired
    assert desired is not None
    assert desired.assignments[0].trial.good_inferences_min == 7
    quay.sail(12)
    quay.go(3)
    assert (on_new(quay), quay.rollout(made)["state"]) == (8, "succeeded")
    file.write_text('preset = "conservative"\nsoak = 7\n')
    assert quay.wherry(*command).status == 1


def test_a_dry_run_shows_who_would_get_what_and_changes_nothing(quay: Quay) -> None:
    names = fleet(quay)
    plan = DIRECT | {"stages": [{"share": "25%", "is_gated": False}, {"share": "100%"}]}
    order = {"model": "digits", "version": "1.1.0", "target": "all", "plan": plan}
    before = quay.rest("GET", "/audit/verify")["count"]
    shown = quay.rest("POST", "/rollouts/preview", order)["stages"]
    again = quay.rest("POST", "/rollouts/preview", order)["stages"]
    first, rest = units_of(shown)
    assert units_of(again) == [first, rest]
    assert len(first) == 2
    assert sorted(first + rest) == sorted(f"{name}/self" for name in names)
    quay.go(5)
    assert quay.rest("GET", "/audit/verify")["count"] == before
    assert on_new(quay) == 0
    quay.rest("POST", "/rollouts", order)
    quay.go(1)
    assert {f"{n}/self" for n, v in quay.versions().items() if v == "1.1.0"} >= set(first)


def units_of(stages: list[Any]) -> list[list[str]]:
    return [list(stage["units"] if isinstance(stage, dict) else stage) for stage in stages]
