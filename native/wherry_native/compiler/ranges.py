"""Ranges of activations over calibration samples: what becomes one int8 scale and zero point.

Rules, in order:
1. A range always holds 0, so that 0 is exact.
2. min-max: the smallest and largest value of all samples. Nothing is cut off.
3. percentile: so many percent of all values lie below the upper end, and as many above the lower
   end; the rest is cut off.
4. mse: the range whose int8 codes have the least mean square error over the histogram of all
   values. First both ends shrink together, then each end by itself.

Percentile and mse look at the samples twice: for the range, then for a histogram within it.

Source: Wu et al., "Integer Quantization for Deep Learning Inference" (2020), section 5.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from wherry_native.compiler.errors import CompileError
from wherry_native.compiler.ir import Array, Graph, Quantization
from wherry_native.compiler.reference import Floats, run_float

SCALE_MIN: Final = 2.0**-26
"""Of an activation; SOFTMAX takes none smaller."""
SCALE_OF_NOTHING: Final = 1 / 256
"""Of an activation that is 0 in every sample."""
SCALE_MIN_16: Final = 2.0**-30
SCALE_OF_NOTHING_16: Final = 1 / 32768
BINS: Final = 2048
SHRINKING: Final = np.linspace(1.0, 0.2, 81)
"""Parts of the whole range that `mse` tries."""


class Method(StrEnum):
    """How ranges follow from samples."""

    MIN_MAX = "min-max"
    PERCENTILE = "percentile"
    MSE = "mse"


@dataclass(frozen=True, slots=True)
class Range:
    """Real values of one tensor; always holds 0."""

    low: float = 0.0
    high: float = 0.0

    def widened(self, values: Array) -> "Range":
        return Range(min(self.low, float(values.min())), max(self.high, float(values.max())))

    def joined(self, other: "Range") -> "Range":
        return Range(min(self.low, other.low), max(self.high, other.high))

    def stretched(self, factor: float) -> "Range":
        return Range(self.low * factor, self.high * factor)

    def quantization(self, dtype: str = "int8") -> Quantization:
        """int8 steps from low to high, 0 on a step; or int16 steps as far on both sides of 0."""
        if dtype == "int16":
            peak = max(-self.low, self.high)
            wide = max(peak / 32767, SCALE_MIN_16) if peak > 0 else SCALE_OF_NOTHING_16
            return Quantization((float(np.float32(wide)),), (0,))
        span = self.high - self.low
        scale = float(np.float32(max(span / 255, SCALE_MIN) if span > 0 else SCALE_OF_NOTHING))
        zero_point = int(np.clip(np.round(-128 - self.low / scale), -128, 127))
        return Quantization((scale,), (zero_point,))


Samples = Iterable[Mapping[str, Floats]]


def observed_ranges(
    graph: Graph,
    samples: Sequence[Mapping[str, Floats]],
    method: Method = Method.MIN_MAX,
    percentile: float = 99.99,
) -> dict[str, Range]:
    """The range of every activation over the samples. Raises CompileError when a value is not
    finite, or a percentile is not above 50 and at most 100."""
    if not 50 < percentile <= 100:
        raise CompileError(f"percentile {percentile} must be above 50 and at most 100")
    whole = _whole_ranges(graph, samples)
    if method is Method.MIN_MAX:
        return whole
    counts = _histograms(graph, samples, whole)
    if method is Method.PERCENTILE:
        return {name: within_percentile(whole[name], counts[name], percentile) for name in whole}
    return {name: of_least_error(whole[name], counts[name]) for name in whole}


def _whole_ranges(graph: Graph, samples: Samples) -> dict[str, Range]:
    ranges: dict[str, Range] = {}
    for number, sample in enumerate(samples):
        for name, values in run_float(graph, sample).items():
            if not np.isfinite(values).all():
                raise CompileError(
                    f"calibration sample {number} gives values that are not finite in {name!r}"
                )
            ranges[name] = ranges.get(name, Range()).widened(values)
    return ranges


def _histograms(graph: Graph, samples: Samples, whole: Mapping[str, Range]) -> dict[str, Array]:
    """How many values fall in each of BINS equal parts of a tensor's range."""
    counts = {name: np.zeros(BINS, np.int64) for name in whole}
    for sample in samples:
        for name, values in run_float(graph, sample).items():
            bounds = (whole[name].low, whole[name].high)
            counts[name] += np.histogram(values, BINS, bounds if bounds[0] < bounds[1] else (0, 1))[
                0
            ]
    return counts


def within_percentile(whole: Range, counts: Array, percentile: float) -> Range:
    """The range without the values beyond the percentile at either end."""
    if whole.low == whole.high:
        return whole
    edges = np.linspace(whole.low, whole.high, BINS + 1)
    below, total = np.cumsum(counts), counts.sum()
    kept = total * percentile / 100
    high = edges[np.searchsorted(below, kept) + 1]
    low = edges[np.searchsorted(below, total - kept, side="right")]
    return Range(min(0.0, float(low)), max(0.0, float(high)))


def of_least_error(whole: Range, counts: Array) -> Range:
    """The range of least mean square error."""
    if whole.low == whole.high:
        return whole
    edges = np.linspace(whole.low, whole.high, BINS + 1)
    values = (edges[:-1] + edges[1:]) / 2

    def best(candidates: Callable[[float], Range]) -> Range:
        return min(
            (candidates(part) for part in SHRINKING), key=lambda r: _error(r, values, counts)
        )

    both = best(lambda part: Range(whole.low * part, whole.high * part))
    upper = best(lambda part: Range(both.low, both.high * part))
    return best(lambda part: Range(upper.low * part, upper.high))


def _error(tried: Range, values: Array, counts: Array) -> float:
    """Square error of the int8 codes of a range, over the histogram."""
    quantization = tried.quantization()
    scale, zero_point = quantization.scale, quantization.zero_point
    codes = np.clip(np.round(values / scale) + zero_point, -128, 127)
    return float(counts @ np.square((codes - zero_point) * scale - values))
