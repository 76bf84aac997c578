"""`wherry report …`: the fleet on a page, and rollouts that are watched after their end."""

import json as json_format
from pathlib import Path
from typing import Annotated

import typer

from wherry_controller.cli.client import ask, download
from wherry_controller.cli.files import write_file
from wherry_controller.cli.output import JsonOption, show, show_rows, time_text, wants_json

app = typer.Typer(help="The fleet on a page; rollouts after their end.")


@app.command()
def fleet(
    output: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
    json: JsonOption = False,
) -> None:
    """Show health, figures per version, rollouts and alerts, as Markdown or as JSON.

    wherry report fleet --output fleet.md
    """
    if wants_json():
        text = json_format.dumps(ask("GET", "/reports/fleet"), indent=2, ensure_ascii=False)
    else:
        text = download("/reports/fleet?format=markdown").decode()
    if output is None:
        print(text.rstrip("\n"))
    else:
        write_file(output, text.encode())
        show({"output": str(output)}, f"written to {output}")


@app.command()
def kept(
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=400)] = 10,
    json: JsonOption = False,
) -> None:
    """Show the reports that were made on schedule ([alerts] report_s), newest first.

    wherry report kept
    """
    rows = ask("GET", "/reports/kept", query={"limit": limit})
    shown = rows if json else [
        {"at": time_text(row["at_s"]), "units": sum(row["units"].values()),
         "ok": row["units"].get("ok", 0), "open_alerts": row["alerts"]["open"]} for row in rows
    ]  # fmt: skip
    show_rows(shown, ("at", "units", "ok", "open_alerts"), "no report was made on schedule")


@app.command()
def watched(
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=400)] = 10,
    json: JsonOption = False,
) -> None:
    """Show rollouts that are watched after their end, with the newest verdicts.

    wherry report watched
    """
    rows = ask("GET", "/reports/watched", query={"limit": limit})
    shown = rows if json else [
        {"rollout": row["rollout"], "state": row["state"], "until": time_text(row["until_s"]),
         "class": name, **{key: v.get(key, "") for key in ("metric", "verdict", "text")}}
        for row in rows
        for name, verdicts in (row["document"].get("classes") or {"-": [{}]}).items()
        for v in verdicts or [{"verdict": "not compared"}]
    ]  # fmt: skip
    columns = ("rollout", "state", "until", "class", "metric", "verdict", "text")
    show_rows(shown, columns, "no rollout was watched")
