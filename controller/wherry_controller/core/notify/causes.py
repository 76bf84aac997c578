"""Why somebody is alerted: the words that routes choose by."""

from enum import Enum
from typing import Final


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
    ACCURACY = "accuracy"
    DRIFT = "drift"
    DISAGREEMENT = "disagreement"
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


def cause_of(text: str, rollout: str) -> str:
    """The cause that a notice names; where it names none, its rollout's matter or another."""
    if text in CAUSES:
        return text
    return Cause.ROLLOUT.value if rollout else Cause.OTHER.value
