"""What a rollout tells people: counts, the names that matter, and what it waits for."""

from typing import Any, Final

from wherry_controller.core.gates.checks import Check, blocking
from wherry_controller.core.plans.schedule import opens_in_s
from wherry_controller.core.plans.stages import CANDIDATE, SERVING, Action
from wherry_controller.core.rollouts.lifecycle import lifecycle
from wherry_controller.core.rollouts.members import FAILED, Member, MemberPhase, Return
from wherry_controller.core.rollouts.readiness import undecided_until_s
from wherry_controller.core.rollouts.state import Rollout, State, is_winding_down, stage_of
from wherry_controller.core.spans import span_text
from wherry_controller.core.subset import WHOLE_BP

NAMES_MAX: Final = 1_000


def report(rollout: Rollout) -> dict[str, Any]:
    """The rollout as JSON values; lists of names hold at most NAMES_MAX."""
    offered = rollout.order[: rollout.progress.touched_index]
    touched = [rollout.members[unit] for unit in offered]
    return {
        "rollout": rollout.rollout_id,
        "model": rollout.model,
        "version": rollout.version,
        "digest": rollout.digest.hex(),
        "state": rollout.state.value,
        "lifecycle": lifecycle(rollout).value,
        "reason": rollout.state_reason,
        "strategy": rollout.plan.strategy,
        "preset": rollout.plan.preset,
        "overrides": list(rollout.plan.overrides),
        "environment": rollout.plan.environment,
        "on_call": rollout.plan.on_call,
        "notes": rollout.plan.notes,
        "approved_by": rollout.progress.approved_by,
        "action": stage_of(rollout).action.value,
        "slot": rollout.plan.slot,
        "stage": rollout.progress.stage_index + 1,
        "stages": len(rollout.plan.stages),
        "subset": rollout.progress.subset_bp / WHOLE_BP,
        "opened": rollout.progress.opened_count,
        "members": {phase.value: rollout.counts[phase] for phase in MemberPhase},
        "returns": {state.value: rollout.returns[state] for state in Return},
        "failed": _named(m for m in touched if m.phase in FAILED or m.has_relapsed),
        "silent": _named(m for m in touched if m.phase is MemberPhase.SILENT),
        "late": _named(m for m in touched if m.is_late),
        "skipped": _named(_skipped(rollout)),
        "not_back": dict(sorted(lost_units(rollout).items())[:NAMES_MAX]),
        "checks": [check_row(check) for check in rollout.checks],
    }


def _named(members: Any) -> dict[str, str]:
    chosen = sorted((member.unit, member.reason or member.phase.value) for member in members)
    return dict(chosen[:NAMES_MAX])


def _skipped(rollout: Rollout) -> list[Member]:
    """Whoever was left out, also before its turn came."""
    if not rollout.counts[MemberPhase.SKIPPED]:
        return []
    return [m for m in rollout.members.values() if m.phase is MemberPhase.SKIPPED]


def lost_units(rollout: Rollout) -> dict[str, str]:
    """unit -> why it is not back."""
    members = rollout.members.values()
    return {m.unit: m.return_reason for m in members if m.way_back is Return.LOST}


def check_row(check: Check) -> dict[str, Any]:
    """One check as JSON values."""
    return {
        "check": check.name,
        "class": check.hardware_class,
        "verdict": check.verdict.value,
        "consequence": check.consequence.value,
        "text": check.text,
        "figures": dict(check.figures),
    }


def member_row(member: Member) -> dict[str, Any]:
    """One member as JSON values, for people."""
    return {
        "unit": member.unit,
        "class": member.hardware_class,
        "phase": member.phase.value,
        "reason": member.reason,
        "code": member.code,
        "is_late": member.is_late,
        "way_back": member.way_back.value,
        "return_reason": member.return_reason,
    }


def waiting_for(rollout: Rollout, now_s: float) -> list[str]:
    """What has to happen before the rollout goes on, one sentence each."""
    if rollout.state in (State.SUCCEEDED, State.REVERTED, State.ABORTED):
        return _winding_sentences(rollout) if is_winding_down(rollout) else []
    if rollout.state is not State.RUNNING:
        return [_operator_sentence(rollout)]
    progress, stage = rollout.progress, rollout.plan.stages[rollout.progress.stage_index]
    started_s = now_s if progress.started_s is None else progress.started_s
    if progress.stage_opened_s is None and now_s >= started_s + stage.not_before_s:
        return [_hand_sentence(rollout)]
    if progress.stage_opened_s is None:
        return [f"its stage, which opens in {span_text(started_s + stage.not_before_s - now_s)}"]
    closed_s = opens_in_s(rollout.plan.schedule, now_s)
    if progress.settled_s is None and closed_s and stage.action in SERVING:
        return [f"its window, which opens in {span_text(closed_s)}"]
    if progress.settled_s is None:
        left = progress.opened_count - progress.offer_index
        here = f"{_devices(rollout.under_way)} to {_goal(rollout)} or fail"
        return [f"{here}, {left} to be offered" if left else here]
    found = []
    if now_s < progress.settled_s + stage.soak_s:
        found.append(f"{span_text(progress.settled_s + stage.soak_s - now_s)} of soak")
    if stage.is_gated:
        blocked = blocking(rollout.checks, rollout.plan.gate.require)
        found += [f"{check.name}: {check.text}" for check in blocked]
        found += [] if rollout.checks else ["the gate's first check"]
    opens_s = _next_opens_s(rollout, started_s)
    if now_s < opens_s:
        found.append(f"its next stage, which opens in {span_text(opens_s - now_s)}")
    return found + _deadline(rollout, now_s)


def _winding_sentences(rollout: Rollout) -> list[str]:
    """Who is asked, and who may have to be; of a decommission, or of an abort."""
    progress, asked = rollout.progress, rollout.returns[Return.SENT]
    is_abort = rollout.state is State.ABORTED
    found = []
    if asked:
        found.append(f"{_devices(asked)} to {'come back' if is_abort else 'unload a candidate'}")
    left = progress.touched_index - progress.drain_index
    if progress.is_draining and left:
        what = "asked back" if is_abort else "told what they may unload"
        found.append(f"up to {_devices(left)} to be {what}")
    return found


def _deadline(rollout: Rollout, now_s: float) -> list[str]:
    """When a stage that only lacks figures pauses, if it does."""
    until_s = undecided_until_s(rollout)
    return [] if until_s is None else [f"figures, or it pauses in {span_text(until_s - now_s)}"]


def _next_opens_s(rollout: Rollout, started_s: float) -> float:
    """The earliest time of the stage after the open one; long ago where there is none."""
    progress, stages = rollout.progress, rollout.plan.stages
    is_last = progress.opened_bp >= progress.subset_bp or progress.stage_index + 1 == len(stages)
    return 0.0 if is_last else started_s + stages[progress.stage_index + 1].not_before_s


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count} devices"


def _goal(rollout: Rollout) -> str:
    action = stage_of(rollout).action
    if action is Action.DECOMMISSION:
        return f"take their candidates away ({rollout.returns[Return.SENT]} are asked)"
    if action in CANDIDATE:
        return "have their candidate ready"
    return f"confirm ({rollout.plan.trial.good_inferences_min} good inferences each)"


def _hand_sentence(rollout: Rollout) -> str:
    """A stage that is opened by hand waits for somebody."""
    if stage_of(rollout).action is Action.SWITCH:
        slot = rollout.plan.slot
        return f"somebody to switch to {slot} (wherry rollout switch {rollout.rollout_id})"
    return f"somebody to open its stage (wherry rollout advance {rollout.rollout_id})"


def _operator_sentence(rollout: Rollout) -> str:
    if rollout.state is State.APPROVED and rollout.plan.after:
        goes_alone = rollout.progress.told_after  # it ended otherwise
        return "somebody to start it" if goes_alone else f"{rollout.plan.after} to succeed"
    if rollout.state is State.REVERTING:
        left = len(rollout.return_queue) + rollout.returns[Return.SENT]
        return f"{_devices(left)} to come back"
    return {
        State.DRAFT: "somebody to approve it",
        State.APPROVED: "somebody to start it",
        State.PAUSED: f"an operator ({rollout.state_reason})",
    }[rollout.state]
