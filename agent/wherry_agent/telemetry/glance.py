"""The figures of a moment in plain words, for whoever stands before the device. Pure."""

from collections.abc import Mapping
from typing import Any

from wherry_agent.telemetry.energy import EnergyFigure, Unavailable
from wherry_agent.telemetry.sampling import Look


def counted(look: Look, energy: EnergyFigure | Unavailable) -> dict[str, Any]:
    """One loaded bundle since it was loaded; its energy since the last report."""
    counters = look.counters
    latency = counters.latency
    quantiles = {
        f"latency_us_{name}": _us(latency.quantile_ns(q))
        for name, q in (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))
    }
    return {
        "version": look.version,
        "slot": look.slot,
        "inferences": counters.inferences,
        "errors": counters.errors,
        "errors_engine": counters.errors_engine,
        "errors_deadline": counters.errors_deadline,
        "errors_range": counters.errors_range,
        "refused": counters.refused,
        **quantiles,
        "energy": spent(energy),
    }


def spent(energy: EnergyFigure | Unavailable) -> dict[str, Any]:
    """µJ per inference and mean mW with their source, or the reason why there is none."""
    if isinstance(energy, Unavailable):
        return {"unavailable": energy.reason}
    return {
        "per_inference_uj": round(energy.per_inference_uj, 3),
        "mean_mw": round(energy.mean_mw, 3),
        "uncertainty": energy.uncertainty,
        "source": energy.source,
    }


def plain(figures: Mapping[str, float | Unavailable]) -> dict[str, float | dict[str, str]]:
    """Each figure, or the reason why it cannot be had."""
    return {
        name: {"unavailable": value.reason} if isinstance(value, Unavailable) else value
        for name, value in figures.items()
    }


def _us(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else duration_ns / 1000
