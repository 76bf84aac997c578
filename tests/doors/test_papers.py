"""What goes with a rollout: its checklist, notes by people, and the report at its end."""

import json
from pathlib import Path
from typing import Any

from wherry_controller.core.permissions import Role

from tests.doors.quay import Quay
from tests.doors.test_assurance import (
    STAGES,
    drafted,
    fleet,
    order,
    others_off,
    passes,
    practisable,
)


def quick(**more: Any) -> dict[str, Any]:
    stages = [{"share": "50%", "soak_s": 2.0}, {"share": "100%", "soak_s": 2.0}]
    return STAGES | {"stages": stages} | more


def standing(quay: Quay, rollout_id: str) -> dict[str, bool | None]:
    lines = quay.cli("rollout", "checklist", rollout_id)
    return {line["item"]: line["is_done"] for line in lines}


def test_the_checklist_fills_in_itself_what_it_can_and_asks_for_the_rest(quay: Quay) -> None:
    names = fleet(quay)
    others_off(quay, "rollback_target", "drill", "monitoring", "approval")
    practisable(quay)
    passes(quay, "gw0", "drill")
    quay.report(names, 5.0, inferences=100)
    rollout_id = drafted(quay, plan=quick())
    before = standing(quay, rollout_id)
    assert set(before.values()) == {None, False}
    body = {"reason": "read"}
    path = f"/rollouts/{rollout_id}/approve"
    answer = quay.call("POST", path, Role.APPROVER, json=body)
    assert answer.status_code == 200, answer.text
    quay.go(3)
    quay.sail(10)
    quay.go(3)
    assert quay.rest("GET", f"/rollouts/{rollout_id}")["state"] == "succeeded"
    after = standing(quay, rollout_id)
    assert after == {
        "tested": None, "rollback": True, "monitoring": True, "approval": True,
        "notified": None, "small": False, "notified_after": None, "summary": None,
        "procedure": None, "documents": None, "steps": True, "alerts": None, "issues": None,
        "performance": False, "series": True, "documents_after": None, "lessons": None,
    }  # fmt: skip
    passes(quay, "all", "deployment")  # without limits it held nothing to anything
    assert standing(quay, rollout_id)["performance"] is False
    passes(quay, "all", "deployment", limits={"error_rate_max": 0.01})
    assert standing(quay, rollout_id)["performance"] is True


def test_performance_is_verified_on_the_rollouts_own_devices_after_it_and_its_newest_check_counts(
    quay: Quay,
) -> None:
    fleet(quay)
    others_off(quay)
    quay.enroll("stage", labels={"env": "staging"})
    quay.deploy("1.1.0", "stage")
    quay.go(3)
    limits = {"error_rate_max": 0.01}

    def checked(target: str, **figures: Any) -> None:
        quay.report(list(quay.devices), 5.0, **({"inferences": 100} | figures))
        body = {"suite": "deployment", "model": "digits", "target": target, "limits": limits}
        quay.rest("POST", "/verifications", body)
        quay.go(3)

    checked("stage")
    plan = quick(stages=[{"share": "100%"}])
    made = quay.rest("POST", "/rollouts", order(plan=plan, target="env=production"))
    quay.go(5)
    quay.sail(3)
    assert quay.rollout(made)["state"] == "succeeded"
    checked("stage")  # it serves the version, and is none of the rollout's
    assert standing(quay, made["id"])["performance"] is False
    checked("gw0")
    assert standing(quay, made["id"])["performance"] is True
    checked("gw0", inferences=1000, errors=500)
    assert standing(quay, made["id"])["performance"] is False


def test_what_nobody_can_measure_is_ticked_by_name_and_time_and_nothing_else_is(
    quay: Quay,
) -> None:
    fleet(quay)
    others_off(quay, "monitoring")
    rollout_id = drafted(quay)
    for item in ("procedure", "documents", "documents_after", "lessons", "issues"):
        quay.cli("rollout", "tick", rollout_id, item, "--note", f"{item}: done")
    lines = {line["item"]: line for line in quay.rest("GET", f"/rollouts/{rollout_id}/checklist")}
    assert lines["procedure"]["ticked_by"] == "ada"
    assert lines["procedure"]["ticked_s"] > 1.7e9
    assert lines["lessons"]["found"] == "ada: lessons: done"
    path = f"/rollouts/{rollout_id}/ticks"
    assert "is filled in by the rollout" in quay.refused(
        "POST", path, {"item": "rollback", "note": "trust me"}
    )
    assert "has no 'luck'" in quay.refused("POST", path, {"item": "luck", "note": "x"})
    assert quay.call("POST", path, json={"item": "lessons", "note": ""}).status_code >= 400
    seen = quay.call("POST", path, Role.VIEWER, json={"item": "lessons", "note": "x"})
    assert seen.status_code == 403
    assert [r["details"]["item"] for r in quay.audited() if r["action"] == "rollout.tick"][:1] == [
        "procedure"
    ]


def test_the_report_tells_stages_checks_overrides_incidents_notes_and_who_did_what(
    quay: Quay, tmp_path: Path
) -> None:
    names = fleet(quay)
    others_off(quay, "rollback_target", "on_call")
    made = quay.rest("POST", "/rollouts", order(plan=quick(silent_after_s=60.0),
                     force=["on_call"], reason="the list is down"))  # fmt: skip
    quay.cli("rollout", "note", made["id"], "pump 3 was restarted by hand")
    quay.go(3)
    quay.sail(25, errors=900)
    assert quay.rollout(made)["state"] == "reverted"
    quay.go(15)
    text = quay.wherry("rollout", "report", made["id"]).out
    for said in (
        f"# Rollout {made['id']}: reverted", "Made by ada", "stage 1 of 2", "## Gate",
        "rollback_target passed: way back: 1.0.0 on 4", "on_call needs a person, forced",
        "forced: on_call: nobody is named", "gate.interval_s = 1.0", "ada rollout.create",
        "ada: pump 3 was restarted by hand", "## Incidents", "restored passed", "errors",
    ):  # fmt: skip
        assert said in text, said
    file = tmp_path / "report.json"
    quay.wherry("rollout", "report", made["id"], "--format", "json", "--output", file)
    told = json.loads(file.read_text())
    assert told["rollout"]["state"] == "reverted"
    assert told["duration_s"] > 0
    assert [note["who"] for note in told["notes"]] == ["ada"]
    assert any(row["action"] == "rollout.force" for row in told["history"])
    assert len(names) == 4
