"""The deliveries' side of the writer: what is tried next, how it ended, what is sent again."""

from typing import Any

from wherry_protocol.errors import NotFoundError, StateError
from wherry_protocol.replacing import replace

from wherry_controller.core.notify import Attempt, Kind, Outcome, Route, after_attempt, retry_s
from wherry_controller.fleet import alerting
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import deliveries
from wherry_controller.store.deliveries import AttemptRow, Delivery

INTERRUPTED = "the controller ended during the last attempt"


def claim(org: Organization, route: Route, now_s: float) -> Delivery | None:
    """The next message to try, its attempt written down; None: nothing is due."""
    while (row := deliveries.next_due(org.db, route.name, now_s)) is not None:
        if row.attempts < route.attempts_max:
            number = row.attempts + 1
            after = replace(row, attempts=number, due_s=now_s + route.timeout_s + retry_s(number))
            deliveries.put(org.db, after)
            deliveries.put_attempt(org.db, AttemptRow(row.id or 0, number, now_s))
            return after
        _end(org, row, Outcome.DEAD, INTERRUPTED, now_s)
    return None


def settle(
    org: Organization,
    route: Route,
    delivery_id: int | None,
    number: int,
    attempt: Attempt,
    now_s: float,
) -> None:
    """An attempt has ended."""
    row = deliveries.get(org.db, delivery_id or 0)
    [begun] = [a for a in deliveries.attempts_of(org.db, row.id or 0) if a.number == number]
    ended = replace(begun, ended_s=now_s, is_delivered=int(attempt.is_delivered), text=attempt.text)
    deliveries.put_attempt(org.db, ended)
    outcome = after_attempt(number, route.attempts_max, attempt)
    if outcome is Outcome.WAITING:
        due_s = now_s + retry_s(number)
        deliveries.put(org.db, replace(row, due_s=due_s, text=attempt.text))
    else:
        _end(org, row, outcome, attempt.text, now_s)


def give_up(org: Organization, route: str, now_s: float) -> None:
    """What waits for a route that is not in `wherry.toml` any more is dead."""
    while (row := deliveries.next_due(org.db, route, now_s)) is not None:
        _end(org, row, Outcome.DEAD, "the route is not in wherry.toml", now_s)


def _end(org: Organization, row: Delivery, outcome: Outcome, text: str, now_s: float) -> None:
    deliveries.put(org.db, replace(row, state=outcome.value, ended_s=now_s, text=text))
    if outcome is Outcome.DELIVERED:
        alerting.arrived(org, row.alert)


def resend(org: Organization, delivery_id: int, who: str, reason: str, now_s: float) -> Delivery:
    """A dead message waits again, all its attempts anew. Raises NotFoundError, StateError."""
    row = deliveries.get(org.db, delivery_id)
    if row.state != Outcome.DEAD.value:
        raise StateError(f"delivery {delivery_id} is {row.state}; only a dead one is sent again")
    _route(org, row.route)
    again = replace(row, id=None, state=deliveries.WAITING, attempts=0, queued_s=now_s,
                    due_s=now_s, ended_s=None, text=f"again, was {delivery_id}")  # fmt: skip
    deliveries.put(org.db, again)
    org.record(now_s, who, "delivery.resend", str(delivery_id), reason, route=row.route)
    return deliveries.newest(org.db, 1)[0]


def try_route(org: Organization, name: str, who: str, now_s: float) -> int:
    """Queue a test message for one route; its delivery's id. Raises NotFoundError."""
    route = _route(org, name)
    body: dict[str, Any] = {"text": f"a test of route {name} by {who}", "severity": "info"}
    alerting.queue(org, route, Kind.TEST, body, now_s)
    org.record(now_s, who, "notify.test", name)
    return deliveries.newest(org.db, 1)[0].id or 0


def _route(org: Organization, name: str) -> Route:
    for route in org.routes:
        if route.name == name:
            return route
    known = ", ".join(route.name for route in org.routes) or "none"
    raise NotFoundError(f"route {name!r} is not in wherry.toml, known are: {known}")
