"""Who is told what: kinds of messages, routes to people, retries. Pure."""

from wherry_controller.core.notify.causes import CAUSES, SEVERITIES, Cause, cause_of, rank
from wherry_controller.core.notify.kinds import HOOKS, Kind
from wherry_controller.core.notify.retries import Attempt, Outcome, after_attempt, retry_s
from wherry_controller.core.notify.routes import Matter, Route, chosen, routes_of

__all__ = [
    "CAUSES",
    "HOOKS",
    "SEVERITIES",
    "Attempt",
    "Cause",
    "Kind",
    "Matter",
    "Outcome",
    "Route",
    "after_attempt",
    "cause_of",
    "chosen",
    "rank",
    "retry_s",
    "routes_of",
]
