"""`wherry telemetry …`, `wherry audit …`, `wherry status`, `wherry doctor`: what is going on."""

import json as json_format
from typing import Annotated, Any

import typer
from wherry_protocol.errors import Code, FailedError, TrustError

from wherry_controller.cli.client import ask, stream
from wherry_controller.cli.output import (
    JsonOption,
    printable,
    show,
    show_rows,
    time_text,
    wants_json,
)

telemetry = typer.Typer(help="Telemetry as it comes in.")
audit = typer.Typer(help="Who changed what, and why.")
DeviceOption = Annotated[str | None, typer.Option(help="Only this device.")]


@telemetry.command()
def tail(
    device: DeviceOption = None,
    count: Annotated[int, typer.Option(help="Stop after so many; 0: never.", min=0)] = 0,
    json: JsonOption = False,
) -> None:
    """Show reports and events as they are committed.

    wherry telemetry tail --device pump-17
    """
    rows = stream("/telemetry/tail", {"device": device} if device else None)
    for number, (_, row) in enumerate(rows, start=1):
        text = json_format.dumps(row) if wants_json() else printable(_row_text(row))
        print(text, flush=True)
        if number == count:
            return


@telemetry.command("list")
def newest(device: DeviceOption = None, json: JsonOption = False) -> None:
    """Show the newest performance windows per device and version.

    wherry telemetry list
    """
    rows = ask("GET", "/performance", query={"device": device} if device else None)
    columns = ("connection", "unit", "model", "version", "inferences", "errors",
               "latency_us_p95", "energy_uj")  # fmt: skip
    show_rows(rows, columns, "no telemetry yet")


def _row_text(row: dict[str, Any]) -> str:
    head = f"{time_text(row['received_s'])} {row['connection']}/{row['unit']}"
    if row["kind"] == "event":
        code = "" if row["code"] == "OK" else f" {row['code']}"
        return f"{head} {row['severity']} {row['event']}{code} {row['text']}".rstrip()
    return f"{head} {' '.join(filter(None, map(_figure, row['senml'])))}"


def _figure(record: dict[str, Any]) -> str:
    """`NAME=VALUE UNIT`, after its base name where it has one; sketches are left out."""
    value = record.get("v", record.get("vs", record.get("vb")))
    if value is None:
        return ""
    is_fraction = isinstance(value, float) and not value.is_integer()
    shown = (
        f"{value:.6g}" if is_fraction else str(int(value) if isinstance(value, float) else value)
    )
    unit = "" if record.get("u", "1") == "1" else f" {record['u']}"
    base = f"{record['bn']} " if "bn" in record else ""
    return f"{base}{record.get('n', '')}={shown}{unit}"


@telemetry.command()
def events(
    device: DeviceOption = None,
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=1000)] = 100,
    json: JsonOption = False,
) -> None:
    """Show the newest events of devices, oldest first.

    wherry telemetry events --device pump-17
    """
    query = {"limit": limit} | ({"device": device} if device else {})
    rows = ask("GET", "/events", query=query)
    shown = rows if json else [row | {"at": time_text(row["received_s"])} for row in rows]
    columns = ("at", "connection", "unit", "severity", "event", "code", "text")
    show_rows(shown, columns, "no events yet")


@audit.command()
def log(
    subject: Annotated[str | None, typer.Option(help="Only rows about this.")] = None,
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=10_000)] = 100,
    json: JsonOption = False,
) -> None:
    """Show the newest rows, oldest first.

    wherry audit log --limit 20
    """
    query = {"limit": limit} | ({"subject": subject} if subject else {})
    rows = ask("GET", "/audit", query=query)
    shown = rows if json else [row | {"at": time_text(row["at_s"])} for row in rows]
    show_rows(shown, ("id", "at", "who", "action", "subject", "reason"), "the log is empty")


@audit.command()
def verify(json: JsonOption = False) -> None:
    """Walk the hash chain; exit status 11 names the first row that does not fit.

    wherry audit verify
    """
    found = ask("GET", "/audit/verify")
    if not found["is_intact"]:
        raise TrustError(f"audit row {found['bad_id']}: {found['problem']}", Code.DIGEST)
    show(found, f"{found['count']} rows are intact, the last hash is {found['last_hash']}")


def status(json: JsonOption = False) -> None:
    """Show the fleet at a glance.

    wherry status
    """
    found = ask("GET", "/status")
    show(found, _status_text(found))


def _status_text(found: dict[str, Any]) -> str:
    units = ", ".join(f"{count} {health}" for health, count in found["units"].items())
    lines = [
        f"{found['organization']}, wherry {found['version']}, {time_text(found['now_s'])} UTC",
        f"  broker: {'connected' if found['link_is_up'] else 'NOT CONNECTED'}, "
        f"{found['outbox_due']} messages to go out",
        f"  units: {units or 'none'}",
        f"  open rollouts: {', '.join(found['open_rollouts']) or 'none'}",
    ]
    if found["winding_down"]:
        lines.append(f"  winding down: {', '.join(found['winding_down'])}")
    if found["is_stopped"]:
        lines.insert(1, "  STOPPED: no device installs anything until `wherry go`")
    lines += [
        f"  not believed: {row['count']} {reason}, last {time_text(row['last_s'])}: {row['last']}"
        for reason, row in found["dropped"].items()
    ]
    lines += [
        f"  {time_text(row['at_s'])} {row['severity']}: {row['text']}" for row in found["notices"]
    ]
    return "\n".join(lines)


def doctor(json: JsonOption = False) -> None:
    """Check broker, clock, keys, disk and database; exit status 18 if a check fails.

    wherry doctor
    """
    checks = ask("GET", "/doctor")
    lines = [f"{'pass' if c['passed'] else 'FAIL'}  {c['name']}: {c['text']}" for c in checks]
    show(checks, "\n".join(lines))
    failed = [c["name"] for c in checks if not c["passed"]]
    if failed:
        raise FailedError(f"{len(failed)} of {len(checks)} checks fail: {', '.join(failed)}")
