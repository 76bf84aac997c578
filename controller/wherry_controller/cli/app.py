"""The whole command: groups gathered, every mistake turned into one sentence and a status."""

from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer
from wherry_protocol.errors import Code, WherryError, error_of

from wherry_controller.cli.client import DATA_DIR, Access, use
from wherry_controller.cli.output import forget_json, show_error

# Where each command or group is, in the order of the help: the one that is asked for is imported,
# since all of them with what they stand on cost every call a second.
COMMANDS: Final = {
    "init": "house:init",
    "serve": "house:serve",
    "operator": "operator:app",
    "root": "root:app",
    "class": "hardware_class:app",
    "model": "model:app",
    "registry": "registry:app",
    "device": "device:app",
    "deploy": "rollout:deploy",
    "group": "group:app",
    "rollout": "rollout:app",
    "rollback": "rollout:rollback",
    "verify": "verify:verify",
    "drill": "verify:drill",
    "verification": "verify:verifications",
    "stop": "house:stop",
    "go": "house:go",
    "telemetry": "observe:telemetry",
    "alerts": "alerts:app",
    "notify": "notify:app",
    "metric": "metric:app",
    "baseline": "baseline:app",
    "report": "report:app",
    "compare": "baseline:compare",
    "analyze": "baseline:analyze",
    "audit": "observe:audit",
    "status": "observe:status",
    "doctor": "observe:doctor",
    "backup": "house:backup",
    "restore": "house:restore",
}
VALUED: Final = ("--server", "--token", "--data")  # options before the command that take a word


def app(names: Iterable[str] = tuple(COMMANDS)) -> typer.Typer:
    """The command with these of its commands and groups."""
    whole = typer.Typer(
        name="wherry",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    whole.callback()(_wherry)
    for name in names:
        module, _, attribute = COMMANDS[name].partition(":")
        found = getattr(import_module(f"wherry_controller.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            whole.add_typer(found, name=name)
        else:
            whole.command(name)(found)
    return whole


def asked_for(arguments: Sequence[str]) -> tuple[str, ...]:
    """The command that a line names, alone; all of them where it names none."""
    words = iter(arguments)
    for word in words:
        if word in COMMANDS:
            return (word,)
        if word in VALUED:
            next(words, None)
        elif not word.startswith(tuple(f"{option}=" for option in VALUED)):
            break
    return tuple(COMMANDS)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"wherry {version('wherry')}")
        raise typer.Exit


def _wherry(
    server: Annotated[
        str | None, typer.Option(envvar="WHERRY_SERVER", help="The controller's URL.")
    ] = None,
    token: Annotated[str | None, typer.Option(envvar="WHERRY_TOKEN", help="Your token.")] = None,
    data: Annotated[
        Path,
        typer.Option(envvar="WHERRY_DATA", help="The data directory, on the controller's machine."),
    ] = DATA_DIR,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Carries signed models to fleets of edge devices and keeps them healthy there."""
    use(Access(server, token, data))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit status of docs/CLI.md."""
    forget_json()
    command = typer.main.get_command(app(asked_for(arguments)))
    try:
        command.main(list(arguments), prog_name="wherry")
    except SystemExit as ended:  # typer's own: help, a mistake in the words, or the end
        return ended.code if isinstance(ended.code, int) else 0
    except WherryError as error:
        show_error(error)
        return error.exit_status
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        failure = error_of(Code.STORAGE, f"{place}{error.strerror or error}")
        show_error(failure)
        return failure.exit_status
    return 0
