"""`wherry device …`: enrolment, what devices report, configuration, isolation."""

from base64 import b64decode, b64encode
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from wherry_protocol.errors import Code, DecodeError, WherryError, error_of
from wherry_protocol.names import SELF

from wherry_controller.cli import simulation
from wherry_controller.cli.client import ask
from wherry_controller.cli.files import read_array, read_file, write_file
from wherry_controller.cli.output import (
    JsonOption,
    ReasonOption,
    TargetOption,
    show,
    show_rows,
    working,
)

app = typer.Typer(help="Enroll, list, show, configure, isolate and release devices.")
app.command()(simulation.simulate)
COLUMNS = ("id", "hardware_class", "is_online", "health", "models", "labels")
DeviceArgument = Annotated[str, typer.Argument(help="The device's name.")]


class Question(StrEnum):
    """What a unit may be asked."""

    STATUS = "status"
    INFER = "infer"
    VERIFY = "verify"
    LOGS = "logs"
    RESET_BREAKER = "reset-breaker"


UnitArgument = Annotated[str, typer.Argument(help="DEVICE or DEVICE/UNIT.")]


def unit_path(name: str) -> str:
    """DEVICE or DEVICE/UNIT as the API's path. Raises WherryError(INVALID)."""
    connection, _, unit = name.partition("/")
    if not connection or "/" in unit:
        raise WherryError(f"{name!r} must be DEVICE or DEVICE/UNIT")
    return f"/devices/{connection}/{unit or SELF}"


@app.command()
def enroll(
    request: Annotated[Path, typer.Argument(help="The file that `wherry-agent enroll` wrote.")],
    answer: Annotated[Path, typer.Option(help="Where to write the answer for the device.")],
    again: Annotated[bool, typer.Option(help="A new answer for an enrolled device.")] = False,
    json: JsonOption = False,
) -> None:
    """Enroll a device; carry the answer back to it.

    wherry device enroll pump-17.request --answer pump-17.answer
    """
    text = b64encode(read_file(request, "request")).decode()
    body = {"request": text, "is_again": again}
    try:
        made = ask("POST", "/devices", body=body)
    except DecodeError as error:
        raise DecodeError(f"{request}: {error}", error.code) from error
    write_file(answer, b64decode(made.pop("answer")))
    answer.chmod(0o600)  # it holds the device's broker password
    login = "" if made["broker_has_login"] else "; the broker has not read its login yet"
    show(made | {"output": str(answer)}, f"{made['connection']} is enrolled: {answer}{login}")


@app.command("list")
def everyone(target: TargetOption = "all", json: JsonOption = False) -> None:
    """List units.

    wherry device list --target label:site=oslo
    """
    rows = ask("GET", "/devices", query={"target": target})
    shown = rows if json else [row | _summary(row) for row in rows]
    empty = "no devices" if target == "all" else f"no unit is selected by {target!r}"
    show_rows(shown, COLUMNS, empty)


def _summary(row: dict[str, Any]) -> dict[str, str]:
    models = (f"{m['model']} {m['active_version'] or '-'} ({m['phase']})" for m in row["models"])
    labels = (f"{key}={value}" for key, value in row["labels"].items())
    return {"models": ", ".join(models) or "-", "labels": " ".join(labels) or "-"}


@app.command("show")
def one(name: UnitArgument, json: JsonOption = False) -> None:
    """Show a device: its units, their slots, what they last reported.

    wherry device show pump-17
    """
    found = ask("GET", f"/devices/{name.partition('/')[0]}")
    show(found, _device_text(found))


def _device_text(found: dict[str, Any]) -> str:
    online = "online" if found["is_online"] else "offline"
    lines = [f"{found['name']}: {online}, enrolled by {found['enrolled_by']}"]
    for unit in found["units"]:
        lines.append(f"  {unit['id']} ({unit['hardware_class']}): {unit['health']}")
        lines += _distrust(unit)
        lines += [
            f"    {model['model']}: active {model['active_version'] or '-'}, "
            f"previous {model['previous_version'] or '-'}, {model['phase']}, "
            f"last {model['outcome']} {model['reason'] or ''}".rstrip()
            for model in unit["models"]
        ]
        lines += [
            f"    wanted: {wanted['model']} {wanted['version']} "
            f"by {wanted['rollout'] or wanted['owner']}"
            for wanted in unit["assignments"]
        ]
    return "\n".join(lines)


def _distrust(unit: dict[str, Any]) -> list[str]:
    """What it last refused of us, and whether it has heard nothing for too long."""
    lines = ["    trust is stale"] if unit["is_trust_stale"] else []
    if unit["refusal_code"] != "OK":
        lines.append(f"    refused: {unit['refusal_code']}: {unit['refusal']}")
    return lines


@app.command()
def configure(
    target: TargetOption,
    performance_s: Annotated[int | None, typer.Option(help="Seconds between reports.")] = None,
    resources_s: Annotated[int | None, typer.Option(help="Seconds between figures.")] = None,
    json_mirror: Annotated[bool | None, typer.Option(help="Also send telemetry as JSON.")] = None,
    chunk_window: Annotated[int | None, typer.Option(help="Chunks asked for at a time.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE (repeat).")] = None,
    json: JsonOption = False,
) -> None:
    """Change intervals, mirror, chunk window or labels; what is left out stays.

    wherry device configure --target all --performance-s 10
    """
    changes: dict[str, Any] = {
        "performance_s": performance_s,
        "resources_s": resources_s,
        "json_mirror": json_mirror,
        "chunk_window": chunk_window,
        "labels": _labels(label) if label else None,
    }
    changes = {key: value for key, value in changes.items() if value is not None}
    if not changes:
        raise WherryError("nothing to change: give at least one option besides --target")
    units = [row["id"] for row in ask("GET", "/devices", query={"target": target})]
    for unit in units:
        ask("PATCH", unit_path(unit), body=changes)
    show({"configured": units, "changes": changes}, f"{len(units)} units are configured")


def _labels(given: list[str]) -> dict[str, str]:
    labels = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise WherryError(f"label {text!r} must be KEY=VALUE")
        labels[key] = value
    return labels


@app.command("ask")
def question(
    name: UnitArgument,
    verb: Annotated[Question, typer.Argument(help="What to ask.")],
    model: Annotated[str, typer.Option(help="Of this model; not for status and logs.")] = "",
    input: Annotated[
        Path | None, typer.Option(help="One sample (.npy, int8 steps); for infer.")
    ] = None,
    count: Annotated[int, typer.Option(help="How many; for logs.", min=1, max=200)] = 50,
    reason: Annotated[str, typer.Option(help="Why; it is audited.")] = "",
    json: JsonOption = False,
) -> None:
    """Ask a unit that is online, and wait for its answer.

    wherry device ask pump-17 verify --model pump-anomaly
    """
    body: dict[str, Any] = {"verb": verb.name.lower(), "model": model, "count": count}
    body["reason"] = reason
    if input is not None:
        body["input"] = b64encode(read_array(input).tobytes()).decode()
    with working(f"asking {name}"):
        told = ask("POST", f"{unit_path(name)}/ask", body=body)
    if told["code"] != "OK":
        raise error_of(Code[told["code"]], f"{told['unit']}: {told['text'] or told['code']}")
    lines = [f"{told['unit']} answered after {told['round_trip_s']:.2f} s"]
    lines += [f"  {told['text']}"] if told["text"] else []
    show(told, "\n".join([*lines, *_answer_lines(told["body"] or {})]))


def _answer_lines(body: dict[str, Any]) -> list[str]:
    """Tables by name, lists line by line, anything else as it is."""
    lines: list[str] = []
    for key, value in body.items():
        if isinstance(value, dict):
            lines += [f"  {name}: {value[name]}" for name in sorted(value)]
        elif isinstance(value, list):
            lines += [f"  {row}" for row in value]
        else:
            lines.append(f"  {key}: {value}")
    return lines


@app.command()
def isolate(name: UnitArgument, reason: ReasonOption, json: JsonOption = False) -> None:
    """Take a unit out of service and out of every rollout; it still reports.

    wherry device isolate pump-17 --reason "smells burnt"
    """
    ask("POST", f"{unit_path(name)}/isolate", body={"reason": reason})
    show({"unit": name, "is_isolated": True}, f"{name} is isolated")


@app.command()
def release(name: UnitArgument, reason: ReasonOption, json: JsonOption = False) -> None:
    """Let an isolated unit serve again.

    wherry device release pump-17 --reason "new fan"
    """
    ask("POST", f"{unit_path(name)}/release", body={"reason": reason})
    show({"unit": name, "is_isolated": False}, f"{name} serves again")


@app.command()
def revoke(name: DeviceArgument, reason: ReasonOption, json: JsonOption = False) -> None:
    """Believe a device no more, for ever; its broker login ends.

    wherry device revoke pump-17 --reason "stolen"
    """
    done = ask("POST", f"/devices/{name}/revoke", body={"reason": reason})
    show(done, f"{name} is revoked")
