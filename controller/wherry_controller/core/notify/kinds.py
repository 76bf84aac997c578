"""What people can be told. `HOOKS` says which rows of the audit log are told, and as what."""

from enum import Enum
from typing import Final


class Kind(Enum):
    """A route takes `alert`, `rollout` or `emergency` as a whole, or single ones of these."""

    RAISED = "alert.raised"
    WORSENED = "alert.worsened"
    RECOVERED = "alert.recovered"
    CLOSED = "alert.closed"
    ESCALATED = "alert.escalated"
    ANNOUNCED = "rollout.announced"
    STARTED = "rollout.started"
    STAGE = "rollout.stage"
    PAUSED = "rollout.paused"
    COMPLETED = "rollout.completed"
    SUMMARY = "rollout.summary"
    STOP = "emergency.stop"
    GO = "emergency.go"
    ISOLATED = "emergency.isolated"
    DECLARED = "emergency.declared"
    REPORT = "report.fleet"
    TEST = "test"


HOOKS: Final = {
    "rollout.create": Kind.ANNOUNCED,
    "rollout.start": Kind.STARTED,
    "rollout.stage": Kind.STAGE,
    "rollout.pause": Kind.PAUSED,
    "rollout.finished": Kind.COMPLETED,
    "stop": Kind.STOP,
    "stop.release": Kind.GO,
    "device.isolate": Kind.ISOLATED,
    "emergency": Kind.DECLARED,
}
