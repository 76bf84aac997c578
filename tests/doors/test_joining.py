"""Who joins a dynamic group gets what the group runs, and nothing that it does not run."""

from datetime import UTC, datetime
from typing import Any

from wherry_controller.core.permissions import Role
from wherry_protocol.errors import Code
from wherry_protocol.messages.reported import Outcome

from tests.doors.quay import DIRECT, Quay
from tests.doors.test_assurance import label, others_off
from tests.doors.test_schedules import HOUR_S, window_on
from tests.doors.test_targets import FORCED, TRIAL, on, order

SHADOW: dict[str, Any] = {
    "strategy": "shadow", "trial": TRIAL, "parameters": {"hours": 0.02},
    "gate": {"require": []},
}  # fmt: skip
HALF: dict[str, Any] = {"stages": [{"share": "50%", "is_gated": False, "soak_s": 600}, {
    "share": "100%", "is_gated": False}], "trial": TRIAL}  # fmt: skip


def labs(quay: Quay, *names: str, env: str = "staging") -> None:
    """A dynamic group with these devices on 1.0.0; 1.1.0 is in the registry."""
    quay.enroll(*names, labels={"env": env}, protocol=(1, 2))
    quay.push("1.0.0")
    quay.rest("POST", "/rollouts", order("all", "1.0.0", **DIRECT) | FORCED)
    quay.go(3)
    quay.push("1.1.0")
    quay.cli("group", "create", "labs", "--target", f"env={env}", "--dynamic")


def brought(quay: Quay) -> list[dict[str, Any]]:
    """The rollouts that were made because somebody joined."""
    rows = quay.audited()
    made = [row for row in rows if row["action"] == "rollout.create"]
    return [row for row in made if "joined group" in row["reason"]]


def test_a_shadow_for_a_group_is_not_what_the_group_runs(quay: Quay) -> None:
    labs(quay, "a", "b")
    quay.rest("POST", "/rollouts", order("group:labs", "1.0.0", attempt=1, **DIRECT))
    made = quay.rest("POST", "/rollouts", order("group:labs", **SHADOW))
    quay.go(3)
    quay.be_quiet(100.0)
    quay.go(3)
    assert quay.rollout(made)["state"] == "succeeded"
    assert quay.cli("group", "show", "labs")["runs"].get("digits") != made["id"]
    quay.enroll("c", labels={"env": "staging"})
    quay.be_quiet(70.0)
    quay.go(3)
    assert on(quay, "1.1.0") == set()


def test_who_joins_while_a_rollout_goes_on_gets_it_when_it_has_succeeded(quay: Quay) -> None:
    labs(quay, "a", "b")
    made = quay.rest("POST", "/rollouts", order("group:labs", **HALF))
    quay.go(3)
    quay.enroll("c", labels={"env": "staging"})
    quay.be_quiet(70.0)
    assert "c" not in quay.versions()
    quay.be_quiet(600.0)
    quay.go(3)
    assert quay.rollout(made)["state"] == "succeeded"
    quay.be_quiet(70.0)
    quay.go(3)
    assert on(quay, "1.1.0") == {"a", "b", "c"}
    assert [row["details"]["target"] for row in brought(quay)] == ["c/self"]


def test_all_who_join_in_a_minute_share_one_rollout(quay: Quay) -> None:
    labs(quay, "a")
    quay.rest("POST", "/rollouts", order("group:labs", **DIRECT))
    quay.go(3)
    quay.enroll("b", "c", "d", labels={"env": "staging"})
    quay.be_quiet(70.0)
    quay.go(3)
    assert on(quay, "1.1.0") == {"a", "b", "c", "d"}
    [made] = brought(quay)
    assert (made["reason"], made["details"]["units"]) == ("3 units joined group labs", 3)
    quay.be_quiet(200.0)
    assert len(brought(quay)) == 1


def test_one_that_fails_does_not_take_the_version_from_those_who_joined_with_it(quay: Quay) -> None:
    labs(quay, "a")
    quay.rest("POST", "/rollouts", order("group:labs", **DIRECT))
    quay.go(3)
    quay.enroll("b", "c", "d", labels={"env": "staging"})
    quay.devices["c"].verdict, quay.devices["c"].verdict_code = Outcome.REJECTED, Code.STORAGE
    quay.be_quiet(70.0)
    quay.go(5)
    assert on(quay, "1.1.0") == {"a", "b", "d"}
    newest = quay.rest("GET", "/rollouts")[0]
    assert (newest["state"], newest["is_winding_down"]) == ("succeeded", False)
    assert list(quay.rollout(newest)["failed"]) == ["c/self"]


def test_what_an_environment_demands_of_a_device_holds_for_who_joins(quay: Quay) -> None:
    labs(quay, "a", "b", env="production")
    quay.enroll("c", protocol=(1, 2))
    others_off(quay, "monitoring", "approval", "gradual")
    quay.hear(*(quay.devices[name].reported() for name in ("a", "b")))
    body = order("group:labs", **HALF) | {"start": False}
    made = quay.call("POST", "/rollouts", Role.OPERATOR, json=body).json()
    quay.rest("POST", f"/rollouts/{made['id']}/approve", {"reason": "read"})
    quay.go(3)
    quay.be_quiet(610.0)
    quay.go(3)
    assert quay.rollout(made)["state"] == "succeeded"
    quay.devices["c"].is_deaf = True
    label(quay, ["c"], "production")
    quay.be_quiet(200.0)
    assert on(quay, "1.1.0") == {"a", "b"}
    [told] = [text for text in quay.notices() if "joined group labs" in text]
    assert "monitoring: c/self did not report" in told
    assert [row["state"] for row in quay.rest("GET", "/rollouts")] == ["succeeded", "succeeded"]
    quay.devices["c"].is_deaf = False
    quay.hear(quay.devices["c"].reported())
    quay.be_quiet(70.0)
    quay.go(3)
    assert on(quay, "1.1.0") == {"a", "b", "c"}
    assert {row["details"]["item"] for row in quay.audited() if row["action"] == "rollout.force"
            and "joined" in row["reason"]} == {"approval", "gradual"}  # fmt: skip


def test_one_that_is_refused_does_not_keep_the_others_from_what_the_group_runs(quay: Quay) -> None:
    labs(quay, "a")
    others_off_staging(quay)
    quay.hear(quay.devices["a"].reported())
    quay.rest("POST", "/rollouts", order("group:labs", **DIRECT))
    quay.go(3)
    quay.enroll("b", "c", "d").is_deaf = True  # d says nothing from here on
    quay.be_quiet(300.0)
    quay.hear(quay.devices["b"].reported(), quay.devices["c"].reported())
    label(quay, ["b", "c", "d"], "staging")
    for _ in range(4):
        quay.hear(quay.devices["b"].reported(), quay.devices["c"].reported())
        quay.be_quiet(65.0)
    quay.go(3)
    assert on(quay, "1.1.0") == {"a", "b", "c"}
    [told] = refusals(quay)
    assert "3 units joined" in told
    assert "monitoring: d/self did not report" in told


def test_who_joins_under_a_stop_shares_one_rollout_when_it_is_released(quay: Quay) -> None:
    labs(quay, "a")
    quay.rest("POST", "/rollouts", order("group:labs", **DIRECT))
    quay.go(3)
    quay.rest("POST", "/stop", {"is_stopped": True, "reason": "smoke in the hall"})
    quay.enroll("b", "c", "d", labels={"env": "staging"})
    quay.be_quiet(600.0)
    assert (refusals(quay), brought(quay)) == ([], [])
    quay.rest("POST", "/stop", {"is_stopped": False, "reason": "it was the kitchen"})
    quay.be_quiet(70.0)
    quay.go(3)
    assert on(quay, "1.1.0") == {"a", "b", "c", "d"}
    assert [made["reason"] for made in brought(quay)] == ["3 units joined group labs"]


def test_who_belonged_to_another_rollout_for_long_shares_one_rollout_after_it(quay: Quay) -> None:
    labs(quay, "a")
    quay.rest("POST", "/rollouts", order("group:labs", **DIRECT))
    quay.go(3)
    quay.enroll("b", "c", "d", labels={"env": "development"})
    rival = quay.rest("POST", "/rollouts", order("env=development", "1.0.0", **DIRECT)
                      | {"start": False})  # fmt: skip
    label(quay, ["b", "c", "d"], "staging")
    quay.be_quiet(600.0)
    told = refusals(quay)
    assert len(told) == 3
    assert all(f"belongs to the open rollout {rival['id']}" in text for text in told)
    quay.rest("POST", f"/rollouts/{rival['id']}/abort", {"reason": "not needed"})
    quay.be_quiet(70.0)
    quay.go(3)
    assert on(quay, "1.1.0") == {"a", "b", "c", "d"}
    assert [made["reason"] for made in brought(quay)] == ["3 units joined group labs"]


def test_who_joins_must_have_run_what_the_group_had_to_run_before(quay: Quay) -> None:
    labs(quay, "a")
    quay.rest("POST", "/rollouts", order("group:labs", must_pass=["1.0.0"], **DIRECT))
    quay.go(3)
    assert on(quay, "1.1.0") == {"a"}
    quay.enroll("b", labels={"env": "staging"})
    quay.be_quiet(200.0)
    assert "b" not in quay.versions()
    [told] = refusals(quay)
    assert "b/self joined" in told
    assert "it must have run 1.0.0 before" in told
    quay.rest("POST", "/rollouts", order("b", "1.0.0", **DIRECT))
    quay.go(3)
    quay.be_quiet(70.0)
    quay.go(3)
    assert on(quay, "1.1.0") == {"a", "b"}


def test_who_joins_is_brought_what_the_group_had_to_run_first_where_its_rollout_did_so(
    quay: Quay,
) -> None:
    labs(quay, "a")
    plan = {"must_pass": ["1.0.0"], "must_pass_missing": "bring"}
    quay.rest("POST", "/rollouts", order("group:labs", **plan, **DIRECT))
    quay.go(3)
    quay.enroll("b", labels={"env": "staging"})
    quay.be_quiet(70.0)
    quay.go(5)
    assert on(quay, "1.1.0") == {"a", "b"}
    assert len(quay.devices["b"].fetched) == 2
    assert refusals(quay) == []


def test_who_joins_while_a_drill_runs_what_the_group_runs_gets_it_when_the_drill_is_home(
    quay: Quay,
) -> None:
    labs(quay, "a")
    quay.rest("POST", "/rollouts", order("group:labs", **DIRECT))
    quay.enroll("c", protocol=(1, 2))
    quay.deploy("1.0.0", "c")
    quay.go(3)
    body = {"suite": "drill", "target": "c", "model": "digits", "version": "1.1.0", "reason": "x"}
    drill = quay.rest("POST", "/verifications", body | {"plan": {"trial": TRIAL}})
    quay.go()
    quay.devices["c"].is_deaf = True
    assert on(quay, "1.1.0") == {"a", "c"}, "c is away"
    label(quay, ["c"], "staging")
    quay.be_quiet(70.0)
    assert any(f"it is in the drill {drill['id']}" in text for text in quay.notices())
    quay.devices["c"].is_deaf = False
    quay.go(5)
    assert quay.versions()["c"] == "1.0.0"
    quay.be_quiet(70.0)
    quay.go(5)
    assert on(quay, "1.1.0") == {"a", "c"}
    assert [row["details"]["target"] for row in brought(quay)] == ["c/self"]


def test_who_joins_outside_of_the_window_shares_one_rollout_when_it_opens(quay: Quay) -> None:
    labs(quay, "a")
    now_s = quay.at_sea(lambda world: world.now_s)
    hour = datetime.fromtimestamp(now_s, UTC).hour
    window = {"start": f"{hour:02}:00", "end": f"{hour + 2:02}:00"}
    quay.rest("POST", "/rollouts", order("group:labs", window=window, **DIRECT))
    quay.go(3)
    assert on(quay, "1.1.0") == {"a"}
    quay.jump(3 * HOUR_S)
    for name in ("b", "c"):
        quay.enroll(name, labels={"env": "staging"}, protocol=(1, 2))
        quay.be_quiet(70.0)
    assert (brought(quay), refusals(quay)) == ([], [])
    quay.jump(21 * HOUR_S)
    quay.go(3)
    assert on(quay, "1.1.0") == {"a", "b", "c"}
    assert len(brought(quay)) == 1
    held = window_on(quay, "b")
    assert held is not None
    assert (held.start_minute, held.end_minute) == (hour * 60, (hour + 2) * 60)


def test_two_groups_that_hand_a_device_to_each_other_do_so_once_a_day_and_people_are_told(
    quay: Quay,
) -> None:
    quay.enroll("a", labels={"env": "staging"}, protocol=(1, 2))
    quay.install("1.0.0")
    quay.push("1.1.0")
    for old, new in (("1.0.0", "1.1.0"), ("1.1.0", "1.0.0")):
        quay.cli("group", "create", f"on-{old}", "--target", f"version(digits)={old}", "--dynamic")
        quay.rest("POST", "/rollouts", order(f"group:on-{old}", new, **DIRECT))
        quay.go(3)
        quay.be_quiet(70.0)
    for _ in range(6):
        quay.be_quiet(70.0)
        quay.go(3)
    assert len(brought(quay)) == 1
    [told] = [text for text in quay.notices() if "does not get digits 1.0.0" in text]
    assert "another group's rollout took it off 1.0.0 within a day" in told
    quay.jump(25 * HOUR_S)
    for _ in range(6):
        quay.be_quiet(70.0)
        quay.go(3)
    assert 2 <= len(brought(quay)) <= 3


def refusals(quay: Quay) -> list[str]:
    return [text for text in quay.notices() if "joined group labs" in text]


def others_off_staging(quay: Quay) -> None:
    text = quay.data.settings.read_text() + '\n[environments.staging]\nmonitoring = "block"\n'
    quay.data.settings.write_text(text)
    quay.at_sea(lambda world: world.restart())
