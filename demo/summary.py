"""What the demo says at the end: a table for people, `report.json` for programs."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from demo.voyages import Voyage

SHORTENED = (
    "Soaks are seconds here (demo/rollouts/*.toml): the default canary takes a week, "
    "rolling waits 300 s between its stages."
)


def report(voyages: list[Voyage], consumed: dict[str, Any], machine: str) -> dict[str, Any]:
    """Everything that was seen, as JSON values."""
    return {
        "machine": machine,
        "went_well": all(voyage.went_well for voyage in voyages),
        "shortened": SHORTENED,
        "voyages": [
            {
                "name": voyage.name,
                "wanted": voyage.wanted,
                "happened": voyage.happened,
                "seconds": round(voyage.seconds, 1),
                "went_well": voyage.went_well,
                "evidence": voyage.evidence,
            }
            for voyage in voyages
        ],
        "telemetry": consumed,
    }


def show(told: dict[str, Any], path: Path) -> None:
    """Write the report and print it as tables."""
    path.write_text(json.dumps(told, indent=2) + "\n")
    console = Console(width=None if Console().is_terminal else 140)
    console.print(_voyage_table(told["voyages"]))
    console.print(_telemetry_table(told["telemetry"]["rows"]))
    console.print(f"{told['telemetry']['messages']} telemetry messages, read by a consumer that "
                  "uses nothing of ours.")  # fmt: skip
    console.print(told["shortened"])
    console.print(f"Everything in {path}")


def _voyage_table(voyages: list[dict[str, Any]]) -> Table:
    table = Table(title="What happened", title_justify="left")
    for column in ("voyage", "wanted", "happened", "s", ""):
        table.add_column(column, overflow="fold")
    for voyage in voyages:
        mark = "[green]as it should[/]" if voyage["went_well"] else "[red]OTHERWISE[/]"
        table.add_row(voyage["name"], voyage["wanted"], voyage["happened"],
                      f"{voyage['seconds']:.0f}", mark)  # fmt: skip
    return table


def _telemetry_table(rows: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="Latency and energy per device and version", title_justify="left")
    for column in ("device, model, version", "inferences", "errors", "p50 µs", "p95 µs",
                   "µJ each", "energy from"):  # fmt: skip
        table.add_column(column, justify="left" if column.startswith("device") else "right")
    for key, row in sorted(rows.items()):
        table.add_row(
            key,
            f"{row['inferences']:.0f}",
            f"{row['errors']:.0f}",
            _micro(row.get("latency.p50")),
            _micro(row.get("latency.p95")),
            _micro(row.get("energy.per_inference")),
            str(row.get("energy.source", row.get("energy.per_inference.unavailable", "-"))),
        )
    return table


def _micro(value: float | None) -> str:
    return "-" if value is None else f"{value * 1e6:.1f}"
