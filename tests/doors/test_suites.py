"""Suites, drills and checks of deployments: what devices answer decides, and it is kept."""

import json
from pathlib import Path
from typing import Any

import pytest
from wherry_controller.core.permissions import Role
from wherry_protocol.errors import Code
from wherry_protocol.messages.reported import Outcome

from tests.doors.quay import TRIAL, Quay

LIMITS = {"error_rate_max": 0.01, "latency_us_p95_max": 1000, "inferences_min": 100}


def fleet(quay: Quay, count: int = 3, environment: str = "") -> list[str]:
    """Devices that serve 1.1.0 and had 1.0.0 before."""
    names = [f"gw{n}" for n in range(count)]
    quay.enroll(*names, labels={"env": environment} if environment else {})
    quay.install("1.0.0")
    quay.install("1.1.0")
    return names


def verified(quay: Quay, seconds: float = 5, **body: Any) -> dict[str, Any]:
    """A run, after some time."""
    made = quay.rest("POST", "/verifications", {"target": "all", "model": "digits"} | body)
    quay.go(seconds)
    return dict(quay.rest("GET", f"/verifications/{made['id']}"))


def steps(run: dict[str, Any], unit: str = "gw0/self") -> dict[str, str]:
    [found] = [row for row in run["units"] if row["unit"] == unit]
    return {step["step"]: step["verdict"] for step in found["steps"]}


def test_smoke_asks_every_device_for_its_golden_vectors_and_is_kept(quay: Quay) -> None:
    fleet(quay)
    run = verified(quay, suite="smoke")
    assert (run["outcome"], run["counts"]) == ("passed", {"passed": 3})
    assert {unit["version"] for unit in run["units"]} == {"1.1.0"}
    assert steps(run) == {"golden": "passed"}
    rows = [row for row in quay.audited() if row["subject"] == run["id"]]
    assert [row["action"] for row in rows] == ["verification.start", "verification.end"]
    assert rows[0]["who"] == "ada"
    assert quay.cli("verification", "list")[0]["id"] == run["id"]


def test_one_wrong_golden_vector_or_a_mute_or_absent_device_fails_and_is_named(quay: Quay) -> None:
    fleet(quay)
    quay.devices["gw0"].golden = (3, 4)
    quay.devices["gw1"].is_mute = True
    quay.hear(quay.devices["gw2"].presence(is_online=False))
    run = verified(quay, 45, suite="smoke")
    assert (run["outcome"], run["counts"]) == ("failed", {"failed": 3})
    why = {unit["unit"]: unit["failure"] for unit in run["units"]}
    assert why["gw0/self"] == "golden: 3 of 4 golden vectors passed"
    assert "no answer within 40 s" in why["gw1/self"]
    assert "offline" in why["gw2/self"]


def test_integration_sees_transport_swap_inference_and_a_fresh_report(quay: Quay) -> None:
    names = fleet(quay)
    run = verified(quay, suite="integration")
    assert run["outcome"] == "running"
    assert steps(run)["inference"] == "passed"
    assert "telemetry" not in steps(run)
    quay.report(names[:2], 10.0, inferences=1)
    quay.be_quiet(200.0)
    run = quay.rest("GET", f"/verifications/{run['id']}")
    assert steps(run) == dict.fromkeys(
        ("transport", "swap", "golden", "inference", "telemetry"), "passed"
    )
    assert steps(run, "gw2/self")["telemetry"] == "failed"
    assert run["counts"] == {"passed": 2, "failed": 1}


def test_production_wants_a_candidate_and_full_practises_the_way_back(quay: Quay) -> None:
    names = fleet(quay, 1)
    run = verified(quay, suite="production")
    quay.report(names, 10.0, inferences=1)
    run = quay.rest("GET", f"/verifications/{run['id']}")
    assert "no candidate stands here" in run["units"][0]["failure"]
    run = verified(quay, suite="full", plan={"trial": TRIAL}, reason="acceptance")
    quay.report(names, 10.0, inferences=1)
    quay.go(8)
    run = quay.rest("GET", f"/verifications/{run['id']}")
    assert run["outcome"] == "passed"
    assert (steps(run)["candidate"], steps(run)["roll back"]) == ("not run", "passed")
    assert quay.versions() == {"gw0": "1.1.0"}


def test_a_deployment_is_held_to_the_limits_of_a_file(quay: Quay, tmp_path: Path) -> None:
    names = fleet(quay)
    file = tmp_path / "verification.json"
    file.write_text(json.dumps(LIMITS))
    quay.report(names[:2], inferences=1000, errors=1, latency_ns=900_000)
    quay.report(names[2:], inferences=1000, errors=50, latency_ns=1_300_000)
    quay.go()
    command = ("verify", "deployment", "--target", "all", "--model", "digits", "--config", file)
    made = quay.cli(*command, "--no-wait")
    quay.go(3)
    run = quay.rest("GET", f"/verifications/{made['id']}")
    assert steps(run) == {"swap": "passed", "golden": "passed", "metrics": "passed"}
    [bad] = [unit for unit in run["units"] if unit["outcome"] == "failed"]
    assert "error_rate is 0.05, the limit is 0.01" in bad["failure"]
    assert "latency_us_p95 is" in bad["failure"]
    file.write_text('{"eror_rate_max": 0.01}')
    refused = quay.wherry(*command)
    assert refused.status == 10
    assert "unknown eror_rate_max" in refused.err


def test_a_figure_that_is_missing_does_not_pass(quay: Quay) -> None:
    names = fleet(quay, 1)
    quay.report(names, inferences=1000)
    run = verified(quay, suite="deployment", limits=LIMITS | {"energy_uj_max": 500})
    assert run["outcome"] == "running"
    quay.be_quiet(200.0)
    run = quay.rest("GET", f"/verifications/{run['id']}")
    assert "no figure for every limit" in run["units"][0]["failure"]


def test_a_deployment_that_does_not_serve_what_it_shall_is_found(quay: Quay) -> None:
    fleet(quay, 2)
    run = verified(quay, suite="deployment", version="1.0.0")
    assert run["outcome"] == "failed"
    assert "serves instead of" in run["units"][0]["failure"]


def test_a_rollback_is_done_when_every_device_has_proved_what_it_serves(quay: Quay) -> None:
    fleet(quay, 2)
    quay.devices["gw1"].golden = (0, 4)
    order = {"model": "digits", "target": "all", "reason": "false alarms",
             "plan": {"trial": TRIAL}}  # fmt: skip
    done = quay.rest("POST", "/rollback", order)
    first = quay.rest("GET", f"/verifications/{done['verification']}")
    assert (first["suite"], first["outcome"]) == ("restored", "running")
    quay.go(5)
    run = quay.rest("GET", f"/verifications/{done['verification']}")
    assert {unit["version"] for unit in run["units"]} == {"1.0.0"}
    assert steps(run) == {"swap": "passed", "golden": "passed"}
    assert (run["outcome"], run["counts"]) == ("failed", {"passed": 1, "failed": 1})
    assert any(
        text.startswith("critical: rollback of digits") and "gw1/self" in text
        for text in quay.notices()
    )


def test_a_rollout_that_went_back_is_verified_too(quay: Quay) -> None:
    quay.enroll("gw0")
    quay.install("1.0.0")
    quay.push("1.1.0")
    made = quay.deploy("1.1.0")
    quay.go(3)
    quay.rest("POST", f"/rollouts/{made['id']}/revert", {"reason": "wrong weights"})
    quay.go(20)
    assert quay.rollout(made)["state"] == "reverted"
    [run] = quay.rest("GET", "/verifications")
    assert (run["suite"], run["target"], run["outcome"]) == ("restored", made["id"], "passed")


def test_a_way_back_from_which_nobody_came_is_not_verified(quay: Quay) -> None:
    quay.enroll("gw0", "gw1")
    quay.install("1.0.0")
    quay.push("1.1.0")
    made = quay.deploy("1.1.0", return_after_s=60.0)
    quay.go(3)
    for device in quay.devices.values():
        device.is_deaf = True
    quay.rest("POST", f"/rollouts/{made['id']}/revert", {"reason": "wrong weights"})
    quay.go(5)
    quay.be_quiet(85)
    assert len(quay.rollout(made)["not_back"]) == 2
    [run] = quay.rest("GET", "/verifications")
    assert (run["suite"], run["outcome"]) == ("restored", "failed")
    assert run["reason"] == "no device came back, 2 did not"
    ends = [row for row in quay.audited() if row["action"] == "verification.end"]
    assert [(row["subject"], row["reason"]) for row in ends] == [(run["id"], "failed")]
    assert list(ends[0]["details"]["failed"]) == ["gw0/self", "gw1/self"]


def test_a_way_back_from_which_one_did_not_come_has_failed_and_names_it(quay: Quay) -> None:
    quay.enroll("gw0", "gw1")
    quay.install("1.0.0")
    quay.push("1.1.0")
    made = quay.deploy("1.1.0", return_after_s=60.0)
    quay.go(3)
    quay.devices["gw1"].is_deaf = True
    quay.rest("POST", f"/rollouts/{made['id']}/revert", {"reason": "wrong weights"})
    quay.go(5)
    quay.be_quiet(85)
    quay.at_sea(lambda world: world.restart())
    quay.go(20)
    [head] = quay.rest("GET", "/verifications")
    run = quay.rest("GET", f"/verifications/{head['id']}")
    assert (run["outcome"], run["counts"]) == ("failed", {"passed": 1, "failed": 1})
    failures = {unit["unit"]: unit["failure"] for unit in run["units"]}
    assert failures == {"gw0/self": "", "gw1/self": "swap: not back within 60 s"}
    assert any(
        text.startswith("critical: rollback of digits") and "1 verified, 1 not: gw1/self" in text
        for text in quay.notices()
    )


def test_a_large_run_is_followed_without_its_units(quay: Quay) -> None:
    fleet(quay)
    quay.devices["gw2"].is_mute = True
    run = verified(quay, suite="smoke")
    brief = quay.rest("GET", f"/verifications/{run['id']}", is_brief=True)
    assert brief == {key: value for key, value in run.items() if key != "units"}
    assert brief["counts"] == {"open": 1, "passed": 2}


def test_a_drill_swaps_rolls_back_verifies_and_says_how_long_it_took(quay: Quay) -> None:
    fleet(quay, 2)
    file = quay.data.root / "drill.toml"
    file.write_text("[trial]\ngood_inferences_min = 1\ntrial_s_min = 0.0\ntrial_s_max = 5.0\n")
    made = quay.cli("drill", "--model", "digits", "--target", "gw0", "--reason", "monthly",
                    "--file", file, "--no-wait")  # fmt: skip
    before = quay.devices["gw0"].revision
    quay.go(8)
    run = quay.rest("GET", f"/verifications/{made['id']}")
    assert steps(run) == {"swap away": "passed", "roll back": "passed", "golden": "passed"}
    assert (run["outcome"], run["duration_s"] > 0) == ("passed", True)
    assert quay.versions() == {"gw0": "1.1.0", "gw1": "1.1.0"}
    assert quay.devices["gw0"].revision == before + 2
    text = quay.wherry("verification", "show", made["id"]).out
    assert "roll back passed: confirmed after" in text


def test_a_drill_takes_no_device_away_from_a_rollout_and_needs_somewhere_to_go(quay: Quay) -> None:
    quay.enroll("gw0", "gw1")
    quay.install("1.0.0")
    body = {"suite": "drill", "target": "all", "model": "digits", "reason": "x"}
    run = verified(quay, **body)
    assert "no other version" in run["units"][0]["failure"]
    quay.push("1.1.0")
    quay.deploy("1.1.0", stages=[{"share": "50%", "soak_s": 60.0}, {"share": "100%"}])
    assert "open rollout" in quay.refused("POST", "/verifications", body)


def test_a_run_that_meets_a_drill_on_its_way_waits_until_that_is_home(quay: Quay) -> None:
    fleet(quay, 1)
    body = {"suite": "drill", "target": "gw0", "model": "digits", "reason": "x"}
    drill = quay.rest("POST", "/verifications", body | {"plan": {"trial": TRIAL}})
    assert "has not ended that yet" in quay.refused("POST", "/verifications", body)
    smoke = quay.rest("POST", "/verifications", {"suite": "smoke", "target": "all"})
    quay.go(12)
    assert quay.versions() == {"gw0": "1.1.0"}, "nobody leaves it where the drill was"
    ended = [quay.rest("GET", f"/verifications/{made['id']}") for made in (drill, smoke)]
    assert [run["outcome"] for run in ended] == ["passed", "passed"], ended
    assert ended[1]["units"][0]["version"] == "1.1.0"


DRILL: dict[str, Any] = {"suite": "drill", "target": "b", "model": "digits", "reason": "x"}


def deaf_on_its_way(quay: Quay) -> None:
    """`b` serves 1.1.0, has 1.0.0 as its way back, and hears nothing more."""
    quay.enroll("a", "b")
    for version in ("1.0.0", "1.1.0"):
        quay.install(version)
    quay.push("1.2.0")
    quay.devices["b"].is_deaf = True


@pytest.mark.parametrize("seconds", [3.0, 70.0], ids=["waited for", "given up"])
def test_a_drill_takes_no_device_that_is_on_its_way_back_after_an_abort(
    quay: Quay, seconds: float
) -> None:
    deaf_on_its_way(quay)
    made = quay.deploy("1.2.0", return_after_s=60.0)
    quay.rest("POST", f"/rollouts/{made['id']}/abort", {"reason": "wrong version"})
    quay.be_quiet(seconds)
    said = quay.refused("POST", "/verifications", DRILL)
    assert said.startswith(
        f"b/self is on its way back from digits 1.2.0 ({made['id']} is aborted); a drill would keep"
    )
    command = ("drill", "--model", "digits", "--target", "b", "--reason", "x", "--no-wait")
    refused = quay.wherry(*command)
    assert refused.status != 0
    assert f"wherry rollout show {made['id']}" in refused.err
    quay.devices["b"].is_deaf = False
    quay.go(3)
    assert verified(quay, 8, **DRILL, plan={"trial": TRIAL})["outcome"] == "passed"


def test_a_drill_takes_no_device_that_has_not_come_back_from_a_revert(quay: Quay) -> None:
    deaf_on_its_way(quay)
    made = quay.deploy("1.2.0", return_after_s=60.0)
    quay.go(3)
    quay.rest("POST", f"/rollouts/{made['id']}/revert", {"reason": "wrong version"})
    quay.be_quiet(70.0)
    assert quay.rollout(made)["state"] == "reverted"
    said = quay.refused("POST", "/verifications", DRILL)
    assert f"b/self is on its way back from digits 1.2.0 ({made['id']} is reverted)" in said


def test_a_drill_takes_no_device_whose_candidate_an_abort_is_yet_to_take_back(
    quay: Quay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherry_controller.core.rollouts.advancing.OFFERS_MAX_PER_S", 1)
    quay.enroll("a", "b", protocol=(1, 2))
    quay.install("1.0.0")
    quay.push("1.1.0")
    made = quay.deploy("1.1.0", strategy="blue-green", gate={"require": ["errors"]})
    quay.go(5)
    assert all("digits" in device.candidate for device in quay.devices.values())
    quay.rest("POST", f"/rollouts/{made['id']}/abort", {"reason": "wrong version"})
    for name in ("a", "b"):  # one was told in the same second, the other is yet to be
        said = quay.refused("POST", "/verifications", DRILL | {"target": name})
        assert f"{name}/self is on its way back from digits 1.1.0" in said


def test_a_drill_takes_no_device_that_has_not_ended_what_it_was_assigned(quay: Quay) -> None:
    deaf_on_its_way(quay)
    body = {"model": "digits", "target": "b", "reason": "errors", "plan": {"trial": TRIAL}}
    quay.rest("POST", "/rollback", body)
    said = quay.refused("POST", "/verifications", DRILL)
    assert "b/self was assigned digits 1.0.0 (manual) and has not ended that yet" in said
    assert "wherry device show b" in said


def test_a_drill_takes_no_device_that_did_not_take_what_it_was_assigned(quay: Quay) -> None:
    deaf_on_its_way(quay)
    device = quay.devices["b"]
    device.is_deaf = False
    device.verdict, device.verdict_code = Outcome.REJECTED, Code.STORAGE
    made = quay.deploy("1.2.0", "b", max_failed=1)
    quay.go(3)
    quay.rest("POST", f"/rollouts/{made['id']}/abort", {"reason": "no room"})
    device.verdict, device.verdict_code = Outcome.CONFIRMED, Code.OK
    quay.go(3)
    said = quay.refused("POST", "/verifications", DRILL)
    assert said.startswith(f"b/self did not take digits 1.2.0, which {made['id']} assigned last")
    assert "a drill would end on 1.1.0, which serves instead" in said
    body = {"model": "digits", "target": "b", "to_version": "1.0.0", "reason": "x"}
    quay.rest("POST", "/rollback", body | {"plan": {"trial": TRIAL}})
    quay.go(3)
    assert verified(quay, 8, **DRILL, plan={"trial": TRIAL})["outcome"] == "passed"


def away(quay: Quay) -> str:
    """Both serve 1.1.0, and `b` runs 1.0.0 for a drill; the drill's id."""
    deaf_on_its_way(quay)
    quay.devices["b"].is_deaf = False
    drill = quay.rest("POST", "/verifications", DRILL | {"plan": {"trial": TRIAL}})
    quay.go()
    assert quay.versions() == {"a": "1.1.0", "b": "1.0.0"}
    return str(drill["id"])


def test_no_rollout_takes_a_device_that_a_drill_is_to_bring_home(quay: Quay) -> None:
    run = away(quay)
    body = {"model": "digits", "version": "1.2.0", "target": "all", "plan": {"trial": TRIAL}}
    for door in ("/rollouts", "/rollouts/preview"):
        said = quay.refused("POST", door, body)
        assert f"1 of 2 units (first b/self) is in {run}" in said
        assert f"wherry verification show {run}" in said
    assert quay.call("POST", "/rollouts/preview", json=body | {"target": "a"}).status_code == 200
    quay.go(8)
    assert quay.versions() == {"a": "1.1.0", "b": "1.1.0"}
    made = quay.deploy("1.2.0")
    quay.go(3)
    quay.rest("POST", f"/rollouts/{made['id']}/revert", {"reason": "worse"})
    quay.go(4)
    assert quay.versions() == {"a": "1.1.0", "b": "1.1.0"}


@pytest.mark.parametrize("to_version", [None, "1.0.0"])
def test_a_rollback_takes_a_device_from_a_drill_and_leaves_the_version_that_was_its_home(
    quay: Quay, to_version: str | None
) -> None:
    run = away(quay)
    body = {"model": "digits", "target": "all", "reason": "errors", "plan": {"trial": TRIAL}}
    done = quay.rest("POST", "/rollback", body | {"to_version": to_version})
    assert done["sent"] == {"a/self": "1.0.0", "b/self": "1.0.0"}, done
    quay.go(10)
    assert quay.versions() == {"a": "1.0.0", "b": "1.0.0"}, "the drill brings 1.1.0 back no more"
    ended = quay.rest("GET", f"/verifications/{run}")
    assert ended["outcome"] == "failed"
    assert ended["units"][0]["failure"] == "a rollback by ada took the device"
    restored = quay.rest("GET", f"/verifications/{done['verification']}")
    assert restored["outcome"] == "passed", restored
    if to_version is None:
        assert "1.1.0 is bad" in quay.refused("POST", "/rollback", body)


@pytest.mark.parametrize("has_swapped", [False, True])
def test_a_home_that_crashes_while_the_drill_is_on_its_way_is_not_gone_back_to(
    quay: Quay, has_swapped: bool
) -> None:
    deaf_on_its_way(quay)
    quay.devices["b"].is_deaf = not has_swapped
    home = quay.devices["b"].active["digits"].digest
    run = quay.rest("POST", "/verifications", DRILL | {"plan": {"trial": TRIAL}})["id"]
    quay.go()
    quay.devices["b"].is_deaf = True
    told = {"code": Code.ENGINE_CRASH, "model": "digits", "manifest_digest": home}
    quay.at_sea(lambda world: world.receive(world.devices["b"].event("it crashed", **told)))
    quay.devices["b"].is_deaf = False
    quay.go(10)
    assert quay.versions()["b"] == "1.0.0"
    ended = quay.rest("GET", f"/verifications/{run}")
    assert ended["units"][0]["failure"] == "the guard took the device: the engine crashed", ended


def test_a_rollback_to_where_a_drill_came_from_is_what_the_drill_does_already(quay: Quay) -> None:
    away(quay)
    body = {"model": "digits", "target": "b", "to_version": "1.1.0", "reason": "x"}
    assert "it serves 1.1.0 already" in quay.refused("POST", "/rollback", body)
    quay.go(8)
    assert quay.versions()["b"] == "1.1.0"


def test_a_drill_that_waited_does_not_begin_on_a_device_that_was_rolled_back_meanwhile(
    quay: Quay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherry_controller.fleet.verifying.OPEN_MAX", 1)
    deaf_on_its_way(quay)
    quay.devices["b"].is_deaf = False
    quay.devices["a"].is_deaf = True
    every = DRILL | {"target": "all", "plan": {"trial": TRIAL}}
    run = quay.rest("POST", "/verifications", every)["id"]  # it is away with `a`, `b` waits
    body = {"model": "digits", "target": "b", "reason": "errors", "plan": {"trial": TRIAL}}
    quay.rest("POST", "/rollback", body)
    quay.go(3)
    assert quay.versions()["b"] == "1.0.0"
    quay.devices["a"].is_deaf = False
    quay.go(12)
    assert quay.versions() == {"a": "1.1.0", "b": "1.0.0"}
    units = {
        row["unit"]: row["failure"] for row in quay.rest("GET", f"/verifications/{run}")["units"]
    }
    assert units["a/self"] == ""
    assert "it serves 1.0.0 by now, and not 1.1.0" in units["b/self"]


@pytest.mark.parametrize("role", [Role.VIEWER])
def test_a_viewer_starts_no_suite(quay: Quay, role: Role) -> None:
    body = {"suite": "smoke", "target": "all"}
    assert quay.call("POST", "/verifications", role, json=body).status_code == 403


def test_a_restart_asks_again_what_was_not_answered(quay: Quay) -> None:
    fleet(quay, 1)
    made = quay.rest("POST", "/verifications", {"suite": "smoke", "target": "all"})
    quay.at_sea(lambda world: world.asked.clear())
    quay.at_sea(lambda world: world.restart())
    quay.go(3)
    assert quay.rest("GET", f"/verifications/{made['id']}")["outcome"] == "passed"


def test_production_tests_the_idle_slot_while_the_other_serves(quay: Quay) -> None:
    quay.enroll("gw0", protocol=(1, 2))
    quay.install("1.0.0")
    quay.push("1.1.0")
    quay.deploy("1.1.0", strategy="blue-green", gate={"require": ["errors"]})
    quay.go(3)
    run = verified(quay, 3, suite="production")
    quay.report(["gw0"], 10.0, inferences=5)
    quay.go(3)
    run = quay.rest("GET", f"/verifications/{run['id']}")
    assert (run["outcome"], steps(run)["candidate"]) == ("passed", "passed"), run
    assert run["units"][0]["version"] == "1.1.0", "the verdict is about what stands beside"
    assert quay.versions() == {"gw0": "1.0.0"}


def test_a_unit_of_protocol_1_is_not_asked_for_a_bundle_by_its_digest(quay: Quay) -> None:
    quay.enroll("gw0", protocol=(1, 1))
    quay.install("1.0.0")
    quay.push("1.1.0")
    quay.deploy("1.1.0", strategy="blue-green", gate={"require": ["errors"]})
    quay.go(3)
    run = verified(quay, 3, suite="production")
    quay.report(["gw0"], 10.0, inferences=5)
    quay.go(3)
    [unit] = quay.rest("GET", f"/verifications/{run['id']}")["units"]
    assert unit["failure"].startswith(
        "candidate: the agent of gw0/self speaks protocol 1 and verifies what serves only:"
    )
    assert "update wherry-agent there, or let it serve first" in unit["failure"]
    assert {step["step"]: step["verdict"] for step in unit["steps"]}["golden"] == "passed"


def test_after_a_way_back_the_bad_version_stays_in_its_slot_with_its_figures(quay: Quay) -> None:
    fleet(quay, 1)
    quay.report(["gw0"], inferences=1000, errors=20)
    quay.rest("POST", "/rollback", {"model": "digits", "target": "all", "reason": "errors",
                                    "plan": {"trial": TRIAL}})  # fmt: skip
    quay.go(5)
    [model] = quay.rest("GET", "/devices")[0]["models"]
    assert (model["active_version"], model["previous_version"]) == ("1.0.0", "1.1.0")
    kept = [row for row in quay.rest("GET", "/performance") if row["version"] == "1.1.0"]
    assert (kept[0]["inferences"], kept[0]["errors"]) == (1000, 20)
