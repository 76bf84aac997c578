"""`wherry baseline …`, `wherry compare`, `wherry analyze`: is it as it was, and if not, why."""

import json as json_format
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from wherry_protocol.errors import FailedError, WherryError

from wherry_controller.cli.client import ask
from wherry_controller.cli.files import read_text, write_file
from wherry_controller.cli.output import (
    JsonOption,
    ReasonOption,
    TargetOption,
    show,
    show_rows,
    time_text,
)

app = typer.Typer(help="What models did, to hold them to.")
NameArgument = Annotated[str, typer.Argument(help="A baseline's name.")]
OutputOption = Annotated[Path | None, typer.Option(help="Write it to this file too.")]
DurationOption = Annotated[
    float, typer.Option(help="Of the last so many seconds.", min=60, max=30 * 86_400)
]


class Metric(StrEnum):
    """What is analyzed."""

    PERFORMANCE = "performance"


@app.command()
def record(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    target: TargetOption,
    duration: DurationOption = 3600.0,
    output: OutputOption = None,
    json: JsonOption = False,
) -> None:
    """Record what a target did lately, one baseline per MAJOR version and hardware class.

    wherry baseline record pump-anomaly --target all --duration 3600 --output baseline.json
    """
    body = {"model": model, "target": target, "duration_s": duration}
    found = ask("POST", "/baselines", body=body)
    _write(output, found)
    lines = [f"{name}: {_text(one)}"
             for name, one in zip(found["names"], found["baselines"], strict=True)]  # fmt: skip
    show(found, "\n".join(lines))


def _write(path: Path | None, found: dict[str, Any]) -> None:
    if path is not None:
        kept = {"format": found["format"], "baselines": found["baselines"]}
        write_file(path, json_format.dumps(kept, indent=2).encode() + b"\n")


def _text(one: dict[str, Any]) -> str:
    latency, energy = one["latency_us"], one["energy_uj"]
    joules = "no energy" if energy["mean"] is None else (
        f"{energy['mean']:.4g} uJ ({energy['source']})")  # fmt: skip
    return (
        f"{one['inferences']} inferences of {one['units']} units, error rate "
        f"{one['error_rate']:.4g}, p50 {latency['p50']:.0f} p95 {latency['p95']:.0f} "
        f"p99 {latency['p99']:.0f} us, {joules}"
    )


@app.command("list")
def everything(
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    json: JsonOption = False,
) -> None:
    """List baselines, newest first, and which are applied.

    wherry baseline list
    """
    rows = ask("GET", "/baselines", query={"model": model} if model else None)
    shown = rows if json else [
        row | {"p95_us": row["latency_us"]["p95"], "recorded": time_text(row["recorded_s"])}
        for row in rows
    ]  # fmt: skip
    columns = ("name", "recorded", "versions", "units", "inferences", "error_rate", "p95_us",
               "is_applied")  # fmt: skip
    show_rows(shown, columns, "no baselines")


@app.command("show")
def one(name: NameArgument, output: OutputOption = None, json: JsonOption = False) -> None:
    """Show a baseline; with --output as a file that can be applied elsewhere.

    wherry baseline show pump-anomaly-1-linux-x86_64-1 --output baseline.json
    """
    found = ask("GET", f"/baselines/{name}")
    _write(output, found)
    show(found, _text(found["baselines"][0]))


@app.command()
def apply(
    baseline: Annotated[str, typer.Argument(help="A name, or a baseline file.")],
    reason: ReasonOption,
    dry_run: Annotated[bool, typer.Option(help="Only show what would change.")] = False,
    json: JsonOption = False,
) -> None:
    """Hold the standing guard to a baseline: it watches p95 latency against it.

    wherry baseline apply pump-anomaly-1-linux-x86_64-1 --reason "first week in the field"
    """
    names = [baseline]
    if Path(baseline).is_file():
        names = ask("POST", "/baselines/import", body={"file": _file(baseline)})["names"]
    if dry_run:
        found = [ask("GET", f"/baselines/{name}/preview") for name in names]
    else:
        found = [ask("POST", f"/baselines/{name}/apply", body={"reason": reason})
                 for name in names]  # fmt: skip
    show(found, "\n".join(map(_change_text, found)))


def _file(path: str) -> Any:
    """Raises WherryError where it is no JSON."""
    try:
        return json_format.loads(read_text(Path(path), "baseline"))
    except ValueError as error:
        raise WherryError(f"{path}: not JSON ({error})") from error


def _change_text(found: dict[str, Any]) -> str:
    head = f"{found['model']} {found['major']}.x on {found['class']}: "
    head += f"{found['before'] or 'no baseline'} -> {found['after'] or 'no baseline'}"
    lines = [f"  {t['name']}: {_number(t['before'])} -> {_number(t['after'])}"
             for t in found["thresholds"]]  # fmt: skip
    return "\n".join([head, *lines])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


@app.command()
def revert(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    major: Annotated[int, typer.Option(help="Its MAJOR version.", min=0)],
    hardware_class: Annotated[str, typer.Option("--class", help="The hardware class.")],
    reason: ReasonOption,
    json: JsonOption = False,
) -> None:
    """Take the last application back: the baseline before it holds again.

    wherry baseline revert pump-anomaly --major 1 --class linux-x86_64 --reason "a storm"
    """
    body = {"model": model, "major": major, "hardware_class": hardware_class, "reason": reason}
    found = ask("POST", "/baselines/revert", body=body)
    show(found, _change_text(found))


@app.command()
def changes(json: JsonOption = False) -> None:
    """Show what was applied and taken back, by whom and why.

    wherry baseline changes
    """
    rows = ask("GET", "/baselines/changes")
    shown = rows if json else [row | {"at": time_text(row["at_s"])} for row in rows]
    columns = ("model", "major", "hardware_class", "version", "baseline", "at", "who", "reason")
    show_rows(shown, columns, "no baseline was ever applied")


def compare(
    target: TargetOption,
    baseline: Annotated[str, typer.Option(help="A baseline's name, or a baseline file.")],
    duration: DurationOption = 3600.0,
    json: JsonOption = False,
) -> None:
    """Compare what a target does now with a baseline; exit status 18 where a metric is worse.

    wherry compare --target pump-17 --baseline baseline.json
    """
    body: dict[str, Any] = {"target": target, "duration_s": duration}
    body |= {"file": _file(baseline)} if Path(baseline).is_file() else {"name": baseline}
    found = ask("POST", "/compare", body=body)
    lines = []
    for one in found:
        lines.append(f"{one['model']} {one['major']}.x on {one['class']}, {one['units']} units, "
                     f"{one['inferences']} inferences")  # fmt: skip
        lines += [f"  {v['verdict']:<12} {v['metric']}: {v['text']}" for v in one["verdicts"]]
    show(found, "\n".join(lines))
    worse = sorted({v["metric"] for one in found for v in one["verdicts"]
                    if v["verdict"] == "worse"})  # fmt: skip
    if worse:
        raise FailedError(f"worse than the baseline: {', '.join(worse)}")


def analyze(
    target: TargetOption,
    metric: Annotated[Metric, typer.Option(help="What to explain.")] = Metric.PERFORMANCE,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    duration: DurationOption = 3600.0,
    json: JsonOption = False,
) -> None:
    """Show which devices, classes, versions, slots or rollouts carry a regression of latency.

    wherry analyze --target all --metric performance
    """
    query = {"target": target, "duration_s": duration} | ({"model": model} if model else {})
    show(found := ask("GET", "/analyze", query=query), _analysis_text(found))


def _analysis_text(found: dict[str, Any]) -> str:
    if found["excess"] is None:
        head = "nothing to compare with"
    else:
        head = f"mean latency {found['mean_us']:.0f} us against {found['reference_us']:.0f} us"
        head += f" ({found['excess']:+.1%})" + ("" if found["is_regression"] else ": no regression")
    lines = [head, *(f"  {scope}: {source}" for scope, source in found["references"].items())]
    for one in found["explanations"]:
        signs = f"; {', '.join(one['signs'])}" if one["signs"] else ""
        lines.append(
            f"  {one['excess_share']:.0%} of the excess, {one['inference_share']:.0%} of the "
            f"inferences: {one['dimension']} {one['name']} ({one['mean_us']:.0f} us against "
            f"{one['reference_us']:.0f}){signs}"
        )
    lines += [f"  not measured: {text}" for text in found["not_measured"].values()]
    return "\n".join(lines)
