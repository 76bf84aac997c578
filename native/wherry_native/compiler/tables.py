"""Functions as tables, bit for bit what TFLite Micro computes: LOGISTIC and TANH of int8 as 256
bytes; what LOGISTIC, TANH and SOFTMAX of int16 interpolate between.

Everything here is integer arithmetic on 32-bit fixed-point numbers, held in Python ints. `q0` has
31 fractional bits and lies in [-1, 1); `q2` has 29.

Source: gemmlowp's fixedpoint.h (exp_on_negative_values, one_over_one_plus_x_for_x_in_0_1,
one_minus_x_over_one_plus_x_for_x_in_0_1) and TFLite's reference integer LOGISTIC and TANH.
"""

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from wherry_native.compiler.ir import Array
from wherry_native.compiler.requantize import input_radius, round_half_away

_INTEGER_BITS: Final = 4
_INT32_MAX: Final = 2**31 - 1
_INT32_MIN: Final = -(2**31)
_ONE_Q2: Final = 1 << 29
_EXPONENTIALS: Final = (
    (-2, 1672461947), (-1, 1302514674), (0, 790015084), (1, 290630308), (2, 39332535),
    (3, 720401), (4, 242),
)  # fmt: skip
"""(k, exp(-2**k) in q0)."""


def logistic_table(scale: float, zero_point: int) -> bytes:
    """256 int8 values, entry x + 128 for input x; output scale 1/256, zero point -128."""
    return _table(scale, zero_point, _logistic, fractional_bits=8, output_zero_point=-128)


def tanh_table(scale: float, zero_point: int) -> bytes:
    """256 int8 values, entry x + 128 for input x; output scale 1/128, zero point 0."""
    return _table(scale, zero_point, _tanh, fractional_bits=7, output_zero_point=0)


def sigmoid_table_16() -> Array:
    """256 values sigmoid(i / 24) - 1/2 in 16 fractional bits: LOGISTIC and TANH of int16. Half of
    what the straight line between two entries misses in the middle is added to the first."""
    at, middle, after = (
        65536.0 / (1.0 + np.exp(-(np.arange(256) + shift) / 24.0)) for shift in (0.0, 0.5, 1.0)
    )
    levels = np.floor(at + (middle - (at + after) / 2.0) / 2.0 + 0.5)
    levels[255] = 65535.0  # TFLite's table ends at the largest level
    entries: Array = (levels - 32768).astype(np.int16)
    return entries


def softmax_tables_16() -> tuple[Array, Array]:
    """exp(x) from -10 to 0, and 1 / (1 + x) from 0 to 1, each in 15 fractional bits."""
    return (
        interpolation_table(np.exp, np.float32(-10), np.float32(0)),
        interpolation_table(lambda x: np.float32(1) / (np.float32(1) + x), np.float32(0),
                            np.float32(1)),
    )  # fmt: skip


def interpolation_table(
    function: Callable[[Any], Any], low: Any, high: Any, levels_per_unit: float = 32768.0
) -> Array:
    """513 values between which an int16 is interpolated; each interval's ends are moved by half of
    the error in its middle, as TFLite does. Computes in the type of `low` and `high`."""
    kind = type(low)
    step = kind((high - low) / kind(512))
    at = (low + np.arange(512).astype(kind) * step).astype(kind)
    after = (low + np.arange(1, 513).astype(kind) * step).astype(kind)
    scale = kind(levels_per_unit)
    sample = _rounded(function(at) * scale)
    between = _rounded((function(after) * scale + sample) / kind(2))
    middle = _rounded(function(at + step / kind(2)) * scale)
    values = np.append(sample - _rounded((between - middle) / kind(2)),
                       _rounded(function(np.asarray([high])) * scale))  # fmt: skip
    entries: Array = np.clip(values, -32768, 32767).astype(np.int16)
    return entries


def _rounded(values: Any) -> Any:
    """Nearest integers, ties away from zero, in the same type."""
    return np.copysign(np.floor(np.abs(values) + values.dtype.type(0.5)), values)


def _table(
    scale: float,
    zero_point: int,
    function_q0: Callable[[int], int],
    *,
    fractional_bits: int,
    output_zero_point: int,
) -> bytes:
    fraction, left_shift = math.frexp(scale * 2.0 ** (31 - _INTEGER_BITS))
    multiplier = round_half_away(fraction * 2**31)
    radius = input_radius(_INTEGER_BITS, left_shift)
    entries = []
    for code in range(-128, 128):
        x = code - zero_point
        if abs(x) >= radius:
            entries.append(-128 if x <= -radius else 127)  # as TFLite: also 0, where radius is 0
            continue
        y = function_q0(_scaled(x, multiplier, left_shift))
        y = rounding_divide(y, 31 - fractional_bits) + output_zero_point
        entries.append(min(max(y, -128), 127))
    return bytes(entry & 0xFF for entry in entries)


def _scaled(x: int, multiplier: int, shift: int) -> int:
    product = high_multiply(x << max(shift, 0), multiplier)
    return rounding_divide(product, max(-shift, 0))


def high_multiply(a: int, b: int) -> int:
    """Half of the doubled 64-bit product's high word, rounded; the only overflow saturates."""
    if a == b == _INT32_MIN:
        return _INT32_MAX
    product = a * b
    nudge = (1 << 30) if product >= 0 else 1 - (1 << 30)
    return truncated_divide(product + nudge, 1 << 31)


def truncated_divide(a: int, b: int) -> int:
    return a // b if a >= 0 else -(-a // b)


def rounding_divide(x: int, exponent: int) -> int:
    """x / 2**exponent, ties away from zero."""
    if exponent == 0:
        return x
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + ((x & mask) > threshold)


def saturating_left(x: int, exponent: int) -> int:
    return min(max(x << exponent, _INT32_MIN), _INT32_MAX)


def _exp_near_zero(a: int) -> int:
    """exp(a) for a in [-1/4, 0), in and out in q0: a Taylor series around -1/8."""
    x = a + (1 << 28)
    x2 = high_multiply(x, x)
    x3 = high_multiply(x2, x)
    x4 = high_multiply(x2, x2)
    series = high_multiply(rounding_divide(x4, 2) + x3, 715827883) + x2
    series = rounding_divide(series, 1)
    return 1895147668 + high_multiply(1895147668, x + series)


def _exp_negative(a: int, integer_bits: int) -> int:
    """exp(a) in q0, for a <= 0 with `integer_bits` integer bits."""
    if a == 0:
        return _INT32_MAX
    fractional_bits = 31 - integer_bits
    quarter = 1 << (fractional_bits - 2)
    a_mod_quarter = (a & (quarter - 1)) - quarter
    result = _exp_near_zero(saturating_left(a_mod_quarter, integer_bits))
    remainder = a_mod_quarter - a
    for exponent, multiplier in _EXPONENTIALS:
        if integer_bits > exponent and remainder & (1 << (fractional_bits + exponent)):
            result = high_multiply(result, multiplier)
    return result


def _reciprocal(a: int) -> int:
    """2 / (1 + a) in q2, for a in [0, 1) in q0: three Newton-Raphson steps from 48/17 - 32/17 d."""
    total = a + _INT32_MAX
    half_denominator = truncated_divide(total + (1 if total >= 0 else -1), 2)
    x = 1515870810 + high_multiply(half_denominator, -1010580540)
    for _ in range(3):
        error = _ONE_Q2 - high_multiply(half_denominator, x)
        x += saturating_left(high_multiply(x, error), 2)
    return x


def _logistic(a: int) -> int:
    """1 / (1 + exp(-a)) in q0, for a in Q4.27."""
    if a == 0:
        return 1 << 30
    positive = saturating_left(_reciprocal(_exp_negative(-abs(a), _INTEGER_BITS)), 1)
    return positive if a > 0 else _INT32_MAX - positive


def _tanh(a: int) -> int:
    """tanh(a) in q0, for a in Q4.27: (1 - e) / (1 + e) with e = exp(-2 |a|)."""
    if a == 0:
        return 0
    reciprocal = _reciprocal(_exp_negative(-abs(a), _INTEGER_BITS + 1))
    magnitude = saturating_left(reciprocal - _ONE_Q2, 2)
    return magnitude if a > 0 else -magnitude
