"""Why somebody is alerted: the words that routes choose by."""

from enum import Enum
from typing import Final

from wherry_controller.core.gates.custom import CUSTOM


class Cause(Enum):
    """What kind of trouble it is; it decides who is asked."""

    ERRORS = "errors"
    LATENCY = "latency"
    ENERGY = "energy"
    MEMORY = "memory"
    CRASH = "crash"
    SILENCE = "silence"
    TEMPERATURE = "temperature"
    STORAGE = "storage"  # of a device
    STALE = "stale"  # trust, time or telemetry that is too old
    CORRUPTION = "corruption"
    ACCURACY = "accuracy"  # a rule about a custom metric of that name
    DRIFT = "drift"  # the same
    DISAGREEMENT = "disagreement"  # a shadow that is not like its primary
    ROLLOUT = "rollout"
    ROLLBACK = "rollback"
    SUITE = "suite"
    BROKER = "broker"
    DISK = "disk"  # of the controller
    DATABASE = "database"
    EMERGENCY = "emergency"
    SELF_TEST = "self_test"
    OTHER = "other"


CAUSES: Final = frozenset(cause.value for cause in Cause)
SEVERITIES: Final = ("info", "warning", "critical")  # from the mildest on


def rank(severity: str) -> int:
    """Severities in order; one that nobody knows counts as critical."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES) - 1


# What a check of a gate is a matter of, by its name; others are the rollout's.
CHECKS: Final = {
    "shadow": Cause.DISAGREEMENT,
    f"{CUSTOM} {Cause.ACCURACY.value}": Cause.ACCURACY,
    f"{CUSTOM} {Cause.DRIFT.value}": Cause.DRIFT,
}


def cause_of(text: str, rollout: str, topic: str) -> str:
    """The cause that a notice names; where it names none, its rollout's matter or another."""
    if text in CAUSES:
        return text
    return CHECKS.get(topic, Cause.ROLLOUT).value if rollout else Cause.OTHER.value
