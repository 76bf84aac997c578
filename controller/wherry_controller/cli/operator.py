"""`wherry operator …`: who may do what."""

from enum import StrEnum
from typing import Annotated

import typer

from wherry_controller.cli.client import ask
from wherry_controller.cli.output import JsonOption, ReasonOption, show, show_rows

app = typer.Typer(help="Add, list and disable operators.")
NameArgument = Annotated[str, typer.Argument(help="The operator's name.")]


class RoleName(StrEnum):
    """The roles, each including the ones before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"


@app.command()
def add(
    name: NameArgument,
    role: Annotated[RoleName, typer.Option(help="What they may do.")],
    json: JsonOption = False,
) -> None:
    """Add an operator and print their token, once.

    wherry operator add bob --role viewer
    """
    made = ask("POST", "/operators", body={"name": name, "role": role.value})
    show(made, f"{name} is {role.value}; token (it cannot be shown again): {made['token']}")


@app.command("list")
def everyone(json: JsonOption = False) -> None:
    """List operators.

    wherry operator list
    """
    show_rows(ask("GET", "/operators"), ("name", "role", "is_disabled"), "no operators")


@app.command()
def disable(name: NameArgument, reason: ReasonOption, json: JsonOption = False) -> None:
    """End an operator's token.

    wherry operator disable bob --reason "left the team"
    """
    show(
        ask("POST", f"/operators/{name}/disable", body={"reason": reason}),
        f"{name} is disabled",
    )
