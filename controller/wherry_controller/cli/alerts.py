"""`wherry alerts …`: what stands, who is at it, what is over."""

from enum import StrEnum
from typing import Annotated, Any

import typer
from wherry_protocol.errors import FailedError

from wherry_controller.cli.client import ask
from wherry_controller.cli.output import (
    JsonOption,
    ReasonOption,
    TargetOption,
    show,
    show_rows,
    time_text,
)
from wherry_controller.cli.references import split_reference

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
def explain(alert: IdArgument, json: JsonOption = False) -> None:
    """Show which rule fired, with its numbers, where they come from, and the figures.

    wherry alerts explain 1
    """
    found = ask("GET", f"/alerts/{alert}/explain")
    show(found, _explanation(found))


def _explanation(found: dict[str, Any]) -> str:
    lines = [f"{found['id']}: {found['text']}"]
    lines += [f"  rule: {found['rule']}"] if found["rule"] else []
    if budget := found.get("budget"):
        joules = "no energy" if budget["energy_uj"] is None else f"{budget['energy_uj']:g} uJ"
        lines.append(f"  budget: p95 {budget['latency_us_p95']} us, {joules}, of "
                     f"{budget['source']}")  # fmt: skip
    if baseline := found.get("baseline"):
        lines.append(
            f"  baseline: p95 {baseline['latency_us_p95']:.0f} us, {baseline['source']}, "
            f"{baseline['inferences']} inferences of {baseline['units']} units, applied by "
            f"{baseline['applied_by']} at {time_text(baseline['applied_s'])}: {baseline['reason']}"
        )
    lines += [
        f"  {time_text(row['window_s'])}: {row['inferences']} inferences, {row['errors']} errors, "
        f"p95 {row['latency_us_p95'] or 0:.0f} us"
        for row in found.get("windows", [])
    ]
    lines += [f"  {time_text(row['at_s'])} {row['action']} by {row['who']}: {row['reason']}"
              for row in found.get("rollout", [])]  # fmt: skip
    return "\n".join(lines)


@app.command()
def ready(
    target: TargetOption = "all",
    version: Annotated[
        str | None, typer.Option(help="NAME:VERSION whose figures must be there.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check that somebody is looking: fresh telemetry, limits, a tested route; status 18 if not.

    wherry alerts ready --target all
    """
    query = {"target": target}
    if version is not None:
        query["model"], query["version"] = split_reference(version)
    found = ask("GET", "/monitoring", query=query)
    wrong = _missing(found)
    show(found, "\n".join(wrong) or f"{found['units']} units are looked after")
    if wrong:
        raise FailedError(f"not ready: {'; '.join(wrong)}")


def _missing(found: dict[str, Any]) -> list[str]:
    names = {"stale": "report nothing", "without_rules": "have no hardware class here",
             "without_series": "have no figures of that version"}  # fmt: skip
    wrong = [f"{len(found[key])} units {text} (first {found[key][0]})"
             for key, text in names.items() if found[key]]  # fmt: skip
    wrong += [] if found["units"] else ["no unit is selected"]
    wrong += [] if found["has_route"] else ["no route takes critical alerts"]
    wrong += [] if found["is_tested"] else ["no self-test arrived within 30 days"]
    return wrong


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
