"""Alerts: one matter that somebody has to look at, from its first breach until it is over.

`step` takes an alert and an event and says what is told to people; the table is data.
"""

from wherry_controller.core.alerts.lifecycle import (
    SYSTEM,
    Acknowledge,
    Alert,
    Breached,
    Close,
    Event,
    Recovered,
    State,
    TimePassed,
    first,
    step,
)

__all__ = [
    "SYSTEM",
    "Acknowledge",
    "Alert",
    "Breached",
    "Close",
    "Event",
    "Recovered",
    "State",
    "TimePassed",
    "first",
    "step",
]
