"""Carries out what a rollout asks for: assignments by compare-and-swap, audit rows, notices."""

from functools import reduce

from wherry_native import sketch as packed
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import Mode, TrialLimits

from wherry_controller.core.gates.checks import Verdict
from wherry_controller.core.gates.pools import Figures
from wherry_controller.core.gates.shadowing import outcomes
from wherry_controller.core.plans.stages import serves
from wherry_controller.core.rollouts import Rollout, State, drafting
from wherry_controller.core.rollouts.effects import (
    Assign,
    Audit,
    Effect,
    Finished,
    Notify,
    Release,
    SendBack,
)
from wherry_controller.core.rollouts.events import Assigned, Event, PassedOver
from wherry_controller.core.rollouts.slots import has_switch, serving_slot
from wherry_controller.fleet import assigning, desires, life
from wherry_controller.fleet.assigning import Wish
from wherry_controller.fleet.organization import SYSTEM, Organization
from wherry_controller.store import (
    assignments,
    devices,
    groups,
    meta,
    performance,
    registry,
    releases,
    shadows,
)
from wherry_controller.store import rollouts as kept
from wherry_controller.store.devices import Unit
from wherry_controller.store.groups import RunRow
from wherry_controller.store.registry import BundleRow
from wherry_controller.store.releases import ReleaseRow
from wherry_controller.store.shadows import ShadowRow

HISTORY_S = 3600.0  # a unit's own figures from before its swap, the comparison of last resort
WITHDRAWN = bytes(32)  # stands for the id of an assignment that was taken away


def carry_out(org: Organization, rollout: Rollout, effect: Effect, now_s: float) -> Event | None:
    """Do it; the answer that the rollout waits for, if it waits for one."""
    if isinstance(effect, Assign):
        return _assign(org, rollout, effect, now_s)
    if isinstance(effect, SendBack):
        return _send_back(org, rollout, effect, now_s)
    if isinstance(effect, Release):
        _release(org, effect, now_s)
    elif isinstance(effect, Audit):
        org.record(
            now_s, effect.who, effect.action, effect.rollout_id, effect.why, **effect.evidence
        )
    elif isinstance(effect, Notify):
        notice = kept.Notice(
            None, now_s, effect.severity, effect.key, effect.rollout_id, effect.text
        )
        kept.put_notice(org.db, notice)
    elif isinstance(effect, Finished):
        org.record(now_s, SYSTEM, "rollout.finished", effect.rollout_id, effect.state,
                   report=dict(effect.report))  # fmt: skip
        _finished(org, rollout, now_s)
        _keep_shadow(org, rollout, now_s)
        life.finished(org, rollout, effect.state, now_s)
    return None


def _assign(org: Organization, rollout: Rollout, effect: Assign, now_s: float) -> Event:
    unit = devices.find_unit(org.db, *devices.split_id(effect.unit))
    if unit is None:
        return PassedOver(effect.unit, "it is not enrolled any more")
    outranked = _outranked(org, rollout, unit)
    if outranked:
        return PassedOver(effect.unit, outranked)
    bundle = registry.find_bundle(org.db, effect.digest)
    if bundle is None:
        return PassedOver(
            effect.unit, "what it must have run first is not in the registry any more"
        )
    wish = _wish(rollout, effect, unit, bundle)
    unfit = assigning.why_unfit(org, unit, wish)
    if unfit is None and bundle.digest != rollout.digest:
        # Whoever cannot be given the rollout's own version needs nothing before it.
        own = registry.bundle(org.db, rollout.digest)
        unfit = assigning.why_unfit(org, unit, _wish(rollout, effect, unit, own))
    if unfit is not None:
        return PassedOver(effect.unit, unfit[1])
    before = devices.find_model(org.db, unit.connection, unit.unit, effect.model)
    running = None if before is None else before.active_digest
    history = None if running is None else _history(org, unit, effect.model, running, now_s)
    row = assigning.assign(org, unit, wish, now_s)
    return Assigned(effect.unit, row.assignment_id, running, history)


def _wish(rollout: Rollout, effect: Assign, unit: Unit, bundle: BundleRow) -> Wish:
    """What is brought before the rollout's own version is held to its own budget and policy."""
    manifest = desires.manifest_of(bundle.manifest)
    is_first = bundle.digest != rollout.digest
    has_budget = unit.hardware_class in manifest.budgets
    own = way_back_trial(rollout.plan.trial, unit, bundle) if is_first and has_budget else None
    return Wish(
        bundle,
        manifest,
        own or effect.trial,
        "rollout",
        effect.rollout_id,
        effect.mode,
        effect.attempt,
        effect.deadline_us,
        effect.sampling_bp,
        effect.window,
    )


def _finished(org: Organization, rollout: Rollout, now_s: float) -> None:
    """Remember in which slot it serves, and what a group runs."""
    if has_switch(rollout) and serving_slot(rollout) == rollout.plan.slot:
        for environment in ("", *rollout.plan.environment.split(", ")):
            key = slot_key(environment, rollout.model, rollout.digest)
            meta.put(org.db, key, rollout.plan.slot)
    prefix, _, name = rollout.plan.target.strip().partition(":")
    row = groups.find(org.db, name) if prefix == "group" else None
    has_succeeded = rollout.state is State.SUCCEEDED and serves(rollout.plan.stages)
    if row is not None and row.is_dynamic and has_succeeded:
        run = RunRow(name, rollout.model, rollout.rollout_id, now_s)
        groups.put_run(org.db, run, rollout.members)


def _keep_shadow(org: Organization, rollout: Rollout, now_s: float) -> None:
    """How it came out beside each bundle that served; passed only where the rollout did."""
    primaries = {unit: m.before for unit, m in rollout.members.items() if m.before is not None}
    for one in outcomes(rollout.plan.gate, rollout.panel.shadow, primaries):
        is_passed = one.verdict is Verdict.PASS and rollout.state is State.SUCCEEDED
        if is_passed or one.verdict is Verdict.FAIL:
            shadows.put(org.db, ShadowRow(None, rollout.rollout_id, rollout.digest, one.primary,
                                          int(is_passed), one.text, now_s))  # fmt: skip


def slot_key(environment: str, model: str, digest: bytes) -> str:
    """Under which name it is kept in which slot an environment's devices have a bundle.

    So which slot serves follows from what a device serves, by whichever way it came to that.
    """
    return f"slot.{environment}.{model}.{digest.hex()}"


def _release(org: Organization, effect: Release, now_s: float) -> None:
    """Unload what does not serve; where somebody else decides by now, nothing."""
    unit = devices.find_unit(org.db, *devices.split_id(effect.unit))
    held = None if unit is None else assignments.find(
        org.db, unit.connection, unit.unit, effect.model
    )  # fmt: skip
    if unit is None or held is None or held.rollout != effect.rollout_id:
        return
    row = ReleaseRow(unit.connection, unit.unit, effect.model, effect.digest, int(effect.is_purged))
    assigning.release(org, unit, row, now_s)


def _outranked(org: Organization, rollout: Rollout, unit: Unit) -> str:
    """Who took the unit for this model since the rollout was made, or an empty text."""
    held = assignments.find(org.db, unit.connection, unit.unit, rollout.model)
    if held is None or held.owner == "rollout" or held.assigned_s < rollout.created_s:
        return ""
    return f"preempted: {held.owner} assignment"


def _history(
    org: Organization, unit: Unit, model: str, digest: bytes, now_s: float
) -> Figures | None:
    """The unit's own last hour on what it runs now."""
    windows = [
        row
        for row in performance.windows(
            org.db, since_s=now_s - HISTORY_S, connection=unit.connection
        )
        if (row.unit, row.model, row.digest, row.slot) == (unit.unit, model, digest, "active")
    ]
    if not windows:
        return None
    counted = sum(row.energy_count for row in windows)
    energy_uj = sum(row.energy_sum_uj for row in windows)
    return Figures(
        sum(row.inferences for row in windows),
        sum(row.errors for row in windows),
        packed.read(reduce(packed.merge, [row.sketch for row in windows])),
        energy_uj / counted if counted else None,
        windows[-1].energy_source,
    )


def _send_back(org: Organization, rollout: Rollout, effect: SendBack, now_s: float) -> Event:
    unit = devices.find_unit(org.db, *devices.split_id(effect.unit))
    if unit is None:
        return PassedOver(effect.unit, "it is not enrolled any more")
    held = assignments.find(org.db, unit.connection, unit.unit, effect.model)
    if (None if held is None else held.assignment_id) != effect.expected_id:
        why = "preempted: another assignment is in force"
        return PassedOver(effect.unit, why, is_taken=True)
    if effect.is_failure:
        assigning.remember_as_bad(org, unit, rollout.digest, Code.FAILED, effect.reason, now_s)
    if effect.to_digest is None:
        stays = ReleaseRow(unit.connection, unit.unit, effect.model, rollout.digest, 0)
        releases.put(org.db, stays)  # a candidate that stands there has nothing to wait for
        assigning.withdraw(org, unit, effect.model, now_s)
        return Assigned(effect.unit, WITHDRAWN)
    bundle = registry.find_bundle(org.db, effect.to_digest)
    if bundle is None:
        return PassedOver(effect.unit, "what it ran before is not in the registry any more")
    manifest = desires.manifest_of(bundle.manifest)
    if unit.hardware_class not in manifest.budgets:
        reason = f"{manifest.version} has no budget for class {unit.hardware_class}"
        return PassedOver(effect.unit, reason)
    trial = way_back_trial(rollout.plan.trial, unit, bundle)
    attempt = assigning.next_attempt(org, unit, effect.model)
    wish = Wish(bundle, manifest, trial, "rollout", rollout.rollout_id, Mode.ACTIVE, attempt)
    row = assigning.assign(org, unit, wish, now_s)
    return Assigned(effect.unit, row.assignment_id)


def way_back_trial(trial: TrialLimits, unit: Unit, bundle: BundleRow) -> TrialLimits:
    """The trial of a version that is known to be good here, inside its own budget and policy."""
    manifest = desires.manifest_of(bundle.manifest)
    return drafting.trial_limits(trial, manifest.budgets[unit.hardware_class], manifest.policy)
