"""`wherry model compatibility|gates`: what the controller knows of a version in the registry."""

from typing import Annotated, Any

import typer
from wherry_protocol.errors import FailedError

from wherry_controller.cli.client import ask
from wherry_controller.cli.output import JsonOption, TargetOption, show, show_rows
from wherry_controller.cli.references import split_reference

Reference = Annotated[str, typer.Argument(help="NAME:VERSION, in the registry.")]


def compatibility(
    reference: Reference, target: TargetOption = "all", json: JsonOption = False
) -> None:
    """Show which units can run a version, and why the others cannot (asks the controller).

    wherry model compatibility pump-anomaly:1.0.0 --target all
    """
    name, version = split_reference(reference)
    rows = ask("GET", f"/bundles/{name}/{version}/compatibility", query={"target": target})
    columns = ("unit", "hardware_class", "agent_version", "engine_abi", "serving", "is_compatible",
               "why_not")  # fmt: skip
    show_rows(rows if json else [row | _told(row) for row in rows], columns, "no unit")


def _told(row: dict[str, Any]) -> dict[str, Any]:
    low, high = row["abi_min"], row["abi_max"]
    abi = "unknown" if low is None else f"{low}" if low == high else f"{low} to {high}"
    return {"engine_abi": abi, "why_not": "; ".join(one["text"] for one in row["reasons"])}


def gates(reference: Reference, json: JsonOption = False) -> None:
    """Show each release gate with its figure, limit and verdict (asks the controller).

    wherry model gates pump-anomaly:1.0.0
    """
    name, version = split_reference(reference)
    found = ask("GET", f"/bundles/{name}/{version}/gates")
    lines = [
        f"{'pass' if gate['is_passed'] else 'FAIL':<5}{gate['name']}: {gate['text']}"
        + (f" ({gate['override']})" if gate["override"] else "")
        for gate in found["gates"]
    ]
    show(found, "\n".join(lines))
    if not found["is_passed"]:
        failed = ", ".join(gate["name"] for gate in found["gates"] if not gate["is_passed"])
        raise FailedError(f"{name}:{version} does not pass: {failed}")
