"""`wherry rollout plan`: what a rollout would do, cost and risk, before anybody is touched."""

from typing import Annotated, Any

import typer

from wherry_controller.cli.client import ask
from wherry_controller.cli.output import JsonOption, TargetOption, show
from wherry_controller.cli.references import split_reference
from wherry_controller.cli.rollout_plan import (
    BatchOption,
    FileOption,
    ParameterOption,
    PresetOption,
    StrategyOption,
    SubsetOption,
    plan_of,
)
from wherry_controller.core.spans import span_text

SHOWN_MAX = 10
Reference = Annotated[str, typer.Argument(help="NAME:VERSION.")]


def plan(
    reference: Reference,
    target: TargetOption,
    file: FileOption = None,
    strategy: StrategyOption = None,
    parameter: ParameterOption = None,
    preset: PresetOption = None,
    subset: SubsetOption = None,
    batch_size: BatchOption = None,
    json: JsonOption = False,
) -> None:
    """Show stages, times, bytes, and how many devices a harm would hurt before it stops.

    wherry rollout plan pump-anomaly:1.1.0 --target all --strategy canary
    """
    model, version = split_reference(reference)
    given = {"strategy": strategy, "preset": preset, "subset": subset, "parallel_max": batch_size}
    body = {
        "model": model,
        "version": version,
        "target": target,
        "plan": plan_of(file, given, parameter),
    }
    found = ask("POST", "/rollouts/preview", body=body)
    shown = found["outlook"] | {"stages": found["stages"], "must_pass": found["must_pass"]}
    lines = [outlook_text(found["outlook"]), *must_pass_lines(found["must_pass"])]
    show(shown, "\n".join(lines))


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count} devices"


def must_pass_lines(found: dict[str, Any]) -> list[str]:
    """Who is brought what first, and who is passed over, among those that were looked at."""
    lines = [f"  of the first {found['looked_at']} devices:"] if found["looked_at"] else []
    for versions in sorted({", ".join(versions) for versions in found["brings"].values()}):
        units = [unit for unit, first in found["brings"].items() if ", ".join(first) == versions]
        lines.append(
            f"  {_devices(len(units))} {'gets' if len(units) == 1 else 'get'} {versions} first:"
            f" {_some(units)}"
        )
    for reason in sorted(set(found["skips"].values())):
        units = [unit for unit, why in found["skips"].items() if why == reason]
        verb = "is" if len(units) == 1 else "are"
        lines.append(f"  {_devices(len(units))} {verb} passed over: {_some(units)}: {reason}")
    return lines


def _some(units: list[str]) -> str:
    more = f" and {len(units) - SHOWN_MAX} more" if len(units) > SHOWN_MAX else ""
    return ", ".join(units[:SHOWN_MAX]) + more


def outlook_text(outlook: dict[str, Any]) -> str:
    """Steps, the whole time, bytes, and the exposure, line by line."""
    lines = [f"{outlook['units']} devices, nothing is done yet"]
    for number, step in enumerate(outlook["steps"], start=1):
        when = "when somebody says so" if step["is_manual"] else "at the earliest"
        lines.append(
            f"  stage {number}: {step['action']} {_devices(step['added'] or step['opened'])}"
            f" ({step['share'] * 100:.4g} % of all),"
            f" after {span_text(step['opens_after_s'])} {when}"
        )
    lines.append(f"  expected: {span_text(outlook['expected_s'])}, if all goes well")
    load = outlook["load"]
    lines.append(
        f"  {load['publish_bytes']:,} bytes to the broker, once; {load['fetch_bytes']:,} from it,"
        f" at most {load['fetch_bytes_per_unit_max']:,} per device"
    )
    first, added = outlook["first"], load["first"]
    if first["units"]:
        lines.append(
            f"  of that for what is brought first to {_devices(first['units'])}:"
            f" {span_text(first['expected_s'])}; {added['publish_bytes']:,} bytes to the broker,"
            f" {added['fetch_bytes']:,} from it"
        )
    lines.append(
        f"  exposure to failing updates (a healthy version fails on {outlook['tolerated']:.2g};"
        f" the test alone stops it with a chance of at most {outlook['false_abort']:g}):"
    )
    lines += [
        f"    {one['harm']:.0%} fail: stopped in {one['stopped_share']:.0%} of the trials, at the"
        f" cost of {one['hurt_median']} failed devices (95 of 100: at most {one['hurt_p95']}),"
        f" {one['reached_median']} reached"
        for one in outlook["exposure"]
    ]
    return "\n".join(lines)
