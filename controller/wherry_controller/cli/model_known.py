"""`wherry model compatibility`: what the controller knows of a version and its units."""

from typing import Annotated, Any

import typer

from wherry_controller.cli.client import ask
from wherry_controller.cli.output import JsonOption, TargetOption, show_rows
from wherry_controller.cli.registry import split_reference

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
