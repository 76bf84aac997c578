"""`wherry alerts …`: what stands, who is at it, what is over."""

from enum import StrEnum
from typing import Annotated, Any

import typer
from wherry_protocol.errors import FailedError

from wherry_controller.cli.client import ask
from wherry_controller.cli.output import JsonOption, ReasonOption, show, show_rows, time_text

app = typer.Typer(help="Alerts: what stands, who is at it, what is over.")
IdArgument = Annotated[int, typer.Argument(help="The alert's number.")]


class StateChoice(StrEnum):
    """States of an alert."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@app.command("list")
def newest(
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=1000)] = 10,
    state: Annotated[StateChoice | None, typer.Option(help="Only in this state.")] = None,
    json: JsonOption = False,
) -> None:
    """Show the newest alerts, newest first.

    wherry alerts list --limit 10 --state open
    """
    query = {"limit": limit} | ({"state": state.value} if state else {})
    rows = ask("GET", "/alerts", query=query)
    shown = rows if json else [row | _times(row) for row in rows]
    columns = ("id", "state", "severity", "cause", "count", "first", "last", "text")
    show_rows(shown, columns, "no alerts")


def _times(row: dict[str, Any]) -> dict[str, str]:
    return {"first": time_text(row["first_s"]), "last": time_text(row["last_s"])}


@app.command("show")
def one(alert: IdArgument, json: JsonOption = False) -> None:
    """Show an alert and who was told of it.

    wherry alerts show 1
    """
    found = ask("GET", f"/alerts/{alert}")
    show(found, _text(found))


def _text(found: dict[str, Any]) -> str:
    lines = [
        f"{found['id']}: {found['text']}",
        f"  {found['state']}, {found['severity']}, cause {found['cause']}, {found['count']} times "
        f"from {time_text(found['first_s'])} to {time_text(found['last_s'])}",
    ]
    if found["acknowledged_by"]:
        at = time_text(found["acknowledged_s"])
        lines.append(f"  acknowledged by {found['acknowledged_by']} at {at}: {found['reason']}")
    if found["resolved_by"]:
        at = time_text(found["resolved_s"])
        lines.append(f"  resolved by {found['resolved_by']} at {at}: {found['reason']}")
    lines += [
        f"  {row['kind']} by {row['route']}: {row['state']} {row['text']}".rstrip()
        for row in reversed(found["deliveries"])
    ]
    return "\n".join(lines)


@app.command()
def ack(alert: IdArgument, reason: ReasonOption, json: JsonOption = False) -> None:
    """Say that somebody is at it: it is not escalated further.

    wherry alerts ack 1 --reason "looking at it"
    """
    found = ask("POST", f"/alerts/{alert}/acknowledge", body={"reason": reason})
    show(found, _text(found))


@app.command()
def resolve(alert: IdArgument, reason: ReasonOption, json: JsonOption = False) -> None:
    """Say that it is over; the next breach raises another.

    wherry alerts resolve 1 --reason "new sensor"
    """
    found = ask("POST", f"/alerts/{alert}/resolve", body={"reason": reason})
    show(found, _text(found))


@app.command("test")
def self_test(json: JsonOption = False) -> None:
    """Send a breach that never was through guard and routes; exit status 18 if it does not arrive.

    wherry alerts test
    """
    found = ask("POST", "/alerts/test")
    told = [f"  {row['route']}: {row['kind']} {row['state']} {row['text']}".rstrip()
            for row in found["deliveries"]]  # fmt: skip
    none = "  no route in wherry.toml takes alerts: nobody would be told"
    head = f"alert {found['alert']['id']} was raised and is {found['alert']['state']}"
    show(found, "\n".join([head, *(told or [none])]))
    if not found["is_passed"]:
        late = [row["route"] for row in found["deliveries"] if row["state"] != "delivered"]
        raise FailedError(f"the self-test did not arrive: {', '.join(late) or 'no route'}")
