"""`wherry telemetry …`, `wherry audit …`, `wherry status`, `wherry doctor`: what is going on."""

import json as json_format
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from wherry_protocol.errors import Code, FailedError, TrustError

from wherry_controller.cli.client import ask, stream
from wherry_controller.cli.output import JsonOption, show, show_rows, wants_json

telemetry = typer.Typer(help="Telemetry as it comes in.")
audit = typer.Typer(help="Who changed what, and why.")
DeviceOption = Annotated[str | None, typer.Option(help="Only this device.")]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


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
        print(json_format.dumps(row) if wants_json() else _row_text(row), flush=True)
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
    head = f"{_time(row['received_s'])} {row['connection']}/{row['unit']}"
    if row["kind"] != "telemetry":
        return f"{head} {row.get('severity', '')} {row.get('text', '')}".rstrip()
    figures = []
    for record in row["pack"]:
        value = record.get("v", record.get("vs", record.get("vb")))
        if value is None:
            continue
        unit = f" {record['u']}" if "u" in record else ""
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)
        figures.append(f"{record.get('bn', '')}{record.get('n', '')}={shown}{unit}")
    return f"{head} {' '.join(figures)}"


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
    shown = rows if json else [row | {"at": _time(row["at_s"])} for row in rows]
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
    show(found, "\n".join(f"{key}: {value}" for key, value in found.items()))


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
