"""Watching a rollout: a screen that an operator leaves open, or one line per change in a log."""

import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text
from wherry_protocol.errors import UnreachableError

from wherry_controller.cli.client import stream
from wherry_controller.cli.output import printable, time_text, wants_json
from wherry_controller.cli.rollout_view import headline, rollout_text

AWAY_S_MAX: Final = 60.0
RETRY_S: Final = 1.0
INTERRUPTED: Final = 130  # what a shell reports of a program that SIGINT ended
COLOURS: Final = {
    r"(?m)^  pass\b": "green",
    r"(?m)^  fail\b|^  (failed|silent|not back|skipped):": "red",
    r"(?m)^  inconclusive\b": "yellow",
    r"(?<=\[)#+": "green",
    r"x+(?=[x.>]*\])": "red",
    r"\[\d\S* % \(\d+\)\]": "bold",
    r"(?m)^  ends in .*": "dim",
}


def watched(rollout_id: str) -> dict[str, Any]:
    """Show the rollout as it goes, until nothing goes on or it pauses; its last view."""
    console = Console(stderr=True)
    try:
        if console.is_terminal and not wants_json():
            return _on_screen(console, rollout_id)
        return _as_lines(rollout_id)
    except KeyboardInterrupt:
        print(f"wherry: rollout {rollout_id} goes on; `wherry rollout watch {rollout_id}` is the "
              "way back to it", file=sys.stderr)  # fmt: skip
        raise typer.Exit(INTERRUPTED) from None


def _on_screen(console: Console, rollout_id: str) -> dict[str, Any]:
    last: dict[str, Any] = {}
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for view, problem in _views(rollout_id):
            last = view or last
            live.update(_screen(last, problem), refresh=True)
    return last


def _screen(view: dict[str, Any], problem: str) -> Text:
    shown = Text(printable(rollout_text(view)) if view else "")
    for pattern, style in COLOURS.items():
        shown.highlight_regex(pattern, style)
    foot = f"\n  {time_text(time.time())} UTC, Ctrl-C leaves it running"
    if problem:
        foot = f"\n  {printable(problem)}; trying again"
    return shown.append(foot, "red" if problem else "dim")


def _as_lines(rollout_id: str) -> dict[str, Any]:
    last: dict[str, Any] = {}
    line = ""
    for view, problem in _views(rollout_id):
        last = view or last
        news = printable(problem or headline(last))
        if news != line and not wants_json():
            print(news, file=sys.stderr, flush=True)
        line = news
    return last


def _views(rollout_id: str) -> Iterator[tuple[dict[str, Any], str]]:
    """(view, "") at every change until it ends or pauses; ({}, problem) while nobody answers.

    A controller that starts again within AWAY_S_MAX is not the end of a watch.
    """
    answered_s = time.monotonic()
    while True:
        try:
            for _, view in stream(f"/rollouts/{rollout_id}/watch"):
                answered_s = time.monotonic()
                yield view, ""
                is_live = view["is_open"] or view["is_winding_down"]
                if not is_live or view["state"] == "paused":
                    return
            problem = UnreachableError("the controller ended the stream")
        except UnreachableError as error:
            problem = error
        if time.monotonic() - answered_s > AWAY_S_MAX:
            raise problem
        yield {}, str(problem)
        time.sleep(RETRY_S)
