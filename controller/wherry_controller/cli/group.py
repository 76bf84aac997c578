"""`wherry group …`: names for parts of the fleet."""

from typing import Annotated

import typer

from wherry_controller.cli.client import ask
from wherry_controller.cli.output import JsonOption, ReasonOption, TargetOption, show, show_rows

app = typer.Typer(help="Name parts of the fleet: group:NAME is a target.")
NameArgument = Annotated[str, typer.Argument(help="The group's name.")]


@app.command()
def create(
    name: NameArgument,
    target: TargetOption,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Whoever matches at any time, and not those of now.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Name the units that a target selects; who joins a dynamic group gets what it runs.

    wherry group create presses --target label:line=press --dynamic
    """
    body = {"name": name, "target": target, "is_dynamic": dynamic}
    made = ask("POST", "/groups", body=body)
    show(made, f"group {name}: {len(made['units'])} units now")


@app.command("list")
def everyone(json: JsonOption = False) -> None:
    """List groups.

    wherry group list
    """
    show_rows(ask("GET", "/groups"), ("name", "target", "is_dynamic", "created_by"), "no groups")


@app.command("show")
def one(name: NameArgument, json: JsonOption = False) -> None:
    """Show a group: its units now, and what brought what it runs.

    wherry group show presses
    """
    found = ask("GET", f"/groups/{name}")
    kind = "dynamic" if found["is_dynamic"] else "static"
    lines = [f"{name}: {kind}, {found['target']}, {len(found['units'])} units"]
    lines += [f"  runs {model} by {rollout}" for model, rollout in found["runs"].items()]
    lines += [f"  {unit}" for unit in found["units"]]
    show(found, "\n".join(lines))


@app.command()
def delete(name: NameArgument, reason: ReasonOption, json: JsonOption = False) -> None:
    """Forget a group's name; what its units run stays.

    wherry group delete presses --reason "the line is gone"
    """
    show(ask("POST", f"/groups/{name}/delete", body={"reason": reason}), f"{name} is forgotten")
