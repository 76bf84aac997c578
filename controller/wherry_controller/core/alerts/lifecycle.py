"""One alert: open, acknowledged, resolved.

Rules:
1. A matter (rollout and topic) has one alert that is not resolved. What breaches again is counted
   in it and told to nobody; what gets worse is told, and opens an acknowledged alert again.
2. It is over when it has been good for `recovery_s` without a breach between, so that a figure
   that flaps raises one alert and one recovery.
3. An operator acknowledges (somebody is at it: no escalation) or closes it, with a reason.
4. A resolved alert stays as it was; the next breach raises another.

Pure: `now_s` is Unix seconds and comes with the event.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from wherry_protocol.errors import StateError
from wherry_protocol.replacing import replace

from wherry_controller.core.notify.causes import rank
from wherry_controller.core.notify.kinds import Kind

SYSTEM: Final = "wherry"


class State(Enum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Alert:
    """`count` breaches were told between `first_s` and `last_s`; `good_since_s` None: not good."""

    id: int | None
    rollout: str
    topic: str
    cause: str
    severity: str
    state: str
    unit: str
    model: str
    text: str
    count: int
    first_s: float
    last_s: float
    good_since_s: float | None = None
    acknowledged_by: str = ""
    acknowledged_s: float | None = None
    resolved_by: str = ""
    resolved_s: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Breached:
    severity: str
    text: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Recovered:
    at_s: float


@dataclass(frozen=True, slots=True)
class TimePassed:
    now_s: float
    recovery_s: float


@dataclass(frozen=True, slots=True)
class Acknowledge:
    who: str
    reason: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Close:
    who: str
    reason: str
    at_s: float


Event = Breached | Recovered | TimePassed | Acknowledge | Close
Stepped = tuple[Alert, Kind | None]


def first(alert: Alert) -> Stepped:
    """An alert that was just raised, and what is told."""
    return alert, Kind.RAISED


def step(alert: Alert, event: Event) -> Stepped:
    """The alert after an event, and what is told of it (None: nothing).

    Raises StateError where an operator's command does not fit its state.
    """
    return TRANSITIONS[State(alert.state), type(event)](alert, event)


def _again(alert: Alert, event: Breached) -> Stepped:
    """Counted; told only where it got worse."""
    is_worse = rank(event.severity) > rank(alert.severity)
    after = replace(alert, count=alert.count + 1, last_s=event.at_s, good_since_s=None)
    if not is_worse:
        return after, None
    after = replace(
        after,
        severity=event.severity,
        text=event.text,
        state=State.OPEN.value,
        acknowledged_by="",
        acknowledged_s=None,
    )
    return after, Kind.WORSENED


def _good(alert: Alert, event: Recovered) -> Stepped:
    since_s = event.at_s if alert.good_since_s is None else alert.good_since_s
    return replace(alert, good_since_s=since_s), None


def _settle(alert: Alert, event: TimePassed) -> Stepped:
    if alert.good_since_s is None or event.now_s - alert.good_since_s < event.recovery_s:
        return alert, None
    after = replace(
        alert, state=State.RESOLVED.value, resolved_by=SYSTEM, resolved_s=event.now_s,
        reason=alert.reason or "recovered",
    )  # fmt: skip
    return after, Kind.RECOVERED


def _acknowledge(alert: Alert, event: Acknowledge) -> Stepped:
    after = replace(
        alert,
        state=State.ACKNOWLEDGED.value,
        acknowledged_by=event.who,
        acknowledged_s=event.at_s,
        reason=event.reason,
    )
    return after, None


def _close(alert: Alert, event: Close) -> Stepped:
    after = replace(
        alert,
        state=State.RESOLVED.value,
        resolved_by=event.who,
        resolved_s=event.at_s,
        reason=event.reason,
    )
    return after, Kind.CLOSED


def _stay(alert: Alert, _event: Event) -> Stepped:
    return alert, None


def _refuse(alert: Alert, _event: Event) -> Stepped:
    who = alert.resolved_by or alert.acknowledged_by
    raise StateError(f"alert {alert.id} is {alert.state} already, by {who}")


TRANSITIONS: Final[dict[tuple[State, type[Event]], Callable[[Alert, Any], Stepped]]] = {
    (State.OPEN, Breached): _again,
    (State.OPEN, Recovered): _good,
    (State.OPEN, TimePassed): _settle,
    (State.OPEN, Acknowledge): _acknowledge,
    (State.OPEN, Close): _close,
    (State.ACKNOWLEDGED, Breached): _again,
    (State.ACKNOWLEDGED, Recovered): _good,
    (State.ACKNOWLEDGED, TimePassed): _settle,
    (State.ACKNOWLEDGED, Acknowledge): _refuse,
    (State.ACKNOWLEDGED, Close): _close,
    (State.RESOLVED, Breached): _stay,
    (State.RESOLVED, Recovered): _stay,
    (State.RESOLVED, TimePassed): _stay,
    (State.RESOLVED, Acknowledge): _refuse,
    (State.RESOLVED, Close): _refuse,
}
