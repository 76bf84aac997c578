"""Functions of one element that the engine looks up in a table.

Rules, in order:
1. Of int8 a table has every value: where TFLite Micro computes the function in integers
   (ABS, HARD_SWISH, LEAKY_RELU, RSQRT), its very arithmetic; otherwise the nearest level.
2. Of int16 it has 513, between which the engine interpolates; `interpolation_error` says how far
   that is from the function.

Source: TFLite's reference HARD_SWISH and LEAKY_RELU, TFLite Micro's RSQRT, gemmlowp's fixedpoint.h.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from wherry_native.compiler.ir import Array, Curve, Quantization
from wherry_native.compiler.requantize import quantize_multiplier
from wherry_native.compiler.tables import (
    high_multiply,
    interpolation_table,
    rounding_divide,
    saturating_left,
    truncated_divide,
)

Real = Callable[[Array], Array]


def _reciprocal(x: Array, _: float) -> Array:
    return np.asarray(1.0 / np.where(np.abs(x) < 1e-9, np.copysign(1e-9, x), x))


FUNCTIONS: Final[Mapping[str, Callable[[Array, float], Array]]] = {
    "ABS": lambda x, _: np.abs(x),
    "ADD": lambda x, number: x + number,
    "EXP": lambda x, _: np.exp(np.minimum(x, 88.0)),
    "HARD_SWISH": lambda x, _: x * np.clip(x + 3, 0, 6) / 6,
    "LEAKY_RELU": lambda x, alpha: np.where(x >= 0, x, x * alpha),
    "LOGISTIC": lambda x, _: 0.5 * (1.0 + np.tanh(0.5 * x)),
    "LOG": lambda x, _: np.log(np.maximum(x, 1e-9)),
    "MUL": lambda x, number: x * number,
    "RECIPROCAL": _reciprocal,
    "RSQRT": lambda x, _: 1 / np.sqrt(np.maximum(x, 1e-9)),
    "SOFTPLUS": lambda x, _: np.logaddexp(0.0, x),
    "SQRT": lambda x, _: np.sqrt(np.maximum(x, 0)),
    "TANH": lambda x, _: np.tanh(x),
}
"""In real units, for arrays of float64; the second argument is the step's number (alpha)."""


def evaluated(curve: Curve, x: Array) -> Array:
    """The steps of a curve one after the other, in float64."""
    y = np.asarray(x, np.float64)
    for function, number in curve:
        y = FUNCTIONS[function](y, number)
    return y


@dataclass(frozen=True, slots=True)
class Lookup:
    """A function between two quantized tensors; `then` has the steps that follow it."""

    function: str
    x: Quantization
    y: Quantization
    alpha: float = 0.0
    then: Curve = ()

    def levels(self, codes: Array) -> Array:
        """The output in levels, not rounded, for input codes."""
        real = (codes.astype(np.float64) - self.x.zero_point) * self.x.scale
        curve = ((self.function, self.alpha), *self.then)
        return evaluated(curve, real) / self.y.scale + self.y.zero_point


def int8_table(lookup: Lookup) -> Array:
    """256 int8, entry x + 128."""
    codes = np.arange(-128, 128)
    exact = None if lookup.then else _EXACT.get(lookup.function)
    if exact is not None:
        levels = np.array([exact(lookup, int(code) - lookup.x.zero_point) for code in codes])
    else:
        levels = _nearest(lookup.levels(codes))
    table: Array = np.clip(levels, -128, 127).astype(np.int8)
    return table


def int16_table(lookup: Lookup) -> Array:
    """513 int16 between which the engine interpolates."""
    return interpolation_table(lookup.levels, np.float64(-32768), np.float64(32768), 1.0)


def interpolation_error(lookup: Lookup, least: int = -32768, largest: int = 32767) -> float:
    """The largest distance, in levels, of an interpolated output from the function itself, over the
    input codes from `least` to `largest`. Where the function is smooth it stays below
    2 + curvature * (128 x.scale)^2 / (8 y.scale)."""
    table = int16_table(lookup).astype(np.int64)
    codes = np.arange(least, largest + 1)
    at, offset = 256 + (codes >> 7), codes & 127
    found = table[at] + (((table[at + 1] - table[at]) * offset + 64) >> 7)
    wanted = np.clip(lookup.levels(codes), -32768, 32767)
    return float(np.abs(found - wanted).max())


def _nearest(levels: Array) -> Array:
    rounded: Array = np.copysign(np.floor(np.abs(levels) + 0.5), levels)
    return rounded


def _rescale(value: int, real: float) -> int:
    """As the engine: a negative multiplier, which the engine has not, included."""
    multiplier, shift = quantize_multiplier(abs(real))
    shifted = value << max(shift, 0)
    product = high_multiply(shifted, multiplier if real >= 0 else -multiplier)
    return rounding_divide(product, max(-shift, 0))


def _absolute(lookup: Lookup, x: int) -> int:
    value = abs(x)
    if lookup.x.scale != lookup.y.scale:
        value = _rescale(value, lookup.x.scale / lookup.y.scale)
    return lookup.y.zero_point + value


def _leaky_relu(lookup: Lookup, x: int) -> int:
    slope = lookup.x.scale if x >= 0 else lookup.x.scale * lookup.alpha
    return lookup.y.zero_point + _rescale(x, slope / lookup.y.scale)


def _wrapped16(value: int) -> int:
    return (value + 32768) % 65536 - 32768


def _high_multiply16(a: int, b: int) -> int:
    if a == b == -32768:
        return 32767
    product = a * b
    nudge = (1 << 14) if product >= 0 else 1 - (1 << 14)
    return truncated_divide(product + nudge, 1 << 15)


def _left16(value: int, exponent: int) -> int:
    return min(max(value << exponent, -32768), 32767)


def _multiplier16(real: float) -> tuple[int, int]:
    multiplier, shift = quantize_multiplier(real)
    return min((multiplier + (1 << 15)) >> 16, 32767), shift


def _hard_swish(lookup: Lookup, x: int) -> int:
    fine = np.float32(1 / 128) * np.float32(lookup.x.scale)
    to_output, output_shift = _multiplier16(float(fine / np.float32(lookup.y.scale)))
    to_slope, slope_shift = _multiplier16(float(fine / (np.float32(3) / np.float32(32768))))
    if output_shift > 0:
        raise ValueError(
            f"output scale {lookup.y.scale} is too small for input scale {lookup.x.scale}"
        )
    value = _wrapped16(x * 128)
    slope = _left16(value, slope_shift - 1) if slope_shift > 0 else value
    slope = _high_multiply16(slope, to_slope)
    if slope_shift > 0:
        slope = _left16(slope, 1)
    elif slope_shift < 0:
        slope = rounding_divide(slope, -slope_shift)
    slope = (slope + (1 << 15)) >> 1
    product = truncated_divide(slope * _high_multiply16(value, to_output), 1 << 15)
    return rounding_divide(product, -output_shift) + lookup.y.zero_point


def _wrapped32(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


def _inverse_root(value: int) -> tuple[int, int]:
    """1 / sqrt(value) as a multiplier and a shift to the left; five Newton-Raphson steps."""
    if value <= 1:
        return 2**31 - 1, 0
    shift = 11
    while value >= 1 << 29:
        value //= 4
        shift += 1
    pairs = (32 - value.bit_length() - 1) // 2 - 1
    shift -= pairs
    fixed = (value << 2 * pairs) >> 1
    half, half_three, x = rounding_divide(fixed, 1), (1 << 28) + (1 << 27), 1 << 28
    for _ in range(5):
        cubed = saturating_left(high_multiply(high_multiply(x, x), x), 6)
        x = saturating_left(
            _wrapped32(high_multiply(half_three, x) - high_multiply(half, cubed)), 3
        )
    x = high_multiply(x, 1518500250)
    return (x << -shift, 0) if shift < 0 else (x, -shift)


def _scaled(value: int, multiplier: int, shift: int) -> int:
    product = high_multiply(_wrapped32(value << max(shift, 0)), multiplier)
    return rounding_divide(product, max(-shift, 0))


def _inverse_square_root(lookup: Lookup, x: int) -> int:
    if x <= 0:  # TFLite refuses values below 0
        return 127
    root, root_shift = _inverse_root(x)
    real = 1.0 / (math.sqrt(lookup.x.scale) * lookup.y.scale)
    multiplier, shift = quantize_multiplier(real)
    fine = _scaled(1, root, root_shift + 20)
    return _scaled(fine, multiplier, shift - 20) + lookup.y.zero_point


_EXACT: Final[Mapping[str, Callable[[Lookup, int], int]]] = {
    "ABS": _absolute,
    "HARD_SWISH": _hard_swish,
    "LEAKY_RELU": _leaky_relu,
    "RSQRT": _inverse_square_root,
}
