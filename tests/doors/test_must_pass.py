"""What a device must have run before: it is passed over, or brought that first."""

from pathlib import Path
from typing import Any

import pytest
from wherry_controller.core.assurance import PRECONDITIONS
from wherry_controller.store.performance import known_to_have_run
from wherry_protocol.errors import Code
from wherry_protocol.messages.reported import Outcome

from tests.doors.quay import DIRECT, Quay, make_quay

BRING: dict[str, Any] = {"must_pass": ["1.1.0"], "must_pass_missing": "bring"}


def two(quay: Quay) -> None:
    """`old` ran 1.0.0 only, `new` 1.1.0 too; 1.2.0 is in the registry."""
    quay.enroll("old", "new")
    quay.install("1.0.0")
    quay.push("1.1.0")
    quay.deploy("1.1.0", "new")
    quay.go(3)
    quay.push("1.2.0")


def fetched(quay: Quay, name: str) -> list[str]:
    versions = {row["digest"]: row["version"] for row in quay.rest("GET", "/bundles")}
    return [versions[digest.hex()] for digest in quay.devices[name].fetched]


def unit_of(quay: Quay, made: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [row for row in quay.rollout(made)["units"] if row["unit"] == f"{name}/self"]
    return dict(found)


def test_a_device_is_brought_what_it_must_have_run_and_then_the_version(quay: Quay) -> None:
    two(quay)
    made = quay.deploy("1.2.0", **BRING)
    quay.at_sea(lambda world: world.restart())
    quay.go(2)
    quay.at_sea(lambda world: world.restart())
    quay.go(4)
    assert quay.rollout(made)["state"] == "succeeded"
    assert quay.rollout(made)["members"]["confirmed"] == 2
    assert fetched(quay, "old") == ["1.0.0", "1.1.0", "1.2.0"]
    assert fetched(quay, "new") == ["1.0.0", "1.1.0", "1.2.0"]


def test_who_was_brought_a_version_first_goes_back_to_what_it_ran_before_the_rollout(
    quay: Quay,
) -> None:
    two(quay)
    made = quay.deploy("1.2.0", **BRING)
    quay.go(6)
    assert quay.versions() == {"old": "1.2.0", "new": "1.2.0"}
    quay.rest("POST", f"/rollouts/{made['id']}/revert", {"reason": "worse"})
    quay.go(5)
    assert quay.versions() == {"old": "1.0.0", "new": "1.1.0"}


def test_retention_keeps_what_a_device_ran_before_it_was_brought_another_version_first(
    quay: Quay,
) -> None:
    two(quay)
    made = quay.deploy("1.2.0", **BRING)
    quay.go(6)
    assert quay.rollout(made)["state"] == "succeeded"
    set_retention = ("registry", "retention", "set", "--versions-max", "1", "--no-schedule")
    quay.cli(*set_retention, "--reason", "disk is small")
    done = quay.cli("registry", "retention", "run", "--reason", "disk is small")
    fates = {row["version"]: row["reasons"] for row in done if row["is_kept"]}
    assert list(fates) == ["1.2.0", "1.1.0", "1.0.0"], done
    assert fates["1.0.0"] == [f"is where a revert of {made['id']} takes old/self"]
    quay.rest("POST", f"/rollouts/{made['id']}/revert", {"reason": "worse"})
    quay.go(5)
    assert quay.versions() == {"old": "1.0.0", "new": "1.1.0"}
    assert quay.rollout(made)["not_back"] == {}


def test_who_fails_on_the_version_in_between_is_not_given_the_next_one(quay: Quay) -> None:
    two(quay)
    device = quay.devices["old"]
    device.verdict, device.verdict_code = Outcome.REVERTED, Code.ERROR_RATE
    made = quay.deploy("1.2.0", max_failed=1, **BRING)
    quay.go(6)
    assert unit_of(quay, made, "old")["phase"] == "reverted"
    assert fetched(quay, "old") == ["1.0.0", "1.1.0"]
    assert quay.versions() == {"old": "1.0.0", "new": "1.2.0"}


def test_who_may_not_be_given_the_version_is_not_brought_another_first(quay: Quay) -> None:
    two(quay)
    device = quay.devices["old"]
    device.verdict, device.verdict_code = Outcome.REJECTED, Code.STORAGE
    quay.deploy("1.2.0", "old")
    quay.go(3)
    device.verdict, device.verdict_code = Outcome.CONFIRMED, Code.OK
    made = quay.deploy("1.2.0", **BRING)
    quay.go(6)
    assert "failed here before" in unit_of(quay, made, "old")["reason"]
    assert quay.versions() == {"old": "1.0.0", "new": "1.2.0"}
    assert fetched(quay, "old") == ["1.0.0", "1.2.0"]


def test_an_abort_takes_back_who_is_on_the_version_in_between(quay: Quay) -> None:
    two(quay)
    made = quay.deploy("1.2.0", parallel_max=1, **BRING)
    quay.at_sea(lambda world: world.publish())
    device = quay.devices["old"]
    quay.at_sea(lambda world: device.follow(world.retained))
    device.is_deaf = True
    quay.go(3)
    quay.rest("POST", f"/rollouts/{made['id']}/abort", {"reason": "not today"})
    device.is_deaf = False
    quay.go(3)
    assert quay.versions()["old"] == "1.0.0"
    assert quay.rollout(made)["not_back"] == {}


def test_a_version_in_between_that_is_not_there_passes_its_devices_over(quay: Quay) -> None:
    two(quay)
    made = quay.deploy("1.2.0", must_pass=["1.0.5"], must_pass_missing="bring")
    quay.go(3)
    reason = unit_of(quay, made, "old")["reason"]
    assert "it must have run 1.0.5 before, which cannot be brought" in reason


def test_an_environment_demands_of_a_version_in_between_what_it_demands_of_any(
    tmp_path: Path,
) -> None:
    toml = "\n[environments.production]\n" + "".join(
        f'{item} = "{"block" if item in ("promotion", "staging") else "off"}"\n'
        for item in PRECONDITIONS
    )
    quay = make_quay(tmp_path / "acme", edit=lambda text: text + toml)
    try:
        quay.enroll("old", labels={"env": "production"})
        for version in ("1.1.0", "1.2.0"):
            quay.push(version)
        body = {"model": "digits", "version": "1.2.0", "target": "all", "plan": DIRECT | BRING}
        told = quay.refused("POST", "/rollouts", body)
        for version in ("1.1.0, which is brought first: ", ""):
            assert f"promotion: {version}digits:" in told
            assert f"staging: {version}suite integration has no report" in told
        quay.rest("POST", "/rollouts", body | {"force": ["promotion", "staging"], "reason": "try"})
        quay.go(5)
        assert quay.versions() == {"old": "1.2.0"}
    finally:
        quay.close()


def test_a_plan_says_who_is_brought_what_first_and_who_is_passed_over(quay: Quay) -> None:
    two(quay)
    file = quay.data.root / "steps.toml"
    text = 'must_pass = ["1.1.0"]\n'
    file.write_text(text)
    command = ("rollout", "plan", "digits:1.2.0", "--target", "all", "--file", file)
    skips = {"old/self": "it must have run 1.1.0 before; bring it that first"}
    found = quay.cli(*command)["must_pass"]
    assert found == {"looked_at": 2, "brings": {}, "skips": skips}
    assert "1 device is passed over: old/self: it must have run 1.1.0" in quay.wherry(*command).out
    file.write_text(text + 'must_pass_missing = "bring"\n')
    brings = quay.cli(*command)["must_pass"]
    assert brings == {"looked_at": 2, "brings": {"old/self": ["1.1.0"]}, "skips": {}}
    assert "1 device gets 1.1.0 first: old/self" in quay.wherry(*command).out


def test_a_plan_counts_the_time_and_the_bytes_of_what_is_brought_first(quay: Quay) -> None:
    two(quay)
    sizes = {row["version"]: row["size_bytes"] for row in quay.rest("GET", "/bundles")}
    file = quay.data.root / "steps.toml"
    command = ("rollout", "plan", "digits:1.2.0", "--target", "all", "--file", file)
    file.write_text("")
    without = quay.cli(*command)
    assert without["first"] == {"units": 0, "expected_s": 0.0}
    assert without["load"]["first"] == {"publish_bytes": 0, "fetch_bytes": 0}
    file.write_text('must_pass = ["1.1.0"]\nmust_pass_missing = "bring"\n')
    shown = quay.cli(*command)
    trial_s = without["expected_s"]
    assert (shown["expected_s"], shown["first"]) == (
        2 * trial_s, {"units": 1, "expected_s": trial_s},
    )  # fmt: skip
    load = shown["load"]
    blobs = load["fetch_bytes_per_unit_max"] - without["load"]["fetch_bytes_per_unit_max"]
    assert 0 < blobs <= sizes["1.1.0"], "the device that lacks it fetches 1.1.0, then 1.2.0"
    assert load["first"] == {"publish_bytes": 0, "fetch_bytes": blobs}, "1.1.0 is on the broker"
    assert load["fetch_bytes"] == without["load"]["fetch_bytes"] + blobs
    said = f"for what is brought first to 1 device: {trial_s:.0f} s; 0 bytes to the broker, {blobs}"
    assert said in quay.wherry(*command).out
    file.write_text('must_pass = ["1.1.0"]\n')
    assert quay.cli(*command)["load"]["fetch_bytes"] < without["load"]["fetch_bytes"], "one is out"


def test_a_plan_brings_nothing_first_to_who_runs_the_version_already(quay: Quay) -> None:
    two(quay)
    quay.deploy("1.2.0", "old")
    quay.go(3)
    file = quay.data.root / "steps.toml"
    file.write_text('must_pass = ["1.1.0"]\nmust_pass_missing = "bring"\n')
    found = quay.cli("rollout", "plan", "digits:1.2.0", "--target", "all", "--file", file)
    assert (found["must_pass"]["brings"], found["first"]["units"]) == ({}, 0)


def test_a_plan_and_its_checks_are_answered_while_the_writer_is_busy(quay: Quay) -> None:
    two(quay)
    body = {"model": "digits", "version": "1.2.0", "target": "all", "plan": DIRECT | BRING}
    made = quay.rest("POST", "/rollouts", body | {"start": False})
    following = body | {"plan": body["plan"] | {"after": made["id"]}}
    with quay.busy_writer():
        shown = quay.rest("POST", "/rollouts/preview", following)
        assert shown["must_pass"]["brings"] == {"old/self": ["1.1.0"]}
        assert quay.rest("GET", f"/rollouts/{made['id']}/checks")["rollout"] == made["id"]
        told = quay.refused("POST", "/rollouts/preview", body)
    assert f"belong to the open rollout {made['id']}" in told
    assert quay.rest("POST", "/rollouts/preview", following) == shown
    quay.rest("POST", f"/rollouts/{made['id']}/abort", {"reason": "not today"})
    assert quay.call("POST", "/rollouts/preview", json=body).status_code == 200, "it looks anew"


def test_who_is_looked_at_together_is_found_as_one_by_one(quay: Quay) -> None:
    two(quay)
    quay.enroll("bare")
    units = ["old/self", "new/self", "bare/self", "gone/self"]
    versions = ["1.0.0", "1.1.0", "1.2.0"]
    found = known_to_have_run(quay.desk.reader, units, "digits", versions)
    single = [known_to_have_run(quay.desk.reader, [unit], "digits", versions) for unit in units]
    assert found == set().union(*single)
    assert found == {("old/self", "1.0.0"), ("new/self", "1.0.0"), ("new/self", "1.1.0")}


def test_who_reported_figures_of_a_version_is_known_to_have_run_it(quay: Quay) -> None:
    two(quay)
    quay.report(["old"])
    for version in ("1.2.0", "1.3.0"):
        quay.install(version, "old") if version == "1.3.0" else quay.deploy(version, "old")
        quay.go(3)
    found = known_to_have_run(quay.desk.reader, ["old/self"], "digits", ["1.0.0", "1.1.0"])
    assert found == {("old/self", "1.0.0")}, "it is in no slot any more"


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"must_pass_missing": "leave"}, "must_pass_missing"),
        ({"must_pass_missing": "bring", "strategy": "shadow"}, "shadow brings nothing first"),
        ({"must_pass": ["1.1.0", "1.2.0"]}, "1.2.0 cannot be what must have run before it"),
    ],
)
def test_what_cannot_be_brought_first_is_refused(
    quay: Quay, plan: dict[str, Any], words: str
) -> None:
    two(quay)
    body = {"model": "digits", "version": "1.2.0", "target": "all"}
    asked = body | {"plan": {"trial": DIRECT["trial"], "must_pass": ["1.1.0"]} | plan}
    assert words in quay.refused("POST", "/rollouts", asked)
