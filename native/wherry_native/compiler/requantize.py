"""From real scales to the integers that the engine multiplies and shifts with.

Exactly what TFLite Micro's kernels prepare (double arithmetic on float32 scales), so that a
program gives the same bytes as they do. A shift is positive to the left.

Example: `quantize_multiplier(0.75) == (0x60000000, 0)`.

Source: QuantizeMultiplier and PreprocessSoftmaxScaling in TFLite's quantization_util, the Prepare
functions of TFLite Micro's kernels, and gemmlowp's fixedpoint.h for the tables (see tables.py).
"""

import math
from typing import Final

import numpy as np

from wherry_native.compiler.ir import Clamp

INT8_MIN: Final = -128
INT8_MAX: Final = 127
SHIFT_MIN: Final = -31
SHIFT_MAX: Final = 30
INT16_MIN: Final = -32768
INT16_MAX: Final = 32767
SUM_LEFT_SHIFT: Final = 20
SUM_LEFT_SHIFT_16: Final = 15
SOFTMAX_INTEGER_BITS: Final = 5


def round_half_away(value: float) -> int:
    """Nearest integer, ties away from zero (C's round)."""
    return math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1)


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(multiplier, shift) with real ≈ multiplier * 2**(shift - 31), multiplier in [2**30, 2**31)
    or 0. Flushed to (0, 0) below 2**-32. Raises ValueError outside 0 … 2**30."""
    if not math.isfinite(real) or real < 0:
        raise ValueError(f"multiplier {real} must be finite and not negative")
    if real == 0.0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = round_half_away(fraction * 2**31)
    if multiplier == 2**31:
        multiplier //= 2
        shift += 1
    if shift < SHIFT_MIN:
        return 0, 0
    if shift > SHIFT_MAX:
        raise ValueError(f"multiplier {real} is too large, limit {2**SHIFT_MAX}")
    return multiplier, shift


def level_range(dtype: str) -> tuple[int, int]:
    """The least and the largest level of an activation's type."""
    return (INT16_MIN, INT16_MAX) if dtype == "int16" else (INT8_MIN, INT8_MAX)


def clamp_range(
    clamp: Clamp, scale: float, zero_point: int, dtype: str = "int8"
) -> tuple[int, int]:
    """The clamp as bounds of the type (float32 division, ties away from zero, as TFLite does)."""
    low, high = level_range(dtype)
    return (
        low if clamp.low == -math.inf else _level(clamp.low, scale, zero_point, low, high),
        high if clamp.high == math.inf else _level(clamp.high, scale, zero_point, low, high),
    )


def _level(real: float, scale: float, zero_point: int, low: int, high: int) -> int:
    with np.errstate(over="ignore"):
        steps = float(np.float32(real) / np.float32(scale))
    steps = min(max(steps, -1e6), 1e6)
    return min(max(zero_point + round_half_away(steps), low), high)


def channel_multipliers(
    input_scale: float, weight_scales: tuple[float, ...], output_scale: float
) -> list[tuple[int, int]]:
    """One (multiplier, shift) per output channel of a convolution, or of a fully connected layer
    with a scale per channel."""
    return [
        quantize_multiplier(input_scale * weight_scale / output_scale)
        for weight_scale in weight_scales
    ]


def float_multipliers(
    input_scale: float, weight_scales: tuple[float, ...], output_scale: float
) -> list[tuple[int, int]]:
    """For rule F: the scales as XNNPACK computes them, all in float32. Their 24 bits fit a
    multiplier exactly."""
    x, y = np.float32(input_scale), np.float32(output_scale)
    return [quantize_multiplier(float(x * np.float32(w) / y)) for w in weight_scales]


def tensor_multiplier(
    input_scale: float, weight_scale: float, output_scale: float
) -> tuple[int, int]:
    """The multiplier of a fully connected layer with one weight scale: TFLite multiplies the two
    scales in float32 there."""
    product = float(np.float32(input_scale) * np.float32(weight_scale))
    return quantize_multiplier(product / output_scale)


def sum_multipliers(
    scale_a: float, scale_b: float, output_scale: float, left_shift: int = SUM_LEFT_SHIFT
) -> dict[str, int]:
    """ADD and SUB: both operands are shifted left and scaled to twice the larger scale."""
    twice_max = 2 * max(scale_a, scale_b)
    multiplier_a, shift_a = quantize_multiplier(scale_a / twice_max)
    multiplier_b, shift_b = quantize_multiplier(scale_b / twice_max)
    multiplier, shift = quantize_multiplier(twice_max / ((1 << left_shift) * output_scale))
    return {
        "left_shift": left_shift,
        "multiplier_a": multiplier_a, "shift_a": shift_a,
        "multiplier_b": multiplier_b, "shift_b": shift_b,
        "multiplier": multiplier, "shift": shift,
    }  # fmt: skip


def mean_multiplier(input_scale: float, output_scale: float, count: int) -> tuple[int, int]:
    """MEAN over `count` elements: 1/count is folded into the multiplier of the sum."""
    multiplier, shift = quantize_multiplier(input_scale / output_scale)
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << extra) // count, shift - extra


def softmax_multiplier(input_scale: float, beta: float) -> dict[str, int]:
    """SOFTMAX: the input in gemmlowp's Q5.26, and the difference from the maximum below which an
    exponential counts as 0. Raises ValueError when the scale is too small for that format."""
    real = min(beta * input_scale * (1 << (31 - SOFTMAX_INTEGER_BITS)), 2.0**31 - 1)
    if not real >= 0.5:
        raise ValueError(
            f"input scale {input_scale} times beta {beta} is below the least, "
            f"{2.0 ** (SOFTMAX_INTEGER_BITS - 32)}"
        )
    multiplier, left_shift = quantize_multiplier_wide(real)
    return {
        "multiplier": multiplier,
        # At 31 only the maximum itself counts, and 0 shifted by 30 is 0 as well.
        "left_shift": min(left_shift, SHIFT_MAX),
        "diff_min": -input_radius(SOFTMAX_INTEGER_BITS, left_shift),
    }


def softmax_multiplier_16(input_scale: float, beta: float) -> dict[str, int]:
    """SOFTMAX of int16: differences from the maximum, [-65535, 0] for [-10, 0]."""
    multiplier, shift = quantize_multiplier(input_scale * beta / (10.0 / 65535.0))
    return {"multiplier": multiplier, "left_shift": shift, "diff_min": 0}


def sigmoid_multiplier_16(input_scale: float, keeps_double: bool) -> dict[str, int]:
    """LOGISTIC and TANH of int16: x in steps of 1/12288, as 15 bits and a shift to the right.
    What TFLite takes for 2^-12 (and 2^-11, with `keeps_double`) is that. Raises ValueError above
    2.66."""
    logarithm = math.log2(input_scale)
    exponent = 12 + round(logarithm)
    if abs(logarithm - round(logarithm)) < 1e-3 and exponent in ((0, 1) if keeps_double else (0,)):
        return {"multiplier": 3 << exponent, "shift": 0}
    real, shift = input_scale * 4096.0 * 3.0, 0
    while real <= 32767.0 / 2.0 and shift <= 30:
        real *= 2.0
        shift += 1
    if real > 32767.0:
        raise ValueError(f"input scale {input_scale} is too large, limit {32767 / 12288:.2f}")
    return {"multiplier": int(real), "shift": shift}


def quantize_multiplier_wide(real: float) -> tuple[int, int]:
    """As quantize_multiplier, with shifts up to 31: for the inputs of exponentials."""
    fraction, shift = math.frexp(real)
    multiplier = round_half_away(fraction * 2**31)
    if multiplier == 2**31:
        return 2**30, shift + 1
    return multiplier, shift


def input_radius(integer_bits: int, left_shift: int) -> int:
    """Largest quantized input that still fits `integer_bits` after the left shift."""
    largest = ((1 << integer_bits) - 1) * 2.0 ** (31 - integer_bits)
    return math.floor(largest / 2.0**left_shift)
