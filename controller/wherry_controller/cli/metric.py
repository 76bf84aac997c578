"""`wherry metric …`: figures that Wherry does not measure, pushed for gates to look at."""

from typing import Annotated

import typer

from wherry_controller.cli.client import ask
from wherry_controller.cli.output import JsonOption, show, show_rows, time_text

app = typer.Typer(help="Figures of your own, for the gates of rollouts.")
NAME_HELP = "As in the rule of a rollout file, like complaints."


@app.command(context_settings={"ignore_unknown_options": True})
def push(
    name: Annotated[str, typer.Argument(help=NAME_HELP)],
    value: Annotated[float, typer.Argument(help="A number.")],
    unit: Annotated[str | None, typer.Option(help="Of this unit, like pump-17/self.")] = None,
    target: Annotated[str | None, typer.Option(help="Of the units of a selector.")] = None,
    rollout: Annotated[str | None, typer.Option(help="For this rollout only.")] = None,
    json: JsonOption = False,
) -> None:
    """Push a sample; rollouts that have a rule of this name look at it.

    wherry metric push complaints 3 --target label:site=oslo
    """
    body = {"name": name, "value": value, "unit": unit, "target": target, "rollout": rollout}
    show(ask("POST", "/custom-metrics", body=body), f"{name} {value:g} is noted")


@app.command("list")
def newest(
    name: Annotated[str | None, typer.Option(help="Only this figure.")] = None,
    json: JsonOption = False,
) -> None:
    """Show the newest samples, who pushed them, and what for.

    wherry metric list --name complaints
    """
    rows = ask("GET", "/custom-metrics", query={"name": name} if name else None)
    shown = rows if json else [row | {"at": time_text(row["at_s"])} for row in rows]
    columns = ("at", "name", "value", "scope", "subject", "pushed_by")
    show_rows(shown, columns, "no samples yet")
