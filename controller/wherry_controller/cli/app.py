"""The whole command: groups gathered, every mistake turned into one sentence and a status."""

from collections.abc import Sequence

import typer
from wherry_protocol.errors import WherryError

from wherry_controller.cli import model
from wherry_controller.cli.output import forget_json, show_error

app = typer.Typer(
    name="wherry",
    help="Carries signed models to fleets of edge devices and keeps them healthy there.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(model.app, name="model")


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit status of docs/CLI.md."""
    forget_json()
    command = typer.main.get_command(app)
    try:
        command.main(list(arguments), prog_name="wherry")
    except SystemExit as ended:  # typer's own: help, a mistake in the words, or the end
        return ended.code if isinstance(ended.code, int) else 0
    except WherryError as error:
        show_error(error)
        return error.exit_status
    return 0
