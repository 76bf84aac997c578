"""The ten states in which pipelines know a version, as CLI and REST show them."""

from typing import Any

from wherry_protocol.messages.reported import Outcome

from tests.doors.quay import Quay

SOAKED: dict[str, Any] = {
    "stages": [{"share": "100%", "soak_s": 120.0}],
    "gate": {"requests_min": 500, "interval_s": 30.0, "require": ["errors"]},
}
LEAD = {"model": "digits", "version": "1.1.0", "target": "all"}
TRIAL = {"good_inferences_min": 1, "trial_s_min": 0.0, "trial_s_max": 5.0}


def two_on_the_old_version(quay: Quay) -> None:
    quay.enroll("a", "b", protocol=(1, 2))
    quay.install("1.0.0")
    quay.push("1.1.0")


def of_version(quay: Quay, version: str = "1.1.0") -> str:
    return str(quay.rest("GET", f"/bundles/digits/{version}")["lifecycle"])


def test_a_version_is_trained_then_validated_and_deployed_only_when_it_is_approved(
    quay: Quay,
) -> None:
    two_on_the_old_version(quay)
    assert of_version(quay) == "trained"
    made = quay.rest("POST", "/rollouts", LEAD | {"plan": SOAKED, "start": False})
    assert (made["state"], made["lifecycle"], of_version(quay)) == (
        "draft", "validating", "validating",
    )  # fmt: skip
    quay.go(5)
    assert set(quay.versions().values()) == {"1.0.0"}
    approved = quay.rest("POST", f"/rollouts/{made['id']}/approve", {"reason": "gates are green"})
    assert approved["lifecycle"] == "deploying"
    assert "(deploying)" in quay.wherry("rollout", "show", made["id"]).out


def test_a_validation_that_fails_ends_failed_with_its_evidence_and_a_new_try_needs_a_number(
    quay: Quay,
) -> None:
    two_on_the_old_version(quay)
    quay.devices["a"].verdict = quay.devices["b"].verdict = Outcome.REJECTED
    made = quay.deploy("1.1.0", strategy="blue-green")
    assert made["lifecycle"] == "validating"
    quay.go(5)
    ended = quay.rollout(made)
    assert (ended["lifecycle"], of_version(quay)) == ("failed", "failed")
    assert set(ended["failed"]) == {"a/self", "b/self"}
    quay.devices["a"].verdict = quay.devices["b"].verdict = Outcome.CONFIRMED
    again = quay.deploy("1.1.0")
    quay.go(3)
    assert quay.rollout(again)["members"]["skipped"] == 2
    quay.rest("POST", f"/rollouts/{again['id']}/abort", {"reason": "it needs a number"})
    quay.deploy("1.1.0", attempt=1)
    quay.go(3)
    assert set(quay.versions().values()) == {"1.1.0"}


def test_deployed_is_monitored_until_it_is_stable(quay: Quay) -> None:
    two_on_the_old_version(quay)
    made = quay.deploy("1.1.0", **SOAKED)
    seen = [made["lifecycle"]]
    for _ in range(14):
        quay.sail(1, 15.0)
        seen.append(quay.rollout(made)["lifecycle"])
    assert list(dict.fromkeys(seen)) == ["deploying", "deployed", "monitoring", "stable"]
    assert of_version(quay) == "stable"


def test_trouble_degrades_and_recovery_goes_back_to_monitoring(quay: Quay) -> None:
    two_on_the_old_version(quay)
    plan = SOAKED | {
        "stages": [{"share": "100%", "soak_s": 3_600.0}],
        "gate": {
            "requests_min": 500,
            "interval_s": 30.0,
            "require": ["errors"],
            "error_rate_max": 0.4,
        },
    }
    made = quay.deploy("1.1.0", **plan)
    quay.go(3)
    quay.sail(4, 60.0)
    assert quay.rollout(made)["lifecycle"] == "monitoring"
    quay.sail(2, 60.0, errors=20)
    assert quay.rollout(made)["lifecycle"] == "degraded"
    quay.sail(4, 60.0)
    assert quay.rollout(made)["lifecycle"] == "monitoring"


def test_a_rollback_ends_deployed_with_the_old_version_or_failed_where_it_never_was(
    quay: Quay,
) -> None:
    two_on_the_old_version(quay)
    made = quay.deploy("1.1.0", **SOAKED)
    quay.go(3)
    quay.sail(2, 30.0)
    for device in quay.devices.values():
        device.is_deaf = True
    quay.sail(2, 30.0, errors=900)
    assert quay.rollout(made)["lifecycle"] == "rollback"
    for device in quay.devices.values():
        device.is_deaf = False
    quay.go(3)
    assert (quay.rollout(made)["state"], of_version(quay)) == ("reverted", "deployed")
    assert set(quay.versions().values()) == {"1.0.0"}
