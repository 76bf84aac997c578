"""Blue-green, shadow and A/B as an operator drives them: candidates that stand, serve, and go."""

import itertools
from typing import Any

import pytest
from wherry_protocol.manifest import Evaluation
from wherry_protocol.messages.desired import Mode
from wherry_protocol.messages.reported import Outcome

from tests.doors.quay import Quay

ERRORS: dict[str, Any] = {"require": ["errors"]}
SHADOW: dict[str, Any] = {"strategy": "shadow", "gate": {"require": []}}
PROTOCOL = (1, 2)


def fleet(quay: Quay, count: int = 3, **options: Any) -> list[str]:
    names = [f"gw{n}" for n in range(count)]
    quay.enroll(*names, protocol=PROTOCOL, **options)
    quay.install("1.0.0")
    quay.push("1.1.0")
    return names


def staged(quay: Quay, **parameters: Any) -> dict[str, Any]:
    """A blue-green rollout whose candidates stand everywhere."""
    made = quay.deploy("1.1.0", strategy="blue-green", parameters=parameters, gate=ERRORS)
    quay.go(3)
    return made


def candidates(quay: Quay) -> set[str]:
    return {name for name, device in quay.devices.items() if device.candidate}


def switch(quay: Quay, made: dict[str, Any], from_slot: str, to_slot: str) -> Any:
    path, body = f"/rollouts/{made['id']}/switch", {"from_slot": from_slot, "to_slot": to_slot}
    return quay.rest("POST", path, body | {"reason": "tested"})


def test_blue_green_stages_everywhere_and_blue_serves_until_one_switch(quay: Quay) -> None:
    names = fleet(quay)
    made = staged(quay)
    shown = quay.rollout(made)
    assert candidates(quay) == set(names)
    assert set(quay.versions().values()) == {"1.0.0"}
    assert (shown["members"]["ready"], shown["slot"]) == (3, "green")
    assert "somebody to switch to green" in shown["waiting_for"][0]
    quay.be_quiet(3600.0)
    assert set(quay.versions().values()) == {"1.0.0"}
    fetched = {name: list(device.fetched) for name, device in quay.devices.items()}
    quay.cli("rollout", "switch", made["id"], "--from", "blue", "--to", "green")
    quay.go(3)
    assert set(quay.versions().values()) == {"1.1.0"}
    assert {name: device.fetched for name, device in quay.devices.items()} == fetched
    assert candidates(quay) == set()


def test_a_switch_from_a_slot_that_does_not_serve_is_refused_and_changes_nothing(
    quay: Quay,
) -> None:
    fleet(quay)
    made = staged(quay)
    path = f"/rollouts/{made['id']}/switch"
    stale = {"from_slot": "green", "to_slot": "blue", "reason": "late"}
    assert "blue serves, and not green" in quay.refused("POST", path, stale)
    switch(quay, made, "blue", "green")
    quay.go(3)
    again = {"from_slot": "blue", "to_slot": "green"}
    assert "green serves, and not blue" in quay.refused("POST", path, again)
    other = {"from_slot": "staging-green", "to_slot": "staging-blue", "reason": "x"}
    assert "not for staging" in quay.refused("POST", path, other)
    assert set(quay.versions().values()) == {"1.1.0"}


def test_a_switch_waits_until_the_candidate_stands_everywhere(quay: Quay) -> None:
    fleet(quay)
    made = quay.deploy("1.1.0", strategy="blue_green", gate=ERRORS)
    path, body = f"/rollouts/{made['id']}/switch", {"from_slot": "blue", "to_slot": "green"}
    assert "green is not staged yet" in quay.refused("POST", path, body)


def test_after_a_switch_it_bakes_for_900_s_across_restarts_and_then_succeeds(quay: Quay) -> None:
    fleet(quay)
    made = staged(quay)
    switch(quay, made, "blue", "green")
    quay.go(3)
    quay.sail(7, 60.0)
    quay.at_sea(lambda world: world.restart())
    path = f"/rollouts/{made['id']}/decommission"
    assert "bakes" in quay.refused("POST", path, {})
    quay.sail(6, 60.0)
    assert quay.rollout(made)["state"] == "running"
    quay.sail(3, 60.0)
    ended = quay.rollout(made)
    assert (ended["state"], ended["members"]["confirmed"]) == ("succeeded", 3)


def test_trouble_in_the_bake_switches_back_by_itself_and_fetches_nothing(quay: Quay) -> None:
    fleet(quay)
    made = staged(quay)
    switch(quay, made, "blue", "green")
    quay.go(3)
    fetched = {name: len(device.fetched) for name, device in quay.devices.items()}
    quay.sail(4, 60.0, errors=900)
    assert quay.rollout(made)["state"] == "reverted"
    assert set(quay.versions().values()) == {"1.0.0"}
    assert {name: len(device.fetched) for name, device in quay.devices.items()} == fetched


def test_switching_back_is_one_pointer_and_needs_a_reason(quay: Quay) -> None:
    fleet(quay)
    made = staged(quay)
    switch(quay, made, "blue", "green")
    quay.go(3)
    fetched = {name: len(device.fetched) for name, device in quay.devices.items()}
    bare = {"from_slot": "green", "to_slot": "blue"}
    assert "reason" in quay.refused("POST", f"/rollouts/{made['id']}/switch", bare)
    switch(quay, made, "green", "blue")
    quay.go(5)
    assert quay.rollout(made)["state"] == "reverted"
    assert set(quay.versions().values()) == {"1.0.0"}
    assert {name: len(device.fetched) for name, device in quay.devices.items()} == fetched


@pytest.mark.parametrize("purge", [False, True])
def test_decommissioning_unloads_what_served_before_and_keeps_its_bytes_unless_purged(
    quay: Quay, purge: bool
) -> None:
    names = fleet(quay)
    made = staged(quay, bake_s=60)
    switch(quay, made, "blue", "green")
    quay.go(3)
    quay.sail(4, 60.0)
    assert quay.rollout(made)["state"] == "succeeded"
    assert all(device.previous for device in quay.devices.values())
    quay.cli("rollout", "decommission", made["id"], *(["--purge"] if purge else []))
    quay.go(2)
    for name in names:
        device = quay.devices[name]
        assert not device.previous
        assert device.desired is not None
        [release] = device.desired.releases
        assert release.is_purged is purge
    assert "already" in quay.refused("POST", f"/rollouts/{made['id']}/decommission", {})
    back = ("rollback", "digits", "--target", "all", "--to-version", "1.0.0", "--reason", "worse")
    quay.cli(*back)
    quay.go(3)
    assert set(quay.versions().values()) == {"1.0.0"}
    assert all(d.desired is not None and not d.desired.releases for d in quay.devices.values())


def test_a_plan_can_switch_and_decommission_by_itself(quay: Quay) -> None:
    fleet(quay)
    made = staged(quay, bake_s=60, switch="automatic", decommission="automatic")
    quay.go(3)
    assert set(quay.versions().values()) == {"1.1.0"}
    quay.sail(4, 60.0)
    quay.go(2)
    assert quay.rollout(made)["state"] == "succeeded"
    assert not any(device.previous for device in quay.devices.values())


def test_an_aborted_blue_green_leaves_no_candidate_behind(quay: Quay) -> None:
    fleet(quay)
    made = staged(quay)
    assert len(candidates(quay)) == 3
    quay.rest("POST", f"/rollouts/{made['id']}/abort", {"reason": "not now"})
    quay.go(3)
    assert candidates(quay) == set()
    assert set(quay.versions().values()) == {"1.0.0"}


def test_one_device_whose_candidate_does_not_stand_takes_the_others_away(quay: Quay) -> None:
    fleet(quay)
    quay.devices["gw1"].verdict = Outcome.REJECTED
    made = staged(quay)
    quay.go(5)
    ended = quay.rollout(made)
    assert (ended["state"], list(ended["failed"])) == ("reverted", ["gw1/self"])
    assert candidates(quay) == set()
    assert set(quay.versions().values()) == {"1.0.0"}


def test_a_shadow_runs_on_a_part_of_the_inputs_never_serves_and_goes(quay: Quay) -> None:
    names = fleet(quay)
    made = quay.deploy("1.1.0", **SHADOW, parameters={"sampling": 0.25, "hours": 0.1})
    quay.go(3)
    for name in names:
        desired = quay.devices[name].desired
        assert desired is not None
        [assignment] = desired.assignments
        assert (assignment.mode, assignment.shadow_sample_bp) == (Mode.SHADOW, 2_500)
    assert candidates(quay) == set(names)
    quay.sail(8, 60.0)
    quay.go(3)
    ended = quay.rollout(made)
    assert (ended["state"], ended["reason"]) == (
        "succeeded", "3 of 3 devices ran it and never served it",
    )  # fmt: skip
    assert candidates(quay) == set()
    assert set(quay.versions().values()) == {"1.0.0"}


def test_a_device_whose_agent_knows_no_shadow_is_passed_over_by_name(quay: Quay) -> None:
    fleet(quay, 2)
    quay.enroll("old")
    quay.deploy("1.0.0", "old")
    quay.go(3)
    made = quay.deploy("1.1.0", **SHADOW)
    quay.go(3)
    [row] = [row for row in quay.rollout(made)["units"] if row["phase"] == "skipped"]
    assert row["unit"] == "old/self"
    assert "speaks protocol 1" in row["reason"]


def test_a_device_whose_agent_cannot_read_a_manifest_is_passed_over_by_name(quay: Quay) -> None:
    names = fleet(quay, 2)
    old = quay.enroll("old")
    quay.deploy("1.0.0", "old")
    quay.go(3)
    record = Evaluation(dataset="test", sample_count=4, confusion=(2, 0, 1, 1))
    quay.push("1.2.0", evaluations=(record,))
    made = quay.deploy("1.2.0")
    quay.go(3)
    [row] = [row for row in quay.rollout(made)["units"] if row["phase"] == "skipped"]
    assert row["unit"] == "old/self"
    assert "speaks protocol 1, this needs 2" in row["reason"]
    assert quay.versions() == {**dict.fromkeys(names, "1.2.0"), "old": "1.0.0"}
    old.protocol = (1, 2)  # its agent was updated
    quay.hear(old.reported())
    quay.deploy("1.2.0", "old")
    quay.go(3)
    assert quay.versions()["old"] == "1.2.0"
    old.protocol = (1, 1)  # and put back: what it cannot read is not in its document
    quay.hear(old.reported())
    quay.rest("PATCH", "/devices/old/self", {"performance_s": 1800})
    quay.go(3)
    assert old.desired is not None
    assert old.desired.assignments == ()


def test_an_experiment_treats_a_part_widens_by_hand_and_keeps_its_members(quay: Quay) -> None:
    names = fleet(quay, 8)
    for name in names:
        quay.rest("PATCH", f"/devices/{name}/self", {"performance_s": 14_400})
    made = quay.deploy("1.1.0", strategy="ab", parameters={"split": "12.5%"}, gate=ERRORS)
    treated: list[set[str]] = []
    for expected in (1, 2, 4, 8):
        quay.go(3)
        treated.append({n for n, version in quay.versions().items() if version == "1.1.0"})
        assert len(treated[-1]) == expected
        quay.sail(7, 14_400.0)
        if expected < 8:
            assert "somebody to open its stage" in quay.rollout(made)["waiting_for"][0]
            body = {"reason": "success is not worse"}
            quay.rest("POST", f"/rollouts/{made['id']}/advance", body)
    assert all(few <= more for few, more in itertools.pairwise(treated))
    assert quay.rollout(made)["state"] == "succeeded"


@pytest.mark.parametrize("strategy", ["blue-green", "shadow"])
def test_a_part_of_the_fleet_is_named_in_the_target_where_candidates_stand(
    quay: Quay, strategy: str
) -> None:
    fleet(quay, 4)
    order = {"model": "digits", "version": "1.1.0", "target": "all"}
    plan = {"strategy": strategy, "subset": "50%"}
    assert "25% of all" in quay.refused("POST", "/rollouts", order | {"plan": plan})
    made = quay.deploy("1.1.0", "50% of all", strategy=strategy, gate={"require": []})
    quay.go(3)
    assert (len(candidates(quay)), sum(quay.rollout(made)["members"].values())) == (2, 2)


def test_an_experiment_begins_with_5_percent_and_the_rest_is_its_control_group(quay: Quay) -> None:
    fleet(quay, 20)
    command = ("rollout", "plan", "digits:1.1.0", "--target", "all", "--strategy", "ab")
    first, *others = quay.cli(*command)["steps"]
    assert (first["share"], first["opened"], first["is_manual"]) == (0.05, 1, False)
    assert [(step["opened"], step["is_manual"]) for step in others] == [
        (5, True), (10, True), (20, True),
    ]  # fmt: skip
    made = quay.deploy("1.1.0", strategy="ab", gate=ERRORS)
    quay.go(3)
    assert sorted(quay.versions().values()).count("1.1.0") == 1
    assert quay.rollout(made)["members"]["pending"] == 19
