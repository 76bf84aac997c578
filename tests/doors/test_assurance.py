"""Before a rollout starts: what must hold where, who may let it pass, and what an emergency is."""

from typing import Any

import pytest
from wherry_controller.core.assurance import PRECONDITIONS
from wherry_controller.core.permissions import Role

from tests.doors.quay import DIRECT, TRIAL, Quay

STAGES: dict[str, Any] = {
    "stages": [{"share": "50%", "soak_s": 3600.0}, {"share": "100%", "soak_s": 60.0}],
    "gate": {"interval_s": 1.0, "require": ["errors"]},
    "trial": TRIAL,
}
BASICS = frozenset(
    {"rollback_target", "gradual", "success_criteria", "approval", "on_call", "monitoring"}
)


def fleet(quay: Quay, count: int = 4, environment: str = "production") -> list[str]:
    """Devices on 1.0.0 that stand in an environment, and 1.1.0 in the registry."""
    names = [f"gw{n}" for n in range(count)]
    quay.enroll(*names)
    quay.install("1.0.0")
    quay.push("1.1.0")
    label(quay, names, environment)
    return names


def label(quay: Quay, names: list[str], environment: str) -> None:
    for name in names:
        quay.rest("PATCH", f"/devices/{name}/self", {"labels": {"env": environment}})


def order(**more: Any) -> dict[str, Any]:
    return {"model": "digits", "version": "1.1.0", "target": "all", "plan": STAGES} | more


def drafted(quay: Quay, **more: Any) -> str:
    """A draft that an operator made."""
    plan = more.pop("plan", STAGES) | {"on_call": "bob, 555-0199"}
    body = order(start=False, plan=plan, **more)
    answer = quay.call("POST", "/rollouts", Role.OPERATOR, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def others_off(quay: Quay, *items: str) -> None:
    """A policy file for production that asks for these items only."""
    text = quay.data.settings.read_text() + "\n[environments.production]\n"
    wanted = {item: "block" if item in items else "off" for item in PRECONDITIONS}
    text += "".join(f'{item} = "{demand}"\n' for item, demand in wanted.items())
    quay.data.settings.write_text(text)
    quay.restart()


def asked_of_production(quay: Quay) -> list[str]:
    preview = quay.rest("POST", "/rollouts/preview", order())
    return [check["item"] for check in preview["checks"]]


def standing(quay: Quay, rollout_id: str) -> dict[str, str]:
    checks = quay.rest("GET", f"/rollouts/{rollout_id}/checks")["checks"]
    return {check["item"]: check["verdict"] for check in checks}


def test_production_asks_for_a_way_back_criteria_approval_and_somebody_on_call(quay: Quay) -> None:
    fleet(quay)
    sentence = quay.refused("POST", "/rollouts", order())
    assert "may not start" in sentence
    assert "on_call: nobody is named" in sentence
    assert "approval: ada made it" in sentence
    assert len(quay.rest("GET", "/rollouts")) == 1, "only what installed 1.0.0"
    assert set(asked_of_production(quay)) >= BASICS


def test_a_rollout_names_the_version_that_each_device_would_go_back_to(quay: Quay) -> None:
    names = fleet(quay)
    quay.enroll("new")
    label(quay, [*names, "new"], "production")
    others_off(quay, "rollback_target")
    made = quay.rest("POST", "/rollouts", order())
    [check] = quay.rest("GET", f"/rollouts/{made['id']}/checks")["checks"]
    assert check["verdict"] == "passed"
    assert check["evidence"]["targets"] == {"1.0.0": 4, "nothing": 1}
    [row] = [row for row in quay.audited() if row["action"] == "rollout.checks"][-1:]
    assert row["details"]["findings"] == [check]


def test_a_version_that_could_never_come_back_keeps_a_rollout_from_starting(quay: Quay) -> None:
    fleet(quay)
    others_off(quay, "rollback_target")
    quay.push("1.2.0", floor="1.2.0")
    sentence = quay.refused("POST", "/rollouts", order(version="1.2.0"))
    assert "rollback_target" in sentence
    assert "1.0.0 is below the new security floor" in sentence
    assert quay.rest("POST", "/rollouts", order())["state"] == "running"


def test_a_plan_without_a_gate_has_no_success_criteria(quay: Quay) -> None:
    fleet(quay)
    others_off(quay, "success_criteria")
    assert "no stage has a gate" in quay.refused("POST", "/rollouts", order(plan=DIRECT))
    made = quay.rest("POST", "/rollouts", order())
    [check] = quay.rest("GET", f"/rollouts/{made['id']}/checks")["checks"]
    assert "1.00% errors" in check["text"]


def test_devices_that_do_not_report_keep_a_rollout_from_starting(quay: Quay) -> None:
    fleet(quay)
    others_off(quay, "monitoring")
    quay.jump(1000.0)
    assert "4 units (gw0/self, …) did not report" in quay.refused("POST", "/rollouts", order())
    quay.hear(*(quay.devices[name].reported() for name in quay.devices))
    assert quay.rest("POST", "/rollouts", order())["state"] == "running"


def test_another_person_approves_and_the_team_is_on_the_rollout(quay: Quay) -> None:
    fleet(quay)
    others_off(quay, "approval", "on_call")
    rollout_id = drafted(quay)
    assert standing(quay, rollout_id) == {"approval": "passed", "on_call": "passed"}  # ada asks
    path, body = f"/rollouts/{rollout_id}/approve", {"reason": "read it"}
    assert quay.call("POST", path, Role.APPROVER, json=body).status_code == 200
    checks = quay.rest("GET", f"/rollouts/{rollout_id}/checks")
    told = {check["item"]: check["text"] for check in checks["checks"]}
    assert told == {
        "approval": "approved by APPROVER", "on_call": "bob, 555-0199 is on call",
    }  # fmt: skip


def test_checks_are_shown_by_command_with_a_status_and_in_a_dry_run(quay: Quay) -> None:
    fleet(quay)
    dry = quay.wherry("rollout", "create", "digits:1.1.0", "--target", "all", "--dry-run")
    assert dry.status == 0
    assert "needs a person  on_call: nobody is named" in dry.out
    made = quay.cli("rollout", "create", "digits:1.1.0", "--target", "all", "--draft")
    answer = quay.wherry("rollout", "checks", made["id"])
    assert answer.status == 14
    assert "on_call" in answer.out + answer.err
    assert quay.rollout(made)["state"] == "draft"


def test_only_an_admin_lets_a_check_pass_with_a_reason_and_it_is_audited(quay: Quay) -> None:
    fleet(quay)
    others_off(quay, "on_call")
    forced = order(force=["on_call"], reason="the list is down")
    assert quay.call("POST", "/rollouts", Role.APPROVER, json=forced).status_code == 403
    assert "needs a reason" in quay.refused("POST", "/rollouts", order(force=["on_call"]))
    assert "no precondition" in quay.refused("POST", "/rollouts", order(force=["luck"], reason="x"))
    command = ("rollout", "create", "digits:1.1.0", "--target", "all", "--strategy", "canary")
    made = quay.cli(*command, "--force", "on_call", "--reason", "the list is down")
    assert made["state"] == "running"
    [row] = [row for row in quay.audited() if row["action"] == "rollout.force"]
    assert (row["who"], row["reason"], row["details"]["item"]) == (
        "ada", "the list is down", "on_call",
    )  # fmt: skip


def test_an_emergency_skips_dwell_and_approval_and_is_verified_audited_and_told(
    quay: Quay,
) -> None:
    names = fleet(quay)
    others_off(quay, "approval", "rollback_target")
    hurry = order(emergency=True)
    assert "needs a reason" in quay.refused("POST", "/rollouts", hurry)
    answer = quay.call("POST", "/rollouts", Role.OPERATOR, json=hurry | {"reason": "fire"})
    assert answer.status_code == 201, answer.text
    quay.go(3)
    quay.report(names, 5.0, inferences=2000)
    quay.go(5)
    quay.report(names, 5.0, inferences=2000)
    quay.go(5)
    assert quay.rollout(answer.json())["state"] == "succeeded"  # an hour of soak was left out
    assert [row["reason"] for row in quay.audited() if row["action"] == "emergency"] == ["fire"]
    assert any(text.startswith("critical: EMERGENCY") for text in quay.notices())
    quay.push("1.2.0", floor="1.2.0")
    refused = order(version="1.2.0", emergency=True, reason="fire")
    assert "rollback_target" in quay.refused("POST", "/rollouts", refused)


def test_an_emergency_rollback_is_audited_by_itself_and_told(quay: Quay) -> None:
    fleet(quay)
    quay.rest("POST", "/rollback", {"model": "digits", "target": "all", "to_version": "1.1.0",
                                    "reason": "first"})  # fmt: skip
    quay.go(3)
    quay.cli("rollback", "digits", "--target", "all", "--to-version", "1.0.0", "--emergency",
             "--reason", "pumps run dry")  # fmt: skip
    quay.go(3)
    assert set(quay.versions().values()) == {"1.0.0"}
    [row] = [row for row in quay.audited() if row["action"] == "emergency"]
    assert (row["who"], row["reason"]) == ("ada", "pumps run dry")
    assert any("EMERGENCY: rollback of digits on 4 units" in text for text in quay.notices())


@pytest.mark.parametrize("environment", ["", "simulation", "dev"])
def test_where_nothing_is_at_stake_nothing_is_asked(quay: Quay, environment: str) -> None:
    quay.enroll("gw0")
    if environment:
        label(quay, ["gw0"], environment)
    quay.push("1.1.0")
    made = quay.rest("POST", "/rollouts", order(plan=DIRECT))
    assert quay.rest("GET", f"/rollouts/{made['id']}/checks")["checks"] == []
    quay.go(3)
    assert quay.rollout(made)["state"] == "succeeded"


def practisable(quay: Quay) -> None:
    """gw0 gets a version to swap to and back from, while it stands on somebody's desk."""
    label(quay, ["gw0"], "dev")
    quay.install("1.0.1", "gw0")
    label(quay, ["gw0"], "production")


def passes(quay: Quay, target: str, suite: str, **body: Any) -> None:
    asked = {"suite": suite, "target": target, "model": "digits", "reason": "before production"}
    made = quay.rest("POST", "/verifications", asked | {"plan": {"trial": TRIAL}} | body)
    quay.go(8)
    assert quay.rest("GET", f"/verifications/{made['id']}")["outcome"] == "passed"


def test_production_wants_a_drill_that_is_not_older_than_thirty_days(quay: Quay) -> None:
    fleet(quay)
    others_off(quay, "drill")
    assert "drill: the way back was never practised" in quay.refused("POST", "/rollouts", order())
    practisable(quay)
    passes(quay, "gw0", "drill")
    quay.jump(29 * 86_400.0)
    assert quay.rest("POST", "/rollouts/preview", order())["checks"][0]["verdict"] == "passed"
    quay.jump(2 * 86_400.0)
    assert "at most 30 days may pass" in quay.refused("POST", "/rollouts", order())
    passes(quay, "gw0", "drill")
    assert quay.rest("POST", "/rollouts", order())["state"] == "running"


def test_production_wants_this_bundle_to_have_passed_per_class_in_simulation_and_staging(
    quay: Quay,
) -> None:
    names = fleet(quay)
    quay.enroll("sim", labels={"env": "simulation"})
    quay.enroll("stage", labels={"env": "staging"})
    others_off(quay, "hardware_tested", "simulation", "staging")
    body = order(target="env=production")
    sentence = quay.refused("POST", "/rollouts", body)
    assert "hardware_tested: no device of linux-x86_64 passed suite integration" in sentence
    assert "simulation: suite integration has no report of 1.1.0" in sentence
    assert "staging: suite integration has no report" in sentence
    for name, left in (("sim", "staging: "), ("stage", "")):
        quay.deploy("1.1.0", name)
        quay.go(3)
        passes(quay, name, "smoke")  # not enough for a MINOR version
        assert "suite integration has no report" in quay.refused("POST", "/rollouts", body)
        made = quay.rest("POST", "/verifications", {"suite": "integration", "target": name})
        quay.go(2)
        quay.report([name], 10.0, inferences=5)
        assert quay.rest("GET", f"/verifications/{made['id']}")["outcome"] == "passed"
        if left:
            sentence = quay.refused("POST", "/rollouts", body)
            assert left in sentence
            assert "simulation: " not in sentence
    made = quay.rest("POST", "/rollouts", body)
    assert made["state"] == "running"
    [line] = [
        one for one in quay.cli("rollout", "checklist", made["id"]) if one["item"] == "tested"
    ]
    assert (line["is_done"], line["ticked_by"]) == (True, None)
    assert "suite integration passed on linux-x86_64" in line["found"]
    assert len(names) == 4


def test_guard_monitoring_and_preconditions_call_a_device_silent_at_the_same_time(
    quay: Quay,
) -> None:
    names = fleet(quay)
    others_off(quay, "monitoring")
    quay.cli("device", "configure", "--target", "all", "--performance-s", "600",
             "--resources-s", "30")  # fmt: skip
    quay.go(2)
    quay.report(names)

    def silent() -> tuple[int, int, str]:
        told = [a for a in quay.rest("GET", "/alerts", limit=100) if a["cause"] == "silence"]
        [check] = quay.rest("POST", "/rollouts/preview", order())["checks"]
        return len(told), len(quay.rest("GET", "/monitoring")["stale"]), check["verdict"]

    quay.be_quiet(150)  # three reports of 30 s, and not yet the 180 s that are the least
    assert silent() == (0, 0, "passed")
    quay.be_quiet(50)
    assert silent() == (4, 4, "failed")


def test_production_wants_alerts_that_reached_everybody_not_long_ago(quay: Quay) -> None:
    fleet(quay)
    others_off(quay, "alerts_tested")
    assert "alerts were never tested" in quay.refused("POST", "/rollouts", order())
