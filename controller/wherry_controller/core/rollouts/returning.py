"""The way back: every touched device gets what it ran before, and proves that it runs it.

Rules:
1. Devices that swapped go first; so many per second and no more.
2. A device is back when its return assignment is confirmed and the former digest runs.
3. Who is not back in time, or cannot go back, is named; their desired state stays, so that
   they converge when they can. Who proves it late, while the return of others is still open, is
   back, and named no more.
"""

import heapq
from collections import deque

from wherry_controller.core.rollouts.effects import Audit, Effects, Finished, Notify, SendBack
from wherry_controller.core.rollouts.members import (
    Member,
    Return,
    ReturnSignal,
    was_given,
)
from wherry_controller.core.rollouts.report import lost_units, report
from wherry_controller.core.rollouts.state import (
    Rollout,
    State,
    enter,
    is_deployed,
    queued,
    signal_return,
)


def start_reverting(
    rollout: Rollout, who: str, why: str, now_s: float, **evidence: object
) -> Effects:
    """Enter REVERTING and queue whoever was touched."""
    rollout.progress.was_deployed = is_deployed(rollout)
    enter(rollout, State.REVERTING, why)
    rollout.progress.reverting_s = now_s
    rollout.progress.returns_sent = 0
    rollout.progress.is_draining = False  # everybody who was touched goes back now
    for unit in rollout.order[: rollout.progress.touched_index]:
        member = rollout.members[unit]
        if was_given(member):
            signal_return(rollout, member, ReturnSignal.QUEUE)
    rollout.return_queue = deque(queued(rollout))
    text = f"{rollout.model} {rollout.version} is being reverted: {why}"
    return [
        Audit(rollout.rollout_id, who, "rollout.revert", why, evidence),
        Notify(rollout.rollout_id, "critical", "revert", text),
    ]


def bring_back(rollout: Rollout, now_s: float) -> Effects:
    """Send back as many as the rate allows; finish when nobody is under way."""
    expire_returns(rollout, now_s)
    effects: Effects = []
    started_s = now_s if rollout.progress.reverting_s is None else rollout.progress.reverting_s
    rate = rollout.plan.returns_per_s
    allowed = int(rate * max(0.0, now_s - started_s)) + max(1, int(rate))
    _drop_those_who_wait_no_more(rollout)
    while rollout.return_queue and rollout.progress.returns_sent < allowed:
        member = rollout.members[rollout.return_queue.popleft()]
        if member.way_back is Return.QUEUED:
            effects.append(send_back(rollout, member, now_s))
        _drop_those_who_wait_no_more(rollout)
    if not rollout.return_queue and not rollout.returns[Return.SENT]:
        effects += _finish(rollout)
    return effects


def _drop_those_who_wait_no_more(rollout: Rollout) -> None:
    """Somebody else decides for them by now: at the head of the queue they would only delay."""
    queue, members = rollout.return_queue, rollout.members
    while queue and members[queue[0]].way_back is not Return.QUEUED:
        queue.popleft()


def send_back(rollout: Rollout, member: Member, now_s: float) -> SendBack:
    """Put one queued member on its way back."""
    signal_return(rollout, member, ReturnSignal.SEND)
    rollout.progress.returns_sent += 1
    member.return_deadline_s = rollout.link.read(now_s) + rollout.plan.return_after_s
    heapq.heappush(rollout.return_deadlines, (member.return_deadline_s, member.index))
    return SendBack(
        rollout.rollout_id,
        member.unit,
        rollout.model,
        member.before,
        member.assignment_id,
        rollout.terms[member.hardware_class].trial,
        rollout.state_reason,
        is_failure=rollout.state is State.REVERTING,
    )


def expire_returns(rollout: Rollout, now_s: float) -> None:
    """Who is not back by now is named."""
    if not rollout.return_deadlines:
        return
    clock_s = rollout.link.read(now_s)
    while rollout.return_deadlines and rollout.return_deadlines[0][0] <= clock_s:
        _, index = heapq.heappop(rollout.return_deadlines)
        member = rollout.members[rollout.order[index]]
        reason = f"not back within {rollout.plan.return_after_s:g} s"
        signal_return(rollout, member, ReturnSignal.FAILED, reason)


def _finish(rollout: Rollout) -> Effects:
    enter(rollout, State.REVERTED, rollout.state_reason)
    lost = lost_units(rollout)
    text = f"{rollout.model} {rollout.version}: {rollout.returns[Return.BACK]} devices are back"
    if lost:
        text += f", {len(lost)} are not: {', '.join(sorted(lost)[:10])}"
    severity = "critical" if lost else "info"
    return [
        Audit(rollout.rollout_id, "rollout", "rollout.reverted", text, report(rollout)),
        Notify(rollout.rollout_id, severity, "reverted", text),
        Finished(rollout.rollout_id, rollout.state.value, report(rollout)),
    ]
