"""A baseline as a document: what `baseline.json` holds, and what the store keeps.

The latency sketch goes with it, so that a later comparison has the whole distribution.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from wherry_protocol import sketch
from wherry_protocol.errors import Code, DecodeError, WherryError
from wherry_protocol.names import HARDWARE_CLASS, MODEL, check_name

from wherry_controller.core.baselines.summary import FIGURES, Summary
from wherry_controller.core.statistics import Moments

FORMAT: Final = "wherry-baseline-1"
BASELINES_MAX: Final = 256  # per file


@dataclass(frozen=True, slots=True)
class Baseline:
    """A summary, of what, and by which engine."""

    model: str
    major: int
    hardware_class: str
    engine_abi: tuple[int, ...]
    summary: Summary


def as_table(one: Baseline) -> dict[str, Any]:
    """JSON values."""
    found = one.summary
    return {
        "model": one.model,
        "major": one.major,
        "class": one.hardware_class,
        "engine_abi": list(one.engine_abi),
        "versions": list(found.versions),
        "from_s": found.from_s,
        "to_s": found.to_s,
        "units": found.units,
        "windows": found.windows,
        "inferences": found.inferences,
        "errors": found.errors,
        "error_rate": found.error_rate,
        "inferences_per_s": found.inferences_per_s,
        "latency_us": {
            "count": found.latency.count,
            "mean": found.mean_us,
            "p50": found.quantile_us(0.50),
            "p95": found.quantile_us(0.95),
            "p99": found.quantile_us(0.99),
            "sketch": found.latency.to_bytes().hex(),
        },
        "energy_uj": {
            "mean": found.energy_uj,
            "count": found.energy_inferences,
            "source": found.energy_source,
            "uncertainty": found.energy_uncertainty,
        },
        "spread": {name: [m.count, m.mean, m.squares] for name, m in found.spread.items()},
    }


def file_of(baselines: list[Baseline]) -> dict[str, Any]:
    """What `baseline.json` holds."""
    return {"format": FORMAT, "baselines": [as_table(one) for one in baselines]}


def from_file(table: Any) -> list[Baseline]:
    """Raises WherryError(INVALID | UNSUPPORTED_FORMAT) naming what is wrong."""
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        found = table.get("format") if isinstance(table, dict) else type(table).__name__
        raise WherryError(f"not a baseline: format {found!r}, must be {FORMAT!r}",
                          Code.UNSUPPORTED_FORMAT)  # fmt: skip
    rows = table.get("baselines")
    if not isinstance(rows, list) or not 0 < len(rows) <= BASELINES_MAX:
        raise WherryError(f"a baseline file holds 1..{BASELINES_MAX} baselines", Code.INVALID)
    return [baseline_of(row) for row in rows]


def baseline_of(row: Any) -> Baseline:
    """Raises WherryError(INVALID)."""
    try:
        return _baseline(row)
    except DecodeError as error:
        raise WherryError(f"baseline: latency sketch: {error}", Code.INVALID) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        text = f"baseline: {type(error).__name__}: {error}"
        raise WherryError(text[:200], Code.INVALID) from error


def _baseline(row: dict[str, Any]) -> Baseline:
    latency, energy = row["latency_us"], row["energy_uj"]
    spread = {name: Moments(int(row["spread"][name][0]), float(row["spread"][name][1]),
                            float(row["spread"][name][2])) for name in FIGURES}  # fmt: skip
    summary = Summary(
        int(row["from_s"]),
        int(row["to_s"]),
        _count(row, "units"),
        _count(row, "windows"),
        _count(row, "inferences"),
        _count(row, "errors"),
        sketch.from_bytes(bytes.fromhex(latency["sketch"])),
        None if energy["mean"] is None else float(energy["mean"]),
        _count(energy, "count"),
        str(energy["source"]),
        None if energy["uncertainty"] is None else float(energy["uncertainty"]),
        tuple(str(version) for version in row["versions"]),
        spread,
    )
    return Baseline(
        check_name("model", MODEL, row["model"]),
        _count(row, "major"),
        check_name("class", HARDWARE_CLASS, row["class"]),
        tuple(int(abi) for abi in row["engine_abi"]),
        summary,
    )


def _count(row: dict[str, Any], name: str) -> int:
    value = row[name]
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} is {value!r}, must be a whole number of at least 0")
    return value


def to_text(one: Baseline) -> str:
    """As the store keeps it."""
    return json.dumps(as_table(one), sort_keys=True)


def from_text(text: str) -> Baseline:
    """What `to_text` gave. Raises WherryError."""
    return baseline_of(json.loads(text))
