"""The command line as Markdown: every command with its words, options and example.

The commands' own help texts are the source: a first paragraph that says what, then an example that
starts with `wherry`.
"""

import inspect
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final

import typer
from wherry_controller.cli.app import app
from wherry_protocol import errors

PROGRAM: Final = "wherry"
VALUES: Final = {Path: "FILE", int: "N", float: "X"}


def commands(group: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(`wherry …`, command) of every command that does something, in the order of the help."""
    group = typer.main.get_command(app()) if group is None else group
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((PROGRAM, *words, name)), command


def paragraphs(command: Any) -> list[str]:
    """The help's paragraphs, each on one line."""
    text = inspect.cleandoc(command.help or "")
    return [" ".join(part.split()) for part in text.split("\n\n")]


def example(command: Any) -> str:
    """The command line that the help shows."""
    return next((text for text in paragraphs(command) if text.startswith(f"{PROGRAM} ")), "")


def option_text(parameter: Any) -> str:
    """`--name TEXT`, `--this / --that`, or `NAME`."""
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`"
    names = ", ".join(parameter.opts)
    if parameter.secondary_opts:
        return f"`{names} / {', '.join(parameter.secondary_opts)}`"
    if parameter.is_flag:
        return f"`{names}`"
    kind = parameter.type_descriptor.annotation
    if inspect.isclass(kind) and issubclass(kind, Enum):
        return f"`{names} {'|'.join(member.value for member in kind)}`"
    return f"`{names} {VALUES.get(kind, 'TEXT')}`"


def meaning(parameter: Any) -> str:
    """Its help, and whether it must be given or what it is otherwise."""
    told = (getattr(parameter, "help", None) or "").strip()
    default = parameter.default
    if parameter.required:
        told = f"{told} Required." if parameter.param_type_name == "option" else told
    elif not callable(default) and default not in (None, "", False, True, [], ()):
        shown = getattr(default, "value", default)
        told = f"{told} Default: `{shown}`."
    if getattr(parameter, "envvar", None):
        told = f"{told} Environment: `{parameter.envvar}`."
    return told.replace("|", "\\|").strip()


def parameter_rows(command: Any, left_out: tuple[str, ...] = ()) -> list[str]:
    """A table of what the command takes; `--json` and `--help` are everywhere."""
    rows = [
        f"| {option_text(p).replace('|', chr(92) + '|')} | {meaning(p)} |"
        for p in command.params
        if p.name not in ("json", "help", *left_out)
    ]
    return ["| | |", "|---|---|", *rows, ""] if rows else []


def reference() -> str:
    """The generated part `cli` of docs/CLI.md."""
    completion = ("install_completion", "show_completion")
    lines = ["### Before the command", "", *parameter_rows(
        typer.main.get_command(app()), completion
    )]  # fmt: skip
    for name, command in commands():
        lines += [f"### `{name}`", "", paragraphs(command)[0], ""]
        lines += parameter_rows(command)
        if example(command):
            lines += ["```", example(command), "```", ""]
    return "\n".join(lines)


def exit_statuses() -> str:
    """The generated part `exit-statuses`: one row per family of errors."""
    families = [errors.WherryError, *errors.WherryError.__subclasses__()]
    own = [cls for cls in families if cls.__module__ == errors.__name__]
    rows = [
        f"| {cls.exit_status} | `{cls.default_code.name.lower()}` | {_first_line(cls)} |"
        for cls in sorted(own, key=lambda cls: cls.exit_status)
    ]
    return "\n".join(
        ["| status | usual code | |", "|---|---|---|", "| 0 | | It is done. |", rows[0],
         "| 2 | | The words of the command are wrong; its help says which. |", *rows[1:],
         "| 130 | | Ended by Ctrl-C; a watched rollout goes on. |", "", ""]
    )  # fmt: skip


def _first_line(cls: type[errors.WherryError]) -> str:
    if cls is errors.WherryError:
        return "Any other mistake of the operator's."
    return (inspect.getdoc(cls) or "").split("\n")[0]
