"""Routes: which contact is told of what. They are `[[routes]]` in `wherry.toml`.

>>> [route] = routes_of([{"name": "lab", "contact": "ML team", "causes": ["drift"],
...                       "command": ["/usr/bin/page"]}], "wherry.toml")
>>> [r.name for r in chosen([route], Matter("alert.raised", "warning", "drift"))]
['lab']
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Final
from urllib.parse import urlsplit

from wherry_protocol.errors import Code, WherryError

from wherry_controller.core.notify.causes import CAUSES, SEVERITIES, Cause, rank
from wherry_controller.core.notify.kinds import Kind

NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
GROUPS: Final = frozenset(kind.value.partition(".")[0] for kind in Kind)
EVENTS: Final = GROUPS | {kind.value for kind in Kind}
ROUTES_MAX: Final = 64
BOUNDS: Final = {
    "timeout_s": (1, 60),
    "attempts_max": (1, 20),
    "escalate_after_s": (0, 7 * 86_400),
}


@dataclass(frozen=True, slots=True)
class Route:
    """One contact, and how it is reached: by `webhook` (signed with what `secret_file` holds) or
    by `command` (program and arguments, no shell). Empty `causes`: every cause."""

    name: str
    contact: str = ""
    severity: str = "warning"  # at least
    causes: tuple[str, ...] = ()
    events: tuple[str, ...] = ("alert",)
    webhook: str = ""
    secret_file: str = ""
    command: tuple[str, ...] = ()
    timeout_s: int = 10
    attempts_max: int = 8
    escalate_after_s: int = 900
    escalate_to: str = ""


@dataclass(frozen=True, slots=True)
class Matter:
    """What is to be told, as routes see it."""

    kind: str
    severity: str
    cause: str


def chosen(routes: Iterable[Route], matter: Matter) -> list[Route]:
    """The routes that take it. Severity and cause choose among alerts only."""
    return [route for route in routes if _takes(route, matter)]


def _takes(route: Route, matter: Matter) -> bool:
    group = matter.kind.partition(".")[0]
    if matter.kind not in route.events and group not in route.events:
        return False
    if group != "alert" or matter.cause == Cause.SELF_TEST.value:
        return True  # a self-test is for everybody who would be told of an alert
    is_grave = rank(matter.severity) >= rank(route.severity)
    return is_grave and (not route.causes or matter.cause in route.causes)


def routes_of(tables: Any, where: str) -> tuple[Route, ...]:
    """Raises WherryError(INVALID) naming the route, the key and what is allowed."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise _wrong(f"{where}: routes must be tables, written as [[routes]]")
    if len(tables) > ROUTES_MAX:
        raise _wrong(f"{where}: {len(tables)} routes, at most {ROUTES_MAX}")
    routes = tuple(_route(table, number, where) for number, table in enumerate(tables, 1))
    names = [route.name for route in routes]
    for route in routes:
        if names.count(route.name) > 1:
            raise _wrong(f"{where}: two routes have the name {route.name!r}")
        _check_escalation(route, {r.name: r for r in routes}, where)
    return routes


def _route(table: dict[str, Any], number: int, where: str) -> Route:
    name = table.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise _wrong(
            f"{where}: [[routes]] {number}: name {name!r}, must be 1..32 of a-z, 0-9 and '-'"
        )
    place = f"{where}: route {name}"
    known = {f.name: f.default for f in fields(Route)}
    for key, value in table.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise WherryError(f"{place}: unknown key {key!r}, {hint}", Code.UNKNOWN_FIELD)
        if key != "name":
            _check_type(key, value, known[key], place)
    values: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in table.items()
    }
    route = Route(**values)
    _check_words(route, place)
    _check_sink(route, place)
    return route


def _check_type(key: str, value: Any, default: Any, place: str) -> None:
    if isinstance(default, tuple):
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            raise _wrong(f"{place}: {key} must be a list of texts, is {value!r}")
    elif type(value) is not type(default):
        raise _wrong(f"{place}: {key}: {value!r}, must be of type {type(default).__name__}")
    low, high = BOUNDS.get(key, (0, 0))
    if key in BOUNDS and not low <= value <= high:
        raise _wrong(f"{place}: {key}: {value}, must be in {low}..{high}")


def _check_words(route: Route, place: str) -> None:
    if route.severity not in SEVERITIES:
        raise _wrong(f"{place}: severity {route.severity!r}, must be one of {SEVERITIES}")
    for key, words, known in (("causes", route.causes, CAUSES), ("events", route.events, EVENTS)):
        for word in words:
            if word not in known:
                raise _wrong(f"{place}: {key} {word!r}, known are {', '.join(sorted(known))}")


def _check_sink(route: Route, place: str) -> None:
    if bool(route.webhook) == bool(route.command):
        raise _wrong(f"{place}: give either webhook or command")
    if route.webhook:
        parts = urlsplit(route.webhook)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _wrong(f"{place}: webhook {route.webhook!r} is no http or https address")
        if not route.secret_file:
            raise _wrong(f"{place}: a webhook needs secret_file, the key that signs what is sent")
    elif not route.command[0].startswith("/"):
        raise _wrong(f"{place}: command {route.command[0]!r} must be an absolute path")


def _check_escalation(route: Route, routes: dict[str, Route], where: str) -> None:
    """The chain of escalations ends, and every link of it is there."""
    seen = [route.name]
    while route.escalate_to:
        if route.escalate_to not in routes:
            raise _wrong(
                f"{where}: route {route.name} escalates to {route.escalate_to!r}, which is no route"
            )
        if route.escalate_to in seen:
            raise _wrong(f"{where}: escalation goes in a circle: {' to '.join(seen)}")
        seen.append(route.escalate_to)
        route = routes[route.escalate_to]


def _wrong(text: str) -> WherryError:
    return WherryError(text, Code.INVALID)
