"""Whom a rollout reaches: environments, groups that are fixed or follow, and queues."""

from typing import Any

import pytest
from wherry_controller.core.assurance import PRECONDITIONS
from wherry_controller.store import meta
from wherry_controller.store.schema import MIGRATIONS, slots_of_versions

from tests.controller.world import World
from tests.doors.quay import Quay

ERRORS: dict[str, Any] = {"require": ["errors"]}


def order(target: str, version: str = "1.1.0", **plan: Any) -> dict[str, Any]:
    return {"model": "digits", "version": version, "target": target, "plan": plan}


def on(quay: Quay, version: str) -> set[str]:
    return {name for name, served in quay.versions().items() if served == version}


def harbour(quay: Quay) -> None:
    """Two production and one staging device on 1.0.0; 1.1.0 in the registry."""
    quay.enroll("press1", "press2", labels={"env": "production", "line": "press"}, protocol=(1, 2))
    quay.enroll("lab", labels={"env": "staging"}, protocol=(1, 2))
    quay.push("1.0.0")
    made = quay.rest("POST", "/rollouts", order("all", "1.0.0", trial=TRIAL)
                     | FORCED)  # fmt: skip
    quay.go(3)
    assert quay.rollout(made)["state"] == "succeeded"
    quay.push("1.1.0")


FORCED = {"force": list(PRECONDITIONS), "reason": "tried in the lab"}
TRIAL = {"good_inferences_min": 1, "trial_s_min": 0.0, "trial_s_max": 5.0}


@pytest.mark.parametrize("target", ["production", "env=production", "label:env=production"])
def test_an_environment_is_a_target(quay: Quay, target: str) -> None:
    harbour(quay)
    units = {row["connection"] for row in quay.rest("GET", "/devices", target=target)}
    assert units == {"press1", "press2"}
    assert quay.rest("GET", "/devices", target="seen<1h and not production") != []


def test_production_green_is_blue_green_in_the_slot_that_does_not_serve(quay: Quay) -> None:
    harbour(quay)
    forced = [word for item in PRECONDITIONS for word in ("--force", item)]
    command = ("deploy", "digits:1.1.0", "--target", "production-green", "--no-wait")
    first = quay.cli(*command, *forced, "--reason", "tried in the lab")
    assert (first["strategy"], first["environment"], first["slot"]) == (
        "blue-green", "production", "green",
    )  # fmt: skip
    quay.rest("POST", f"/rollouts/{first['id']}/abort", {"reason": "other gate"})
    quay.go(3)
    plan = {"parameters": {"bake_s": 60}, "gate": ERRORS, "trial": TRIAL, "attempt": 1}
    made = quay.rest("POST", "/rollouts", order("production-green", **plan) | FORCED)
    quay.go(3)
    slots = ("--from", "production-blue", "--to", "production-green")
    quay.cli("rollout", "switch", made["id"], *slots)
    quay.go(3)
    quay.sail(4, 60.0)
    assert quay.rollout(made)["state"] == "succeeded"
    assert on(quay, "1.1.0") == {"press1", "press2"}
    quay.push("1.2.0")
    again = order("production-green", "1.2.0", gate=ERRORS, trial=TRIAL)
    assert "green serves digits in production" in quay.refused("POST", "/rollouts", again)
    blue = order("production", "1.2.0", strategy="blue-green")
    next_one = quay.rest("POST", "/rollouts", blue | FORCED)
    assert next_one["slot"] == "blue"
    canary = order("production-blue", "1.2.0", strategy="canary")
    assert "means blue-green" in quay.refused("POST", "/rollouts", canary)


def switched(quay: Quay, version: str, target: str) -> None:
    """Blue-green, to its end."""
    plan = {"strategy": "blue-green", "parameters": {"bake_s": 60, "switch": "automatic"}}
    body = order(target, version, **plan, gate=ERRORS, trial=TRIAL) | FORCED
    made = quay.rest("POST", "/rollouts", body)
    quay.go(5)
    quay.sail(4, 60.0)
    assert quay.rollout(made)["state"] == "succeeded"


def slot_for(quay: Quay, version: str, target: str) -> str:
    """The slot in which it would be staged there."""
    body = order(target, version, strategy="blue-green", gate=ERRORS, trial=TRIAL)
    made = quay.rest("POST", "/rollouts", body | FORCED | {"start": False})
    quay.rest("POST", f"/rollouts/{made['id']}/abort", {"reason": "only asked"})
    return str(made["slot"])


def test_which_slot_serves_is_a_matter_of_the_devices_and_not_of_their_environment(
    quay: Quay,
) -> None:
    harbour(quay)
    switched(quay, "1.1.0", "press1")
    quay.push("1.2.0")
    assert (slot_for(quay, "1.2.0", "press1"), slot_for(quay, "1.2.0", "press2")) == (
        "blue", "green",
    )  # fmt: skip


def test_after_a_rollback_the_slot_that_served_before_serves_again(quay: Quay) -> None:
    harbour(quay)
    switched(quay, "1.1.0", "production")
    quay.push("1.2.0")
    assert slot_for(quay, "1.2.0", "production") == "blue"
    quay.rest("POST", "/rollback", {"model": "digits", "target": "production", "reason": "worse"})
    quay.go(5)
    assert on(quay, "1.0.0") == {"press1", "press2", "lab"}
    assert slot_for(quay, "1.2.0", "production-green") == "green"


def as_it_was_kept_before(world: World) -> None:
    """The slots as one word per environment and model, in a database of that time."""
    db = world.org.db
    slots = [name for (name,) in db.execute("SELECT name FROM meta WHERE name LIKE 'slot.%'")]
    assert slots
    for name in slots:
        db.execute("DELETE FROM meta WHERE name = ?", (name,))
    meta.put(db, "slot.production.digits", "green")
    db.execute(f"PRAGMA user_version = {MIGRATIONS.index(slots_of_versions)}")
    world.restart()


def test_the_slots_of_an_older_database_are_taken_over(quay: Quay) -> None:
    harbour(quay)
    switched(quay, "1.1.0", "production")
    quay.push("1.2.0")
    quay.at_sea(as_it_was_kept_before)
    assert slot_for(quay, "1.2.0", "production") == "blue"
    again = order("production-green", "1.2.0", gate=ERRORS, trial=TRIAL)
    assert "green serves digits in production" in quay.refused("POST", "/rollouts", again)
    quay.rest("POST", "/rollback", {"model": "digits", "target": "production", "reason": "worse"})
    quay.go(5)
    assert slot_for(quay, "1.2.0", "production-green") == "green"


def test_an_older_database_knows_what_was_aborted_after_its_switch_and_no_more(quay: Quay) -> None:
    harbour(quay)
    plan = {"strategy": "blue-green", "gate": ERRORS, "trial": TRIAL}
    made = quay.rest("POST", "/rollouts", order("press1", **plan) | FORCED)
    quay.go(3)
    slots = ("--from", "production-blue", "--to", "production-green")
    quay.cli("rollout", "switch", made["id"], *slots)
    quay.go(3)
    quay.rest("POST", f"/rollouts/{made['id']}/abort", {"reason": "good enough"})
    quay.push("1.2.0")
    warm = quay.rest("POST", "/rollouts", order("press2", **plan) | FORCED)
    quay.go(3)
    quay.rest("POST", f"/rollouts/{warm['id']}/abort", {"reason": "not today"})
    quay.go(3)
    assert on(quay, "1.1.0") == {"press1"}
    quay.at_sea(as_it_was_kept_before)
    assert (slot_for(quay, "1.2.0", "press1"), slot_for(quay, "1.2.0", "press2")) == (
        "blue", "green",
    )  # fmt: skip
    kept = quay.at_sea(
        lambda world: world.org.db.execute(
            "SELECT name, value FROM meta WHERE name LIKE 'slot.%' ORDER BY name"
        ).fetchall()
    )
    digest = quay.rest("GET", "/bundles/digits/1.1.0")["digest"]
    assert kept == [(f"slot.{env}.digits.{digest}", "green") for env in ("", "production")]


def test_a_static_group_keeps_its_units_and_is_a_target(quay: Quay) -> None:
    harbour(quay)
    made = quay.cli("group", "create", "first", "--target", "press1, lab")
    assert made["units"] == ["lab/self", "press1/self"]
    assert "exists" in quay.refused("POST", "/groups", {"name": "first", "target": "all"})
    quay.rest("POST", "/rollouts", order("group:first and env=staging", trial=TRIAL))
    quay.go(3)
    assert on(quay, "1.1.0") == {"lab"}
    assert [row["name"] for row in quay.cli("group", "list")] == ["first"]
    quay.cli("group", "delete", "first", "--reason", "done")
    assert "no group 'first'" in quay.refused("POST", "/rollouts", order("group:first"))


def test_a_device_that_joins_a_dynamic_group_gets_what_the_group_runs(quay: Quay) -> None:
    harbour(quay)
    quay.cli("group", "create", "labs", "--target", "env=staging", "--dynamic")
    made = quay.rest("POST", "/rollouts", order("group:labs", trial=TRIAL))
    quay.go(3)
    assert quay.rollout(made)["state"] == "succeeded"
    quay.enroll("lab2", labels={"env": "staging"})
    quay.enroll("office")
    quay.be_quiet(70.0)
    quay.go(3)
    assert on(quay, "1.1.0") == {"lab", "lab2"}
    shown = quay.cli("group", "show", "labs")
    assert (shown["units"], list(shown["runs"])) == (["lab/self", "lab2/self"], ["digits"])
    rows = quay.audited()
    [joined] = [row for row in rows if row["action"] == "group.join"]
    assert (joined["subject"], joined["details"]["unit"]) == ("labs", "lab2/self")
    [brought] = [r for r in rows if r["reason"] == "lab2/self joined group labs"
                 and r["action"] == "rollout.create"]  # fmt: skip
    assert brought["details"]["target"] == "lab2/self"


def test_two_rollouts_for_the_same_device_are_refused_or_queued(quay: Quay) -> None:
    quay.enroll("a", "b")
    quay.install("1.0.0")
    quay.push("1.1.0")
    quay.push("1.2.0")
    slow = quay.rest("POST", "/rollouts", order("a", strategy="rolling", trial=TRIAL))
    quay.go(3)
    assert "after" in quay.refused("POST", "/rollouts", order("all", "1.2.0", trial=TRIAL))
    quay.rest("POST", "/rollouts", order("b", "1.2.0", trial=TRIAL))
    command = ("deploy", "digits:1.2.0", "--target", "a", "--after", slow["id"], "--no-wait")
    queued = quay.cli(*command)
    quay.go(5)
    assert (quay.rollout(queued)["state"], on(quay, "1.2.0")) == ("approved", {"b"})
    assert slow["id"] in quay.rollout(queued)["waiting_for"][0]
    quay.rest("POST", f"/rollouts/{slow['id']}/advance", {"reason": "go on"})
    quay.go(3)
    if quay.rollout(slow)["state"] == "running":
        quay.rest("POST", f"/rollouts/{slow['id']}/advance", {"reason": "go on"})
        quay.go(3)
    assert quay.rollout(slow)["state"] == "succeeded"
    quay.go(5)
    assert quay.rollout(queued)["state"] in ("running", "succeeded")
    assert on(quay, "1.2.0") == {"a", "b"}


def test_what_follows_a_rollout_that_does_not_succeed_waits_for_somebody(quay: Quay) -> None:
    quay.enroll("a")
    quay.install("1.0.0")
    quay.push("1.1.0")
    quay.push("1.2.0")
    slow = quay.rest("POST", "/rollouts", order("a", strategy="rolling", trial=TRIAL))
    queued = quay.rest("POST", "/rollouts", order("a", "1.2.0", trial=TRIAL, after=slow["id"]))
    quay.rest("POST", f"/rollouts/{slow['id']}/abort", {"reason": "no"})
    quay.go(5)
    assert quay.rollout(queued)["state"] == "approved"
    [notice] = [text for text in quay.notices() if "was to follow" in text]
    assert "aborted" in notice
    quay.rest("POST", f"/rollouts/{queued['id']}/approve", {"reason": "still wanted"})
    quay.go(3)
    assert on(quay, "1.2.0") == {"a"}


def queue_of_two(quay: Quay, **plan: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """1.1.0 on its way to `a`, and 1.2.0 behind it."""
    quay.enroll("a")
    quay.install("1.0.0")
    quay.push("1.1.0")
    quay.push("1.2.0")
    slow = quay.rest("POST", "/rollouts", order("a", strategy="rolling", trial=TRIAL))
    plan = {"trial": TRIAL, "after": slow["id"]} | plan
    return slow, quay.rest("POST", "/rollouts", order("a", "1.2.0", **plan))


def finish(quay: Quay, made: dict[str, Any]) -> None:
    """Its gate is not waited for."""
    quay.go(3)
    while quay.rollout(made)["state"] == "running":
        quay.rest("POST", f"/rollouts/{made['id']}/advance", {"reason": "go on"})
        quay.go(5)


def test_a_queued_rollout_is_not_approved_past_the_one_that_it_follows(quay: Quay) -> None:
    slow, queued = queue_of_two(quay)
    path = f"/rollouts/{queued['id']}/approve"
    assert f"follows {slow['id']}, which is running" in quay.refused("POST", path, {"reason": "x"})
    assert quay.rollout(queued)["waiting_for"] == [f"{slow['id']} to succeed"]
    finish(quay, slow)
    assert quay.rollout(queued)["state"] == "succeeded"


def test_who_waits_behind_the_rollout_that_brings_what_it_must_have_run_is_not_passed_over(
    quay: Quay,
) -> None:
    slow, queued = queue_of_two(quay, must_pass=["1.1.0"])
    finish(quay, slow)
    assert quay.rollout(queued)["state"] == "succeeded"
    assert on(quay, "1.2.0") == {"a"}
