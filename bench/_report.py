"""How every program in this folder reports: one JSON object on stdout, exit code 1 where a limit
does not hold.

    raise SystemExit(report([Figure("added gap", 0.2, "ms", limit=1.0)]))

A figure with a limit holds when value <= limit (or >= with `is_minimum`); one without a limit is
there for comparison. `holds` is null then.
"""

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number with its unit; the limit is what this project promises."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    is_minimum: bool = False

    @property
    def holds(self) -> bool | None:
        if self.limit is None:
            return None
        return self.value >= self.limit if self.is_minimum else self.value <= self.limit


def report(figures: Sequence[Figure], **extra: Any) -> int:
    """Prints {"machine", "figures", …extra} and returns the exit code: 0, or 1 where a limit does
    not hold or nothing was measured."""
    rows = [
        {
            "name": figure.name,
            "value": figure.value,
            "unit": figure.unit,
            "limit": figure.limit,
            "holds": figure.holds,
        }
        for figure in figures
    ]
    print(json.dumps({"machine": machine(), "figures": rows, **extra}, indent=2))
    return 0 if figures and all(figure.holds is not False for figure in figures) else 1


def machine() -> str:
    """Processor, its count and the kernel, for people who compare."""
    return f"{_processor()}, {_processor_count()} cores, {platform.system()} {platform.release()}"


def _cpuinfo() -> list[tuple[str, str]]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return [(key.strip(), value.strip()) for key, value in pairs]


def _processor() -> str:
    names = [value for key, value in _cpuinfo() if key in ("model name", "Model", "Hardware")]
    return names[0] if names else platform.machine()


def _processor_count() -> int:
    return sum(key == "processor" for key, _ in _cpuinfo()) or 1
