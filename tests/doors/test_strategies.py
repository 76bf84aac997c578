"""Strategies as an operator asks for them: their steps, their parameters, where they may go."""

import threading
from typing import Any

import pytest
from wherry_controller.core.assurance import PRECONDITIONS
from wherry_controller.core.rollouts import exposure, outlook
from wherry_controller.core.rollouts.exposure import Exposure
from wherry_protocol.errors import Code
from wherry_protocol.messages.reported import Outcome

from tests.doors.quay import DIRECT, Quay

DAY_S = 86_400.0
RARELY = {"performance_s": 14_400, "resources_s": 14_400}
ERRORS: dict[str, Any] = {"require": ["errors"]}


def fleet(quay: Quay, count: int = 8, **options: Any) -> list[str]:
    """Devices on 1.0.0 that report every four hours, and 1.1.0 in the registry."""
    names = [f"gw{n}" for n in range(count)]
    quay.enroll(*names, **options)
    quay.push("1.0.0")
    forced = {"force": list(PRECONDITIONS), "reason": "new"}
    made = quay.rest("POST", "/rollouts", order("1.0.0", DIRECT) | forced)
    quay.go(3)
    assert quay.rollout(made)["state"] == "succeeded"
    quay.push("1.1.0")
    return names


def order(version: str, plan: dict[str, Any], target: str = "all") -> dict[str, Any]:
    return {"model": "digits", "version": version, "target": target, "plan": plan}


def on_new(quay: Quay) -> int:
    return list(quay.versions().values()).count("1.1.0")


def test_linear_gives_a_step_to_one_more_part_each_interval(quay: Quay) -> None:
    for name in fleet(quay, 10):
        quay.rest("PATCH", f"/devices/{name}/self", RARELY)
    made = quay.deploy(
        "1.1.0", strategy="linear", gate=ERRORS,
        parameters={"initial": "10%", "increment": 0.3, "increment_interval_hours": 24},
    )  # fmt: skip
    assert made["stages"] == 4
    by_day = []
    for _ in range(4):
        quay.go(3)
        by_day.append(on_new(quay))
        quay.sail(6, DAY_S / 6)
    assert by_day == [1, 4, 7, 10]
    assert quay.rollout(made)["state"] == "succeeded"


def test_the_parameters_of_a_strategy_are_options_and_what_differs_is_listed(quay: Quay) -> None:
    fleet(quay, 4)
    made = quay.cli(
        "rollout", "create", "digits:1.1.0", "--target", "all", "--strategy", "linear",
        "--parameter", "increment=50%", "--parameter", "initial=0.25",
    )  # fmt: skip
    assert made["stages"] == 3
    assert "parameters.increment = 50% (5%)" in made["overrides"]
    bad = ("deploy", "digits:1.1.0", "--target", "all", "--strategy", "linear")
    refused = quay.wherry(*bad, "--parameter", "increment=5")
    assert refused.status != 0
    assert "neither a percentage" in refused.err


def test_production_gets_nothing_everywhere_at_once_unless_it_is_forced_with_a_reason(
    quay: Quay,
) -> None:
    fleet(quay, 4, labels={"env": "production"})
    quay.enroll("lab", labels={"env": "staging"})
    said = quay.refused("POST", "/rollouts", order("1.1.0", DIRECT))
    assert "gradual: it would serve on all 5 units at once" in said
    assert "canary" in said
    single = {"stages": [{"share": "100%"}]}
    assert "gradual" in quay.refused("POST", "/rollouts", order("1.1.0", single))
    forced = {"force": ["gradual"]}
    assert "reason" in quay.refused("POST", "/rollouts", order("1.1.0", DIRECT) | forced)
    staged = quay.deploy("1.1.0", "label:env=staging")
    quay.go(3)
    assert (quay.rollout(staged)["state"], on_new(quay)) == ("succeeded", 1)
    command = ("deploy", "digits:1.1.0", "--target", "label:env=production", "--no-wait")
    every = [word for item in PRECONDITIONS for word in ("--force", item)]
    assert quay.wherry(*command, *every).status != 0
    made = quay.cli(*command, *every, "--reason", "the plant stands still")
    assert made["environment"] == "production"
    rows = [row for row in quay.audited() if row["action"] == "rollout.force"]
    assert "gradual" in {row["details"]["item"] for row in rows
                         if row["reason"] == "the plant stands still"}  # fmt: skip


def test_a_rollout_names_who_made_it_who_approved_it_and_whom_to_call(quay: Quay) -> None:
    fleet(quay, 2, labels={"env": "staging"})
    command = ("rollout", "create", "digits:1.1.0", "--target", "all", "--draft")
    made = quay.cli(*command, "--on-call", "ada, 555-0100", "--notes", "valve 3 is open")
    assert (made["state"], made["environment"], made["approved_by"]) == ("draft", "staging", "")
    quay.rest("POST", f"/rollouts/{made['id']}/approve", {"reason": "read"})
    text = quay.wherry("rollout", "show", made["id"]).out
    for said in ("for staging", "on call ada, 555-0100", "notes: valve 3 is open", "approved by"):
        assert said in text


@pytest.mark.parametrize("strategy", ["direct", "rolling", "canary", "linear", "pilot"])
def test_every_strategy_can_be_previewed_for_what_its_stages_add(quay: Quay, strategy: str) -> None:
    fleet(quay, 3)
    command = ("deploy", "digits:1.1.0", "--target", "all", "--strategy", strategy, "--dry-run")
    stages = quay.cli(*command)["stages"]
    assert sorted(unit for stage in stages for unit in stage) == [
        "gw0/self",
        "gw1/self",
        "gw2/self",
    ]


def test_a_plan_shows_stages_time_bytes_and_what_a_harm_would_cost(quay: Quay) -> None:
    fleet(quay, 8)
    before = quay.rest("GET", "/audit/verify")["count"]
    command = ("rollout", "plan", "digits:1.1.0", "--target", "all", "--strategy", "canary")
    shown = quay.cli(*command)
    assert [step["opened"] for step in shown["steps"]] == [1, 1, 2, 4, 8]
    assert shown["expected_s"] == 6 * DAY_S + 300.0 + 10.0
    load = shown["load"]
    assert load["bundle_bytes"] >= load["fetch_bytes_per_unit_max"] > 0
    assert load["publish_bytes"] == load["fetch_bytes_per_unit_max"]
    assert load["fetch_bytes"] == 8 * load["fetch_bytes_per_unit_max"]
    harms = {one["harm"]: one for one in shown["exposure"]}
    assert (harms[0.3]["hurt_median"], harms[0.3]["hurt_p95"]) == (1, 2), "a stage asks at once"
    assert shown["false_abort"] == 0.01
    text = quay.wherry(*command).out
    for said in (
        "stage 5: swap 4 devices",
        "expected: 6 d",
        "bytes to the broker, once",
        "30% fail",
    ):
        assert said in text
    assert quay.rest("GET", "/audit/verify")["count"] == before
    quay.deploy("1.1.0", gate=ERRORS, max_failed=8)
    quay.go(3)
    assert quay.cli(*command)["load"]["publish_bytes"] == 0


def test_a_plan_ends_where_its_subset_does_and_counts_its_batches(quay: Quay) -> None:
    fleet(quay, 8)
    command = ("rollout", "plan", "digits:1.1.0", "--target", "all", "--strategy", "rolling")
    shown = quay.cli(*command, "--subset", "50%", "--batch-size", "1")
    assert [(step["opened"], step["opens_after_s"]) for step in shown["steps"]] == [
        (2, 0.0), (4, 320.0),
    ]  # fmt: skip
    assert shown["expected_s"] == 320.0 + 20.0 + 300.0
    assert [len(units) for units in shown["stages"]] == [2, 2]


def test_what_a_harm_would_cost_is_played_beside_the_writer(
    quay: Quay, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet(quay, 2)
    played_on = []

    def exposures(*arguments: Any) -> tuple[Exposure, ...]:
        played_on.append(threading.get_ident())
        return exposure.exposures(*arguments)

    monkeypatch.setattr(outlook, "exposures", exposures)
    quay.cli("rollout", "plan", "digits:1.1.0", "--target", "all")
    [thread] = played_on
    assert thread != quay.stage.thread.submit(threading.get_ident).result()


def test_a_device_with_a_full_disk_is_tried_again_and_a_bad_bundle_is_not(quay: Quay) -> None:
    fleet(quay, 3)
    device = quay.devices["gw1"]
    device.verdict, device.verdict_code = Outcome.REJECTED, Code.STORAGE
    made = quay.deploy("1.1.0", retries={"count": 3, "after_s": 30})
    quay.go(3)
    assert quay.rollout(made)["members"]["held"] == 1
    device.verdict, device.verdict_code = Outcome.CONFIRMED, Code.OK
    quay.be_quiet(40.0)
    quay.go(3)
    assert (quay.rollout(made)["state"], on_new(quay)) == ("succeeded", 3)


def test_a_unit_that_has_not_run_what_it_must_have_run_is_passed_over_by_name(quay: Quay) -> None:
    fleet(quay, 2)
    quay.deploy("1.1.0", "gw0")
    quay.go(3)
    quay.push("1.2.0")
    made = quay.deploy("1.2.0", must_pass=["1.1.0"])
    quay.go(3)
    units = {row["unit"]: row for row in quay.rollout(made)["units"]}
    assert units["gw0/self"]["phase"] == "confirmed"
    assert units["gw1/self"]["reason"] == "it must have run 1.1.0 before; bring it that first"
    assert quay.versions() == {"gw0": "1.2.0", "gw1": "1.0.0"}
    assert "versions" in quay.refused("POST", "/rollouts", order("1.2.0", {"must_pass": "1.1.0"}))
