"""Scales become integers exactly as TFLite prepares them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_native.compiler import requantize
from wherry_native.compiler.ir import OPEN, RELU, RELU6, Clamp
from wherry_native.compiler.tables import logistic_table, tanh_table

multipliers = st.floats(min_value=2.0**-31, max_value=2.0**29, allow_nan=False)
scales = st.floats(min_value=2.0**-13, max_value=0.25, width=32)
zero_points = st.integers(-128, 127)


@given(multipliers)
def test_multiplier_is_normalized_and_within_one_part_in_two_to_the_thirty(real: float) -> None:
    multiplier, shift = requantize.quantize_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    assert math.ldexp(multiplier, shift - 31) == pytest.approx(real, rel=2**-31)


@given(multipliers, st.integers(-20, 20))
def test_power_of_two_moves_only_the_shift(real: float, exponent: int) -> None:
    moved = math.ldexp(real, exponent)
    if 2.0**-31 <= moved <= 2.0**29:
        multiplier, shift = requantize.quantize_multiplier(real)
        assert requantize.quantize_multiplier(moved) == (multiplier, shift + exponent)


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.75, (0x60000000, 0)),
        (1.0, (1 << 30, 1)),
        (0.0, (0, 0)),
        (2.0**-32, (1 << 30, -31)),
        (2.0**-33, (0, 0)),
        (1.0 - 2.0**-40, (1 << 30, 1)),
        ((2**30 + 0.5) / 2**31, (2**30 + 1, 0)),  # a tie goes away from zero
        ((2**30 + 0.5 - 2.0**-20) / 2**31, (2**30, 0)),
    ],
)
def test_known_multipliers(real: float, expected: tuple[int, int]) -> None:
    assert requantize.quantize_multiplier(real) == expected


@pytest.mark.parametrize("real", [-1.0, math.inf, math.nan, 2.0**31])
def test_impossible_multiplier_is_refused(real: float) -> None:
    with pytest.raises(ValueError, match="multiplier"):
        requantize.quantize_multiplier(real)


@given(scales, scales, st.integers(1, 4096))
def test_mean_multiplier_averages(input_scale: float, output_scale: float, count: int) -> None:
    multiplier, shift = requantize.mean_multiplier(input_scale, output_scale, count)
    assert math.ldexp(multiplier, shift - 31) == pytest.approx(
        input_scale / output_scale / count, rel=2**-28
    )


@given(scales, scales, scales)
def test_sum_multipliers_bring_both_operands_to_the_output(a: float, b: float, y: float) -> None:
    p = requantize.sum_multipliers(a, b, y)
    out = math.ldexp(p["multiplier"], p["shift"] - 31)
    for which, scale in (("a", a), ("b", b)):
        inner = math.ldexp(p[f"multiplier_{which}"], p[f"shift_{which}"] - 31)
        assert 2 ** p["left_shift"] * inner * out == pytest.approx(scale / y, rel=2**-28)


@given(scales, zero_points)
def test_clamp_keeps_zero_and_the_int8_range(scale: float, zero_point: int) -> None:
    assert requantize.clamp_range(OPEN, scale, zero_point) == (-128, 127)
    assert requantize.clamp_range(RELU, scale, zero_point) == (zero_point, 127)
    low, high = requantize.clamp_range(RELU6, scale, zero_point)
    assert low == zero_point
    assert high == 127 or abs((high - zero_point) * scale - 6.0) <= scale


def test_clamp_survives_bounds_far_outside() -> None:
    assert requantize.clamp_range(Clamp(-1e38, 1e38), 1e-38, 0) == (-128, 127)


@given(scales, zero_points)
def test_logistic_table_is_the_logistic_function_within_one_step(s: float, zero: int) -> None:
    x = (np.arange(-128, 128) - zero) * s
    real = (np.frombuffer(logistic_table(s, zero), np.int8).astype(float) + 128) / 256
    assert np.abs(real - 1 / (1 + np.exp(-x))).max() <= 1 / 256


@given(scales, zero_points)
def test_tanh_table_is_odd_and_the_hyperbolic_tangent_within_one_step(s: float, zero: int) -> None:
    x = (np.arange(-128, 128) - zero) * s
    real = np.frombuffer(tanh_table(s, zero), np.int8).astype(float) / 128
    assert np.abs(real - np.tanh(x)).max() <= 1 / 128
    assert real[zero + 128] == 0.0


@given(st.floats(min_value=2.0**-20, max_value=64.0, width=32))
def test_softmax_difference_limit_fits_the_fixed_point_range(scale: float) -> None:
    p = requantize.softmax_multiplier(scale, 1.0)
    assert p["diff_min"] <= 0
    assert 0 <= p["left_shift"] <= 30
    assert -p["diff_min"] * 2 ** p["left_shift"] <= 31 * 2**26


@pytest.mark.parametrize("scale", [2.0**-28, 0.0, math.nan])
def test_softmax_scale_that_is_too_small_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="below the least"):
        requantize.softmax_multiplier(scale, 1.0)
