"""`wherry verify`, `wherry drill`: suites on devices, waited for, with a report."""

import json as jsonlib
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from wherry_protocol.errors import Code, FailedError, WherryError

from wherry_controller.cli.client import ask
from wherry_controller.cli.files import read_file, read_toml, write_file
from wherry_controller.cli.output import (
    JsonOption,
    ReasonOption,
    TargetOption,
    show,
    show_rows,
    time_text,
    working,
)

LOOK_S: Final = 0.5
SHOWN_MAX: Final = 50


class What(StrEnum):
    """What is verified: a suite on whatever serves, or a deployment."""

    SUITE = "suite"
    DEPLOYMENT = "deployment"


class Suite(StrEnum):
    """Suites, each with what the one before it looks at."""

    SMOKE = "smoke"
    INTEGRATION = "integration"
    PRODUCTION = "production"
    FULL = "full"


ModelOption = Annotated[str, typer.Option(help="This model; left out: each that serves.")]
WaitOption = Annotated[bool, typer.Option(help="Wait for the verdict.")]
ReportOption = Annotated[
    Path | None, typer.Option(help="Write a report here: Markdown, or JSON where it ends so.")
]
FileOption = Annotated[
    Path | None, typer.Option("--file", help="A rollout file; its trial counts in a drill.")
]


def verify(
    target: TargetOption,
    what: Annotated[What, typer.Argument(help="A suite, or a deployment.")] = What.SUITE,
    suite: Annotated[Suite, typer.Option(help="How much is looked at.")] = Suite.SMOKE,
    model: ModelOption = "",
    version: Annotated[
        str | None, typer.Option(help="Of a deployment: what must serve; left out: what shall.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="verification.json: limits of a deployment's figures.")
    ] = None,
    file: FileOption = None,
    reason: Annotated[str, typer.Option(help="Why; it is audited.")] = "",
    report: ReportOption = None,
    wait: WaitOption = True,
    json: JsonOption = False,
) -> None:
    """Verify what serves on devices, by a suite or against limits; exit status 18 if it fails.

    wherry verify --target all --suite smoke --model pump-anomaly
    """
    name = suite.value if what is What.SUITE else "deployment"
    body: dict[str, Any] = {"suite": name, "target": target, "model": model, "reason": reason}
    body |= {"version": version, "limits": {} if config is None else _limits(config)}
    body["plan"] = {} if file is None else read_toml(file, "rollout file")
    _run(body, report, wait)


def _limits(path: Path) -> Any:
    try:
        return jsonlib.loads(read_file(path, "verification.json"))
    except ValueError as error:
        raise WherryError(f"{path}: not JSON ({error})", Code.INVALID) from error


def drill(
    target: TargetOption,
    model: Annotated[str, typer.Option(help="The model's name.")],
    reason: ReasonOption,
    version: Annotated[
        str | None, typer.Option(help="Swap to this one; left out: the previous version.")
    ] = None,
    file: FileOption = None,
    report: ReportOption = None,
    wait: WaitOption = True,
    json: JsonOption = False,
) -> None:
    """Practise the way back: swap, roll back, verify; the drill is kept with how long it took.

    A device is refused while a rollout has it, while it is on its way back, until it has ended what
    it was assigned last, and where it did not take that.

    wherry drill --model pump-anomaly --target pump-17 --reason "monthly drill"
    """
    body: dict[str, Any] = {"suite": "drill", "target": target, "model": model, "reason": reason}
    body |= {"version": version, "plan": {} if file is None else read_toml(file, "rollout file")}
    _run(body, report, wait)


def _run(body: dict[str, Any], report: Path | None, wait: bool) -> None:
    made = ask("POST", "/verifications", body=body)
    path, outcome = f"/verifications/{made['id']}", made["outcome"]
    with working(f"{made['id']}: {len(made['units'])} units"):
        while wait and outcome == "running":
            time.sleep(LOOK_S)
            outcome = ask("GET", path, query={"is_brief": True})["outcome"]
    made = ask("GET", path) if wait else made
    text = report_text(made)
    if report is not None:
        is_json = report.suffix == ".json"
        content = jsonlib.dumps(made, indent=2, ensure_ascii=False) if is_json else text
        write_file(report, (content + "\n").encode())
    show(made, text)
    if made["outcome"] == "failed":
        bad = made["counts"].get("failed", 0)
        raise FailedError(f"{made['id']}: {bad} of {len(made['units'])} failed")


def report_text(made: dict[str, Any]) -> str:
    """A run as Markdown."""
    took = "" if made["duration_s"] is None else f", {made['duration_s']:.1f} s"
    counted = ", ".join(f"{count} {name}" for name, count in sorted(made["counts"].items()))
    lines = [
        f"# {made['suite']} {made['outcome']}: {made['target']}",
        "",
        f"{made['id']}, by {made['who']} at {time_text(made['began_s'])}{took}: {counted}",
    ]
    lines += [f"Reason: {made['reason']}"] if made["reason"] else []
    lines += ["", "| unit | class | model | digest | verdict | what was found |",
              "|---|---|---|---|---|---|"]  # fmt: skip
    lines += [_unit_line(unit) for unit in made["units"][:SHOWN_MAX]]
    if len(made["units"]) > SHOWN_MAX:
        lines.append(f"\n{len(made['units']) - SHOWN_MAX} more are in the JSON report.")
    return "\n".join(lines)


def _unit_line(unit: dict[str, Any]) -> str:
    steps = "; ".join(f"{s['step']} {s['verdict']}: {s['text']}" for s in unit["steps"])
    model = f"{unit['model']} {unit['version']}"
    found = (unit["unit"], unit["class"], model, unit["digest"][:12], unit["outcome"], steps)
    return f"| {' | '.join(text.replace('|', '/') for text in found)} |"


verifications = typer.Typer(help="Suites and drills that ran.")


@verifications.command("list")
def everything(json: JsonOption = False) -> None:
    """List runs of suites and drills, newest first.

    wherry verification list
    """
    rows = ask("GET", "/verifications")
    shown = rows if json else [row | {"began": time_text(row["began_s"])} for row in rows]
    columns = ("id", "target", "model", "outcome", "who", "began", "duration_s")
    show_rows(shown, columns, "nothing was verified yet")


@verifications.command("show")
def one(
    run: Annotated[str, typer.Argument(help="The run's id.")], json: JsonOption = False
) -> None:
    """Show a run: each unit, each step, and what was found.

    wherry verification show smoke-1
    """
    found = ask("GET", f"/verifications/{run}")
    show(found, report_text(found))
