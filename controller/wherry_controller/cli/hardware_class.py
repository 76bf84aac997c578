"""`wherry class …`: hardware classes."""

from pathlib import Path
from typing import Annotated, Any

import typer
from wherry_protocol.codec import from_plain, to_plain
from wherry_protocol.hardware import HardwareClass

from wherry_controller.cli.client import ask
from wherry_controller.cli.files import read_toml
from wherry_controller.cli.output import JsonOption, show, show_rows

app = typer.Typer(help="List, show and add hardware classes.")
NameArgument = Annotated[str, typer.Argument(help="The class's name.")]
COLUMNS = ("name", "architecture", "memory_budget_bytes", "latency_us_max", "energy_uj_max")


@app.command("list")
def everyone(json: JsonOption = False) -> None:
    """List hardware classes.

    wherry class list
    """
    show_rows(ask("GET", "/classes"), COLUMNS, "no classes")


@app.command("show")
def one(name: NameArgument, json: JsonOption = False) -> None:
    """Show one hardware class as the TOML that `add` reads.

    wherry class show linux-arm64
    """
    profile = ask("GET", f"/classes/{name}")
    show(profile, _toml(profile))


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="A profile (TOML).")], json: JsonOption = False
) -> None:
    """Add a hardware class, or change the one of that name.

    wherry class add pump-board.toml
    """
    profile = read_class(file)
    kept = ask("PUT", f"/classes/{profile.name}", body=to_plain(profile))
    show(kept, f"class {profile.name} is kept")


def read_class(path: Path) -> HardwareClass:
    """The profile in a TOML file. Raises what `read_toml` raises, and DecodeError."""
    return from_plain(HardwareClass, read_toml(path, "class"), str(path))


def _toml(profile: dict[str, Any]) -> str:
    energy = profile.get("energy_model")
    flat = {key: value for key, value in profile.items() if key != "energy_model"}
    lines = [_line(key, value) for key, value in flat.items() if value is not None]
    if energy:
        lines += ["", "[energy_model]"]
        lines += [_line(key, value) for key, value in energy.items() if value is not None]
    return "\n".join(lines)


def _line(key: str, value: Any) -> str:
    return f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}"
