"""`wherry rollout checklist | tick | note | report`: what goes with a rollout."""

import json as jsonlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from wherry_controller.cli.client import ask
from wherry_controller.cli.files import write_file
from wherry_controller.cli.output import JsonOption, show
from wherry_controller.core.assurance.summary import summary_markdown

RolloutArgument = Annotated[str, typer.Argument(help="The rollout's id.")]
MARKS = {True: "[x]", False: "[!]", None: "[ ]"}


class Format(StrEnum):
    """How a report is written."""

    MD = "md"
    JSON = "json"


def checklist(rollout: RolloutArgument, json: JsonOption = False) -> None:
    """Show the checklist: what the rollout filled in, and what needs a person.

    wherry rollout checklist pump-anomaly-1.1.0-2
    """
    lines = ask("GET", f"/rollouts/{rollout}/checklist")
    show(lines, _text(lines))


def _text(lines: list[dict[str, Any]]) -> str:
    return "\n".join(
        f"{MARKS[one['is_done']]} {one['when']:<7} {one['item']}: {one['text']}: {one['found']}"
        for one in lines
    )


def tick(
    rollout: RolloutArgument,
    item: Annotated[str, typer.Argument(help="An item that needs a person.")],
    note: Annotated[str, typer.Option(help="What was done; it is audited.")],
    json: JsonOption = False,
) -> None:
    """Answer an item of the checklist that needs a person, under your name.

    wherry rollout tick pump-anomaly-1.1.0-2 procedure --note "read with the night shift"
    """
    body = {"item": item, "note": note}
    lines = ask("POST", f"/rollouts/{rollout}/ticks", body=body)
    show(lines, _text(lines))


def note(
    rollout: RolloutArgument,
    text: Annotated[str, typer.Argument(help="What is to be known.")],
    json: JsonOption = False,
) -> None:
    """Write an issue or a lesson down beside a rollout, under your name.

    wherry rollout note pump-anomaly-1.1.0-2 "pump 17 was restarted by hand"
    """
    done = ask("POST", f"/rollouts/{rollout}/notes", body={"text": text})
    show(done, f"{done['who']} noted on {done['rollout']}: {done['text']}")


def report(
    rollout: RolloutArgument,
    format: Annotated[Format, typer.Option(help="Markdown, or JSON.")] = Format.MD,
    output: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
    json: JsonOption = False,
) -> None:
    """Report a rollout: stages, devices, checks, overrides, incidents, notes, who did what.

    wherry rollout report pump-anomaly-1.1.0-2
    """
    found = ask("GET", f"/rollouts/{rollout}/report")
    text = summary_markdown(found)
    if format is Format.JSON:
        text = jsonlib.dumps(found, indent=2, ensure_ascii=False)
    if output is not None:
        write_file(output, (text + "\n").encode())
        text = f"{output} is written"
    show(found, text)
