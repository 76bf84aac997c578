"""verification.json: which figures a deployment must show, and how far they may go.

    {"error_rate_max": 0.01, "latency_us_p95_max": 5000, "inferences_min": 100, "window_s": 600}

Unknown keys are refused by name. A figure that is limited and not there does not pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from wherry_protocol.errors import Code, WherryError

NUMBER_MAX: Final = 1e15


@dataclass(frozen=True, slots=True)
class FigureLimits:
    """None: not limited. `inferences_min` and `window_s` say over what is looked."""

    error_rate_max: float | None = None
    latency_us_mean_max: float | None = None
    latency_us_p95_max: float | None = None
    latency_us_p99_max: float | None = None
    energy_uj_max: float | None = None
    inferences_min: float = 1.0
    window_s: float = 3_600.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What a unit's reports say of one bundle; None: nothing."""

    inferences: int = 0
    errors: int = 0
    latency_us_mean: float | None = None
    latency_us_p95: float | None = None
    latency_us_p99: float | None = None
    energy_uj: float | None = None


LIMITED: Final = (
    "error_rate", "latency_us_mean", "latency_us_p95", "latency_us_p99", "energy_uj",
)  # fmt: skip


def parse_limits(table: Any) -> FigureLimits:
    """From the file's JSON. Raises WherryError(INVALID | UNKNOWN_FIELD)."""
    if not isinstance(table, Mapping):
        raise WherryError("verification.json must be an object", Code.INVALID)
    known = [f.name for f in fields(FigureLimits)]
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise WherryError(
            f"verification.json: unknown {', '.join(unknown)} (known: {', '.join(known)})",
            Code.UNKNOWN_FIELD,
        )
    for key, value in table.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= NUMBER_MAX:
            raise WherryError(
                f"verification.json: {key} is {value!r}, must be a number of at least 0",
                Code.INVALID,
            )
    return FigureLimits(**{key: float(value) for key, value in table.items()})


def exceeded(figures: Figures, limits: FigureLimits) -> tuple[bool, list[str], str]:
    """(is something missing, what is over its limit, what was found)."""
    if figures.inferences < limits.inferences_min:
        return True, [], ""
    missing, over = False, []
    found = [f"{figures.inferences} inferences"]
    for name in LIMITED:
        limit = getattr(limits, f"{name}_max")
        if limit is None:
            continue
        value = (
            figures.errors / figures.inferences if name == "error_rate" else getattr(figures, name)
        )
        if value is None:
            missing = True
        elif value > limit:
            over.append(f"{name} is {value:g}, the limit is {limit:g}")
        else:
            found.append(f"{name} {value:g} of {limit:g}")
    return missing, over, ", ".join(found)
