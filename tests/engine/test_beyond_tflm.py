"""What TFLite Micro does not compute, or leaves open: held to exact arithmetic instead."""

import numpy as np
import pytest
from wherry_native.compiler.functions import FUNCTIONS, Lookup, int8_table, interpolation_error
from wherry_native.compiler.ir import Quantization
from wherry_native.compiler.requantize import quantize_multiplier
from wherry_native.engine import Program
from wherry_native.program import DType, Kind, Op

from tests.engine.programs import Builder
from tests.engine.programs_abi2 import indices

RANGES = {DType.INT8: (-128, 127), DType.INT16: (-32768, 32767)}
COUNT = 4096


def _division(dtype: DType, ratio: float, zeros: tuple[int, int, int]) -> Program:
    b = Builder()
    tensors = [
        b.activation(name, (COUNT,), zero, Kind.ARENA, dtype)
        for name, zero in zip("aby", zeros, strict=True)
    ]
    multiplier, shift = quantize_multiplier(ratio)
    low, high = RANGES[dtype]
    b.node(
        Op.DIV, "div", (tensors[0], tensors[1]), tensors[2],
        multiplier=multiplier, shift=shift, act_min=low, act_max=high,
    )  # fmt: skip
    return Program(b.image("div", (tensors[0], tensors[1]), (tensors[2],)))


def _run(program: Program, dtype: DType, *values: np.ndarray) -> np.ndarray:
    kind = np.dtype(f"<i{dtype.size_bytes}")
    return np.frombuffer(program.run(b"".join(v.astype(kind).tobytes() for v in values)), kind)


@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("ratio", [0.003, 0.7, 1.0, 90.0, 32768.0])
def test_a_quotient_is_at_most_half_a_level_and_a_thousandth_off(
    dtype: DType, ratio: float
) -> None:
    low, high = RANGES[dtype]
    random = np.random.default_rng([int(ratio * 1000), dtype])
    zeros = (-5, 17, 3) if dtype is DType.INT8 else (0, 0, 0)
    a, b = random.integers(low, high + 1, (2, COUNT))
    b[b == zeros[1]] += 1
    found = _run(_division(dtype, ratio, zeros), dtype, a, b)
    exact = np.clip((a - zeros[0]) / (b - zeros[1]) * ratio + zeros[2], low, high)
    assert np.abs(found - exact).max() <= 0.501


@pytest.mark.parametrize("dtype", RANGES)
def test_division_by_zero_saturates_with_the_sign_of_the_dividend(dtype: DType) -> None:
    low, high = RANGES[dtype]
    a = np.resize([5, -5, 0], COUNT)
    found = _run(_division(dtype, 1.0, (0, 0, 0)), dtype, a, np.zeros(COUNT))
    assert found[:3].tolist() == [high, low, 0]


@pytest.mark.parametrize("dtype", RANGES)
def test_gather_takes_the_nearest_end_for_indices_outside(dtype: DType) -> None:
    b = Builder()
    x = b.activation("x", (2, 3, 2), 0, Kind.ARENA, dtype)
    at = indices(b, "at", (5,))
    y = b.activation("y", (2, 5, 2), 0, Kind.ARENA, dtype)
    b.node(Op.GATHER, "gather", (x, at), y, axis=1)
    program = Program(b.image("gather", (x, at), (y,)))
    kind = np.dtype(f"<i{dtype.size_bytes}")
    values = np.arange(12, dtype=kind).reshape(2, 3, 2)
    wanted = np.array([2, -(2**31), 0, 2**31 - 1, 1], "<i4")
    found = np.frombuffer(program.run(values.tobytes() + wanted.tobytes()), kind)
    assert np.array_equal(found.reshape(2, 5, 2), values[:, [2, 0, 0, 2, 1]])


SMOOTH_FROM = {"EXP": -8.0, "LOG": 1.0, "RECIPROCAL": 1.0, "SQRT": 0.5, "RSQRT": 0.5}
"""Where functions that are not made of straight pieces are held to the bound that is stated."""


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_table_of_16_bits_is_as_near_as_is_stated(function: str) -> None:
    def real(x: np.ndarray) -> np.ndarray:
        return FUNCTIONS[function](x, 0.2)

    low, step = SMOOTH_FROM.get(function, -8.0), 8 / 32768
    x = np.linspace(low, 8, 1001)
    scale = float(np.abs(real(x)).max()) * 1.01 / 32768
    error = interpolation_error(
        Lookup(function, Quantization((step,), (0,)), Quantization((scale,), (0,)), 0.2),
        round(low / step),
    )
    curvature = np.abs(np.diff(real(x), 2)).max() / (x[1] - x[0]) ** 2
    assert error <= 2 + curvature * (128 * step) ** 2 / (8 * scale)
    assert error < 10


@pytest.mark.parametrize("function", ["EXP", "LOG", "SQRT"])
def test_a_table_of_8_bits_has_the_nearest_levels(function: str) -> None:
    x, y = Quantization((0.02,), (-100,)), Quantization((0.03,), (-128,))
    lookup = Lookup(function, x, y)
    exact = np.clip(lookup.levels(np.arange(-128, 128)), -128, 127)
    assert np.abs(int8_table(lookup) - exact).max() <= 0.5


@pytest.mark.parametrize("dtype", RANGES)
def test_arg_max_is_the_first_of_the_largest(dtype: DType) -> None:
    b = Builder()
    x = b.activation("x", (2, 5, 3), 0, Kind.ARENA, dtype)
    best = indices(b, "best", (2, 3))
    b.node(Op.ARG_MAX, "best", (x,), best, axis=1)
    program = Program(b.image("largest", (x,), (best,)))
    values = np.random.default_rng(4).integers(-3, 3, (2, 5, 3)) * (100 if dtype > 1 else 1)
    given = values.astype(np.dtype(f"<i{dtype.size_bytes}"))
    found = np.frombuffer(program.run(given.tobytes()), "<i4").reshape(2, 3)
    assert np.array_equal(found, given.argmax(axis=1))
