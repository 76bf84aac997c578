"""Random small TFLite models and the values that they are fed: what every draw is made of."""

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tests.engine.tflite_models import (
    Operand,
    constant_int32,
    constant_int64,
    one_operator,
)

SAME, VALID = 0, 1
NONE, RELU, RELU6 = 0, 1, 3
SAMPLES: Final = 6

Array = np.ndarray[Any, Any]


class Rng(np.random.Generator):
    """A source of random numbers that also says the width of the activations that it draws."""

    def __init__(self, seed: list[int], dtype: str) -> None:
        super().__init__(np.random.PCG64(seed))
        self.dtype = dtype

    @property
    def is_wide(self) -> bool:
        return self.dtype == "int16"

    @property
    def levels(self) -> int:
        """Of half a range: 128 or 32768."""
        return 32768 if self.is_wide else 128

    @property
    def coarse(self) -> float:
        """How much larger a step of 8 bits is."""
        return self.levels / 128

    def step(self, of_int8: float) -> float:
        """A scale that spans the same real range."""
        return float(np.float32(of_int8 / self.coarse))


Draw = Callable[[Rng], tuple[bytes, Any]]
"""A model and its samples."""


def integer(rng: Rng, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def drawn_scale(rng: Rng, low: float = 0.005, high: float = 0.1) -> float:
    return float(np.float32(math.exp(rng.uniform(math.log(low), math.log(high)))))


def activation(rng: Rng, name: str, shape: tuple[int, ...], scale: float = 0.0) -> Operand:
    """`scale` is that of an int8; an int16 of the same range has smaller steps."""
    step = rng.step(scale or drawn_scale(rng))
    zero = 0 if rng.is_wide else integer(rng, -128, 127)
    return Operand(name, shape, (step,), zero, dtype=rng.dtype)


def output_like(operand: Operand, name: str, shape: tuple[int, ...]) -> Operand:
    """An output with its operand's quantization."""
    return Operand(name, shape, operand.scales, operand.zero_point, dtype=operand.dtype)


def fused(rng: Rng) -> int:
    return int(rng.choice([NONE, RELU, RELU6]))


def values(rng: Rng, shape: tuple[int, ...]) -> Array:
    return rng.integers(-rng.levels, rng.levels, shape, np.dtype(rng.dtype))


def drawn_weights(
    rng: Rng, shape: tuple[int, ...], channel_axis: int, is_per_channel: bool
) -> Operand:
    count = shape[channel_axis] if is_per_channel else 1
    scales = tuple(drawn_scale(rng, 0.002, 0.02) for _ in range(count))
    data = rng.integers(-127, 128, shape, np.int8)
    return Operand("weights", shape, scales, 0, data, channel_axis=channel_axis)


def drawn_bias(rng: Rng, x: Operand, weights: Operand, channels: int) -> Operand:
    scales = tuple(float(np.float32(x.scales[0]) * np.float32(s)) for s in weights.scales)
    if rng.is_wide:
        return constant_int64("bias", rng.integers(-(10**6), 10**6, channels), scales)
    return constant_int32("bias", rng.integers(-3000, 3000, channels), scales)


def accumulating_output(
    rng: Rng, x: Operand, weights: Operand, taps: int, shape: tuple[int, ...]
) -> Operand:
    """An output whose scale lets sums of `taps` products fill its range, more or less."""
    typical = math.sqrt(taps) * 74 * 74 * rng.coarse * x.scales[0] * max(weights.scales)
    return activation(rng, "y", shape, float(np.float32(typical * rng.uniform(1, 4) / 127)))


def samples_of(rng: Rng, operands: list[Operand]) -> list[list[Array]]:
    fed = [o for o in operands if o.data is None]
    return [[values(rng, o.shape) for o in fed] for _ in range(SAMPLES)]


def case_of(
    rng: Rng, operator: str, inputs: list[Operand | None], y: Operand, **options: Any
) -> tuple[bytes, list[list[Array]]]:
    present = [o for o in inputs if o is not None]
    return one_operator(operator, inputs, y, options), samples_of(rng, present)


def spatial(rng: Rng) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], int]:
    """Input size, filter size, stride, padding; the filter fits the input."""
    size = (integer(rng, 3, 11), integer(rng, 3, 11))
    taps = (integer(rng, 1, min(4, size[0])), integer(rng, 1, min(4, size[1])))
    stride = (integer(rng, 1, 3), integer(rng, 1, 3))
    return size, taps, stride, int(rng.integers(2))


def drawn_dilation(rng: Rng, size: tuple[int, int], taps: tuple[int, int]) -> tuple[int, int]:
    """Factors with which the filter still fits, often 1."""
    factors = []
    for length, count in zip(size, taps, strict=True):
        largest = (length - 1) // (count - 1) if count > 1 else 1
        factors.append(integer(rng, 1, max(1, min(3, largest))) if rng.integers(2) else 1)
    return factors[0], factors[1]


def output_length(length: int, taps: int, stride: int, dilation: int, padding: int) -> int:
    reach = (taps - 1) * dilation + 1
    return -(-length // stride) if padding == SAME else -(-(length - reach + 1) // stride)


def broadcastable(rng: Rng) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    shape = tuple(integer(rng, 1, 6) for _ in range(integer(rng, 1, 4)))
    other = shape
    match rng.integers(4):
        case 1:
            other = tuple(1 if rng.integers(2) else d for d in shape)
        case 2:
            other = shape[integer(rng, 0, len(shape) - 1) :]
        case 3:
            other = (1,)
    return (shape, other, shape) if rng.integers(2) else (other, shape, shape)


def fixed_output(rng: Rng, x: Operand, scale: float, zero: int) -> Operand:
    """The output whose quantization TFLite fixes; of int16 it is always the same."""
    if rng.is_wide:
        return Operand("y", x.shape, (1 / 32768,), 0, dtype="int16")
    return Operand("y", x.shape, (scale,), zero)


def every_level(rng: Rng, operand: Operand) -> list[list[Array]]:
    """All 256 values of an int8, or 1,792 of an int16 with its ends, in samples of 256."""
    if not rng.is_wide:
        return [[np.arange(-128, 128, dtype=np.int8).reshape(operand.shape)]]
    spread = np.linspace(-32768, 32767, 7 * 256).round().astype(np.int16)
    return [[part.reshape(operand.shape)] for part in spread.reshape(7, 256)]
