"""Assignments: what a unit may be given, and giving it.

Rules:
1. Nothing is assigned that the unit cannot run: its class needs a budget in the manifest, its
   engine the manifest's ABI, and the version stands at or above the security floor of what it
   serves.
2. A bundle that failed on a unit is not given again without an attempt number that says so.
3. The trial is never laxer than what the release signers allow.
4. The assignment, the unit's next revision, its audit row and its outbox rows commit together.
"""

from dataclasses import dataclass

from wherry_protocol.codec import encode
from wherry_protocol.errors import Code
from wherry_protocol.manifest import Manifest, Policy
from wherry_protocol.messages.desired import (
    SAMPLES_ALL_BP,
    Assignment,
    Mode,
    SwapWindow,
    TrialLimits,
    assignment_id,
)
from wherry_protocol.messages.limits import ASSIGNMENTS_MAX, BLOBS_MAX, DESIRED_BYTES_MAX
from wherry_protocol.replacing import replace
from wherry_protocol.version import Version

from wherry_controller.fleet import blobs, bundles, desires, trustees
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import assignments, devices, registry, releases
from wherry_controller.store.assignments import AssignmentRow, Failure
from wherry_controller.store.devices import Unit
from wherry_controller.store.registry import BundleRow
from wherry_controller.store.releases import ReleaseRow

KEY_ENTRY_BYTES = 80  # a digest, a wrapped key, and their CBOR heads
FRAME_BYTES = 4096  # class, trial, image signatures, COSE


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants a unit to run, and by what right (`owner`, `rollout`)."""

    bundle: BundleRow
    manifest: Manifest
    trial: TrialLimits
    owner: str
    rollout: str = ""
    mode: Mode = Mode.ACTIVE
    attempt: int = 0
    deadline_us: int = 0
    sampling_bp: int = SAMPLES_ALL_BP
    window: SwapWindow | None = None


def why_unfit(org: Organization, unit: Unit, wish: Wish) -> tuple[Code, str] | None:
    """Why the unit may not be given this, or None if it may."""
    manifest = wish.manifest
    name = f"{manifest.model}:{manifest.version}"
    if trustees.is_stopped(org):
        return Code.STOPPED, "the fleet is stopped"
    if devices.connection(org.db, unit.connection).is_revoked:
        return Code.FORBIDDEN, "its connection is revoked"
    if unit.is_isolated:
        return Code.FORBIDDEN, "it is isolated"
    if unit.hardware_class not in manifest.budgets:
        known = ", ".join(sorted(manifest.budgets)) or "none"
        return (
            Code.NO_BUDGET,
            f"{name} has no budget for class {unit.hardware_class}, budgets are for: {known}",
        )
    if unit.abi_min is not None and not desires.runs_abi(unit, manifest.engine_abi):
        return (
            Code.WRONG_ABI,
            f"{name} needs engine ABI {manifest.engine_abi}, it runs {unit.abi_min} to "
            f"{unit.abi_max}",
        )
    needed = desires.needed_protocol(_assignment(wish), manifest)
    if unit.protocol_max is not None and unit.protocol_max < needed:
        return (
            Code.UNSUPPORTED_FORMAT,
            f"its agent speaks protocol {unit.protocol_max}, this needs {needed}",
        )
    return (
        _below_floor(org, unit, wish)
        or _failed_before(org, unit, wish)
        or _too_much(org, unit, wish)
    )


def _too_much(org: Organization, unit: Unit, wish: Wish) -> tuple[Code, str] | None:
    """A desired document has room for so many models, blobs and bytes."""
    others = [
        row
        for row in assignments.of_unit(org.db, unit.connection, unit.unit)
        if row.model != wish.manifest.model
    ]
    digests = [wish.bundle.digest, *(row.bundle_digest for row in others)]
    blob_count = sum(len(registry.blobs_of(org.db, digest)) for digest in digests)
    size_bytes = sum(len(row.document) for row in others) + len(wish.bundle.signatures)
    size_bytes += blob_count * KEY_ENTRY_BYTES + FRAME_BYTES
    if len(others) >= ASSIGNMENTS_MAX:
        return Code.OUT_OF_BOUNDS, f"it has {len(others)} models, at most {ASSIGNMENTS_MAX} fit"
    if blob_count > BLOBS_MAX * 4:
        return Code.OUT_OF_BOUNDS, f"its models have {blob_count} blobs, {BLOBS_MAX * 4} fit"
    if size_bytes > DESIRED_BYTES_MAX:
        return (
            Code.OUT_OF_BOUNDS,
            f"its desired document would have {size_bytes} bytes, {DESIRED_BYTES_MAX} fit",
        )
    return None


def _below_floor(org: Organization, unit: Unit, wish: Wish) -> tuple[Code, str] | None:
    serving = devices.find_model(org.db, unit.connection, unit.unit, wish.manifest.model)
    if serving is None or serving.active_digest is None:
        return None
    row = registry.find_bundle(org.db, serving.active_digest)
    if row is None:
        return None
    floor = Version.parse(desires.manifest_of(row.manifest).security_floor)
    if Version.parse(wish.manifest.version) >= floor:
        return None
    return Code.FLOOR, f"{wish.manifest.version} is below its security floor {floor}"


def _failed_before(org: Organization, unit: Unit, wish: Wish) -> tuple[Code, str] | None:
    failure = assignments.failure(org.db, unit.connection, unit.unit, wish.bundle.digest)
    if failure is None or wish.attempt > 0:
        return None
    return (
        Code.PENALTY,
        f"{wish.manifest.model}:{wish.manifest.version} failed here before ({failure.reason}); "
        "a deliberate second try needs an attempt number",
    )


def bounded(trial: TrialLimits, policy: Policy) -> TrialLimits:
    """The trial, no laxer than the release signers' policy."""
    trial_s_min = max(trial.trial_s_min, policy.trial_s_min)
    return replace(
        trial,
        good_inferences_min=max(trial.good_inferences_min, policy.good_inferences_min),
        trial_s_min=trial_s_min,
        trial_s_max=max(trial.trial_s_max, trial_s_min),
        error_rate_max=min(trial.error_rate_max, policy.error_rate_max),
        unconfirmed_starts_max=min(trial.unconfirmed_starts_max, policy.unconfirmed_starts_max),
        may_confirm_by_golden=trial.may_confirm_by_golden and policy.may_confirm_by_golden,
    )


def assign(org: Organization, unit: Unit, wish: Wish, now_s: float) -> AssignmentRow:
    """Persist the assignment and queue the unit's next desired document."""
    assignment = _assignment(wish)
    row = AssignmentRow(
        unit.connection,
        unit.unit,
        assignment.model,
        assignment_id(assignment),
        wish.bundle.digest,
        encode(assignment),
        wish.owner,
        wish.rollout,
        wish.attempt,
        now_s,
    )
    assignments.put(org.db, row)
    releases.delete(org.db, unit.connection, unit.unit, assignment.model)
    blobs.publish_bundle(org, wish.bundle.digest, now_s)
    desires.issue(org, unit, now_s)
    return row


def _assignment(wish: Wish) -> Assignment:
    return Assignment(
        model=wish.manifest.model,
        manifest_digest=wish.bundle.digest,
        manifest_bytes=len(wish.bundle.manifest),
        signatures=wish.bundle.signatures,
        mode=wish.mode,
        trial=bounded(wish.trial, wish.manifest.policy),
        attempt=wish.attempt,
        image_signatures=bundles.image_signatures(wish.bundle),
        deadline_us=wish.deadline_us,
        shadow_sample_bp=wish.sampling_bp,
        window=wish.window,
    )


def release(org: Organization, unit: Unit, row: ReleaseRow, now_s: float) -> None:
    """Tell the unit that it may unload a bundle that it does not serve."""
    releases.put(org.db, row)
    desires.issue(org, unit, now_s)


def withdraw(org: Organization, unit: Unit, model: str, now_s: float) -> None:
    """Take the model out of the unit's desired state; what runs there stays."""
    assignments.delete(org.db, unit.connection, unit.unit, model)
    desires.issue(org, unit, now_s)


def next_attempt(org: Organization, unit: Unit, model: str) -> int:
    """An attempt that makes the next assignment differ from the one that is in force."""
    row = assignments.find(org.db, unit.connection, unit.unit, model)
    return 1 if row is None else row.attempt + 1


def remember_as_bad(
    org: Organization, unit: Unit, digest: bytes, code: Code, reason: str, now_s: float
) -> None:
    """The unit was taken off this bundle: it is not given again by itself. The first word stays."""
    if assignments.failure(org.db, unit.connection, unit.unit, digest) is not None:
        return
    failure = Failure(unit.connection, unit.unit, digest, int(code), reason[:256], now_s)
    assignments.put_failure(org.db, failure)
