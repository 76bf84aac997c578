"""`wherry notify …`: the routes to people, and every message on them."""

from enum import StrEnum
from typing import Annotated, Any

import typer
from wherry_protocol.errors import FailedError

from wherry_controller.cli.client import ask
from wherry_controller.cli.output import JsonOption, ReasonOption, show, show_rows, time_text

app = typer.Typer(help="Routes to people, and every message on them.")
IdArgument = Annotated[int, typer.Argument(help="The message's number.")]


class OutcomeChoice(StrEnum):
    """States of a message."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


@app.command()
def routes(json: JsonOption = False) -> None:
    """Show the routes of wherry.toml.

    wherry notify routes
    """
    rows = ask("GET", "/routes")
    shown = rows if json else [row | _summary(row) for row in rows]
    columns = ("name", "contact", "severity", "causes", "events", "by", "waiting", "escalate_to")
    show_rows(shown, columns, "no routes: nobody is told of anything")


def _summary(row: dict[str, Any]) -> dict[str, str]:
    return {
        "causes": ", ".join(row["causes"]) or "all",
        "events": ", ".join(row["events"]),
        "by": row["webhook"] or " ".join(row["command"]),
    }


@app.command("test")
def try_route(
    route: Annotated[str, typer.Argument(help="The route's name.")], json: JsonOption = False
) -> None:
    """Send a message by one route; exit status 18 if its first attempt fails.

    wherry notify test on-call
    """
    row = ask("POST", f"/routes/{route}/test")
    show(row, f"{row['id']}: {row['state']} {row['text']}")
    if row["state"] != "delivered":
        raise FailedError(f"route {route}: {row['text'] or 'not tried within 30 s'}")


@app.command("list")
def newest(
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=1000)] = 20,
    state: Annotated[OutcomeChoice | None, typer.Option(help="Only in this state.")] = None,
    json: JsonOption = False,
) -> None:
    """Show the newest messages, newest first.

    wherry notify list --state waiting
    """
    query = {"limit": limit} | ({"state": state.value} if state else {})
    _show(ask("GET", "/deliveries", query=query), json, "no messages")


@app.command()
def dead(json: JsonOption = False) -> None:
    """Show what was given up, newest first.

    wherry notify dead
    """
    _show(ask("GET", "/deliveries", query={"state": "dead"}), json, "nothing was given up")


def _show(rows: list[dict[str, Any]], is_json: bool, empty: str) -> None:
    shown = rows if is_json else [row | {"queued": time_text(row["queued_s"])} for row in rows]
    columns = ("id", "queued", "route", "kind", "alert", "rollout", "state", "attempts", "text")
    show_rows(shown, columns, empty)


@app.command("show")
def one(message: IdArgument, json: JsonOption = False) -> None:
    """Show a message, and each attempt to deliver it.

    wherry notify show 1
    """
    found = ask("GET", f"/deliveries/{message}")
    lines = [f"{found['id']}: {found['kind']} by {found['route']}, {found['state']}",
             f"  {found['payload'].get('text', '')}"]  # fmt: skip
    lines += [f"  {a['number']}. {time_text(a['at_s'])}: {a['text'] or 'under way'}"
              for a in found["tried"]]  # fmt: skip
    show(found, "\n".join(lines))


@app.command()
def resend(message: IdArgument, reason: ReasonOption, json: JsonOption = False) -> None:
    """Send a message again that was given up.

    wherry notify resend 1 --reason "their server is back"
    """
    row = ask("POST", f"/deliveries/{message}/resend", body={"reason": reason})
    show(row, f"{row['id']}: {row['state']}, was {message}")
