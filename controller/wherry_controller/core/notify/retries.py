"""How often a delivery is tried, and when it is given up.

An attempt is written down before it is made, with the time of the next one: a process that dies
in between has used it up, so that a message that kills us is not sent for ever.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

RETRY_S_MIN: Final = 10.0
RETRY_S_MAX: Final = 3600.0


class Outcome(Enum):
    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt ended; `text` is what the receiver answered, or what went wrong."""

    is_delivered: bool
    text: str


def retry_s(attempts: int) -> float:
    """How long after the attempt of that number (from 1) the next one is made."""
    return float(min(RETRY_S_MIN * 2.0 ** (attempts - 1), RETRY_S_MAX))


def after_attempt(attempts: int, attempts_max: int, attempt: Attempt) -> Outcome:
    """Where a delivery stands after its attempt of that number."""
    if attempt.is_delivered:
        return Outcome.DELIVERED
    return Outcome.DEAD if attempts >= attempts_max else Outcome.WAITING
