"""What an environment may demand of a version before it comes: shadows, messages, figures."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from wherry_protocol.manifest import Provenance
from wherry_protocol.replacing import replace

from tests.controller.made import BUDGET
from tests.doors.post import Wired, open_post_office, webhook, wire
from tests.doors.quay import Quay
from tests.doors.test_assurance import STAGES, drafted, label, order, others_off
from tests.doors.test_evidence import shadowed, tell
from tests.doors.test_reporting import inspector_of

DEVICES = ["gw0", "gw1", "gw2"]
CANARY = ("rollout", "create", "digits:1.1.0", "--target", "all", "--strategy", "canary")


def end_shadow(quay: Quay, agreed: int) -> None:
    for name in DEVICES:
        tell(quay, name, agreed)
    quay.jump(80)
    quay.go(5)


def test_a_canary_waits_until_a_shadow_of_the_same_pair_of_digests_has_passed(quay: Quay) -> None:
    made = shadowed(quay)
    end_shadow(quay, 499)
    assert quay.rollout(made)["state"] == "succeeded"
    label(quay, DEVICES, "production")
    others_off(quay, "shadow_passed")
    quay.push("1.2.0")
    assert "no shadow of 1.2.0" in quay.refused("POST", "/rollouts", order(version="1.2.0"))
    canary = quay.cli(*CANARY)
    assert canary["state"] == "running"
    [check] = quay.rest("GET", f"/rollouts/{canary['id']}/checks")["checks"]
    assert check["evidence"] == {"missing": [], "rollouts": [made["id"]]}
    assert check["text"] == f"shadow passed: {made['id']} (1497 of 1500 agreed)"


def test_a_shadow_beside_another_version_says_nothing_of_what_serves_now(quay: Quay) -> None:
    shadowed(quay)
    end_shadow(quay, 499)
    quay.install("1.0.1", "gw1")
    label(quay, DEVICES, "production")
    others_off(quay, "shadow_passed")
    sentence = quay.refused("POST", "/rollouts", order())
    assert "no shadow of 1.1.0 beside 1.0.1 passed" in sentence
    assert quay.rest("POST", "/rollouts", order(target="gw0"))["state"] == "running"


def test_a_shadow_that_failed_keeps_the_canary_from_starting_and_says_why(quay: Quay) -> None:
    made = shadowed(quay)
    end_shadow(quay, 400)
    quay.rest("POST", f"/rollouts/{made['id']}/abort", {"reason": "it disagrees"})
    quay.go(3)
    label(quay, DEVICES, "production")
    others_off(quay, "shadow_passed")
    sentence = quay.refused("POST", "/rollouts", order())
    assert f"{made['id']} failed: 1200 of 1500 agreed" in sentence
    assert quay.rest("POST", "/rollouts", order(plan={"strategy": "shadow"}))["state"] == "running"


def powered(quay: Quay, power_mw: float | None) -> None:
    """Three devices on 1.0.0 in production, one on 1.1.0 elsewhere that tells no power yet."""
    quay.enroll(*DEVICES, "lab")
    quay.install("1.0.0")
    budget = replace(BUDGET, power_mw=power_mw)
    quay.push("1.1.0", budget=budget)
    quay.deploy("1.1.0", "lab")
    quay.go(3)
    label(quay, DEVICES, "production")
    others_off(quay, "power_budget")


def test_production_wants_a_power_figure_per_class_within_its_budget_by_a_named_method(
    quay: Quay,
) -> None:
    powered(quay, 500.0)
    body = order(target="env=production")
    sentence = quay.refused("POST", "/rollouts", body)
    assert "nobody measured or modelled its power on linux-x86_64" in sentence
    quay.report(["lab"], energy_j=0.0001, energy_source="modelled:calibrated", power_w=0.42)
    made = quay.rest("POST", "/rollouts", body)
    [check] = quay.rest("GET", f"/rollouts/{made['id']}/checks")["checks"]
    assert check["text"] == "420 of 500 mW on linux-x86_64 (modelled:calibrated)"
    quay.rest("POST", f"/rollouts/{made['id']}/abort", {"reason": "look again"})
    quay.go(3)
    quay.report(["lab"], energy_j=0.0001, power_w=0.5)
    assert "500 of 500 mW on linux-x86_64 (measured" in quay.refused("POST", "/rollouts", body)


def test_without_a_budget_in_milliwatts_no_power_is_good_enough(quay: Quay) -> None:
    powered(quay, None)
    quay.report(["lab"], energy_j=0.0001, power_w=0.001)
    sentence = quay.refused("POST", "/rollouts", order(target="env=production"))
    assert "no power_mw in the budget of linux-x86_64" in sentence


def test_production_wants_a_bundle_that_pins_tests_which_all_passed(quay: Quay) -> None:
    fleet(quay)
    others_off(quay, "host_tests")
    assert "pins no report of its tests" in quay.refused("POST", "/rollouts", order())
    for version, failed in (("1.2.0", 1), ("1.3.0", 0)):
        told = Provenance(tests_digest=bytes(32), tests_passed=12, tests_failed=failed)
        quay.push(version, provenance=told)
    sentence = quay.refused("POST", "/rollouts", order(version="1.2.0"))
    assert "1 of 13 tests failed or were skipped" in sentence
    assert quay.rest("POST", "/rollouts", order(version="1.3.0"))["state"] == "running"


@pytest.fixture
def wired(tmp_path: Path) -> Iterator[Wired]:
    office = open_post_office()
    made = wire(tmp_path / "acme", office, lambda url: webhook("team", url, events=["rollout"]))
    yield made
    made.close()
    office.close()


def stand(quay: Quay, rollout_id: str) -> dict[str, bool | None]:
    lines = quay.cli("rollout", "checklist", rollout_id)
    return {line["item"]: line["is_done"] for line in lines}


def fleet(quay: Quay) -> None:
    quay.enroll(*DEVICES)
    quay.install("1.0.0")
    quay.push("1.1.0")
    label(quay, DEVICES, "production")


def test_a_rollout_waits_until_its_announcement_has_arrived_where_that_is_demanded(
    wired: Wired,
) -> None:
    quay = wired.quay
    fleet(quay)
    others_off(quay, "announced")
    assert "was sent to nobody" in quay.refused("POST", "/rollouts", order())
    wired.office.status = 503
    rollout_id = drafted(quay)
    start = f"/rollouts/{rollout_id}/approve"
    quay.go(2)
    wired.deliver()
    assert "has not arrived everywhere" in quay.refused("POST", start, {"reason": "now"})
    assert stand(quay, rollout_id)["notified"] is False
    wired.office.status = 204
    quay.jump(30)
    wired.deliver()
    assert quay.rest("POST", start, {"reason": "now"})["state"] == "running"
    assert stand(quay, rollout_id)["notified"] is True


def test_the_summary_goes_out_at_the_end_once_and_who_got_it_is_kept_with_the_rollout(
    wired: Wired,
) -> None:
    quay = wired.quay
    fleet(quay)
    others_off(quay, "monitoring")
    stages = [{"share": "5%", "soak_s": 1.0}, {"share": "100%", "soak_s": 1.0}]
    made = quay.rest("POST", "/rollouts", order(plan=STAGES | {"stages": stages}))
    quay.go(3)
    inspector_of(quay).round()
    quay.sail(12)
    quay.go(3)
    assert quay.rollout(made)["state"] == "succeeded"
    for _ in range(2):
        inspector_of(quay).round()
        wired.deliver()
    told = [m for m in wired.office.told if m["kind"] == "rollout.summary"]
    [summary] = [m for m in told if m["rollout"] == made["id"]]
    assert summary["markdown"].startswith(f"# Rollout {made['id']}: succeeded")
    assert "## Who did what" in summary["markdown"]
    assert summary["path"] == f"/api/v1/rollouts/{made['id']}/report"
    answer = quay.call("GET", summary["path"].removeprefix("/api/v1"))
    kept = [(row["kind"], row["state"]) for row in answer.json()["told"]]
    assert ("rollout.summary", "delivered") in kept
    items = stand(quay, made["id"])
    assert (items["summary"], items["notified_after"], items["small"]) == (True, True, True)
    assert "team: rollout.summary delivered" in quay.wherry("rollout", "report", made["id"]).out
