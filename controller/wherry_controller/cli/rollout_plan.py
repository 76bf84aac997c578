"""Options that say how a rollout goes: a rollout file, and what is given beside it."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from wherry_controller.cli.files import read_toml

STRATEGY_HELP = "direct, rolling, canary, linear, pilot, blue-green, shadow or ab."
StrategyOption = Annotated[str | None, typer.Option(help=STRATEGY_HELP)]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option("--parameter", help="NAME=VALUE of the strategy, like increment=10%; repeat it."),
]
PresetOption = Annotated[
    str | None, typer.Option(help="Gate: conservative, balanced or aggressive (the tolerant one).")
]
SubsetOption = Annotated[str | None, typer.Option(help="Part of the target, like 25%.")]
FileOption = Annotated[Path | None, typer.Option("--file", help="A rollout file (TOML).")]
AttemptOption = Annotated[
    int | None,
    typer.Option(help="1, 2, …: try again where it failed before.", min=1, max=1_000_000),
]
BatchOption = Annotated[
    int | None,
    typer.Option("--batch-size", help="Devices under way at a time; 0: all.", min=0, max=1_000_000),
]
ChunkWindowOption = Annotated[
    int | None,
    typer.Option(
        help="Chunks that a device asks for at a time, at most; 0: its own.", min=0, max=8
    ),
]
OnCallOption = Annotated[str | None, typer.Option(help="Whom to call about it.")]
NotesOption = Annotated[str | None, typer.Option(help="What is to be known about it.")]
AcknowledgeOption = Annotated[
    bool, typer.Option("--acknowledge-notes", help="You read the release notes of a new MAJOR.")
]
EmergencyOption = Annotated[
    bool, typer.Option("--emergency", help="No dwell and no approval; audited, all are told.")
]
NotBeforeOption = Annotated[
    str | None, typer.Option(help="No device serves it before, like 2026-12-01T02:00:00Z.")
]
NotAfterOption = Annotated[
    str | None, typer.Option(help="Nor begins to after, like 2026-12-20T00:00:00Z.")
]
AfterOption = Annotated[
    str | None, typer.Option(help="A rollout's id: start when it has succeeded.")
]
ForceOption = Annotated[
    list[str] | None, typer.Option(help="A precondition that may fail (repeat); for an admin.")
]


def plan_of(
    file: Path | None, given: dict[str, Any], parameters: list[str] | None = None
) -> dict[str, Any]:
    """The file's table with the options given beside it. Raises what `read_toml` raises."""
    table = {} if file is None else read_toml(file, "rollout file")
    table = {key: _text_of_times(value) for key, value in table.items()}
    table |= {key: value for key, value in given.items() if value is not None}
    if parameters:
        table["parameters"] = table.get("parameters", {}) | dict(map(_parameter, parameters))
    return table


def _text_of_times(value: Any) -> Any:
    """TOML's times as texts, which JSON can carry."""
    if isinstance(value, dict):
        return {key: _text_of_times(item) for key, item in value.items()}
    return value.isoformat() if isinstance(value, datetime) else value


def _parameter(text: str) -> tuple[str, str | float]:
    name, sign, value = text.partition("=")
    if not sign:
        raise typer.BadParameter(f"--parameter {text}: must be NAME=VALUE")
    try:
        return name, float(value)
    except ValueError:
        return name, value
