"""Random small models of every operator, with inputs: what the engine is compared on.

Case n of an operator is always the same, so that a failing one can be drawn again by its name.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Case:
    """`inputs[i]` is the list of input arrays of sample i, in the model's order."""

    name: str
    model: bytes
    inputs: list[list[Array]]


Draw = Callable[[Rng], tuple[bytes, Any]]
"""A model and its samples."""


def _integer(rng: Rng, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def _scale(rng: Rng, low: float = 0.005, high: float = 0.1) -> float:
    return float(np.float32(math.exp(rng.uniform(math.log(low), math.log(high)))))


def _activation(rng: Rng, name: str, shape: tuple[int, ...], scale: float = 0.0) -> Operand:
    """`scale` is that of an int8; an int16 of the same range has smaller steps."""
    step = rng.step(scale or _scale(rng))
    zero = 0 if rng.is_wide else _integer(rng, -128, 127)
    return Operand(name, shape, (step,), zero, dtype=rng.dtype)


def _out(operand: Operand, name: str, shape: tuple[int, ...]) -> Operand:
    """An output with its operand's quantization."""
    return Operand(name, shape, operand.scales, operand.zero_point, dtype=operand.dtype)


def _fused(rng: Rng) -> int:
    return int(rng.choice([NONE, RELU, RELU6]))


def _values(rng: Rng, shape: tuple[int, ...]) -> Array:
    return rng.integers(-rng.levels, rng.levels, shape, np.dtype(rng.dtype))


def _weights(rng: Rng, shape: tuple[int, ...], channel_axis: int, is_per_channel: bool) -> Operand:
    count = shape[channel_axis] if is_per_channel else 1
    scales = tuple(_scale(rng, 0.002, 0.02) for _ in range(count))
    data = rng.integers(-127, 128, shape, np.int8)
    return Operand("weights", shape, scales, 0, data, channel_axis=channel_axis)


def _bias(rng: Rng, x: Operand, weights: Operand, channels: int) -> Operand:
    scales = tuple(float(np.float32(x.scales[0]) * np.float32(s)) for s in weights.scales)
    if rng.is_wide:
        return constant_int64("bias", rng.integers(-(10**6), 10**6, channels), scales)
    return constant_int32("bias", rng.integers(-3000, 3000, channels), scales)


def _accumulating_output(
    rng: Rng, x: Operand, weights: Operand, taps: int, shape: tuple[int, ...]
) -> Operand:
    """An output whose scale lets sums of `taps` products fill its range, more or less."""
    typical = math.sqrt(taps) * 74 * 74 * rng.coarse * x.scales[0] * max(weights.scales)
    return _activation(rng, "y", shape, float(np.float32(typical * rng.uniform(1, 4) / 127)))


def _samples(rng: Rng, operands: list[Operand]) -> list[list[Array]]:
    fed = [o for o in operands if o.data is None]
    return [[_values(rng, o.shape) for o in fed] for _ in range(SAMPLES)]


def _case(
    rng: Rng, operator: str, inputs: list[Operand | None], y: Operand, **options: Any
) -> tuple[bytes, list[list[Array]]]:
    present = [o for o in inputs if o is not None]
    return one_operator(operator, inputs, y, options), _samples(rng, present)


def _fully_connected(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    batch, inputs, outputs = (_integer(rng, 1, n) for n in (3, 70, 20))
    x = _activation(rng, "x", (batch, inputs))
    w = _weights(rng, (outputs, inputs), 0, bool(rng.integers(2)))
    bias = _bias(rng, x, w, outputs) if rng.integers(4) else None
    y = _accumulating_output(rng, x, w, inputs, (batch, outputs))
    return _case(rng, "FULLY_CONNECTED", [x, w, bias], y, FusedActivationFunction=_fused(rng))


def _spatial(rng: Rng) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], int]:
    """Input size, filter size, stride, padding; the filter fits the input."""
    size = (_integer(rng, 3, 11), _integer(rng, 3, 11))
    taps = (_integer(rng, 1, min(4, size[0])), _integer(rng, 1, min(4, size[1])))
    stride = (_integer(rng, 1, 3), _integer(rng, 1, 3))
    return size, taps, stride, int(rng.integers(2))


def _dilation(rng: Rng, size: tuple[int, int], taps: tuple[int, int]) -> tuple[int, int]:
    """Factors with which the filter still fits, often 1."""
    factors = []
    for length, count in zip(size, taps, strict=True):
        largest = (length - 1) // (count - 1) if count > 1 else 1
        factors.append(_integer(rng, 1, max(1, min(3, largest))) if rng.integers(2) else 1)
    return factors[0], factors[1]


def _length(length: int, taps: int, stride: int, dilation: int, padding: int) -> int:
    reach = (taps - 1) * dilation + 1
    return -(-length // stride) if padding == SAME else -(-(length - reach + 1) // stride)


def _conv_2d(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    size, taps, stride, padding = _spatial(rng)
    dilation = _dilation(rng, size, taps) if stride == (1, 1) or rng.integers(2) else (1, 1)
    batch, channels, outputs = _integer(rng, 1, 2), _integer(rng, 1, 9), _integer(rng, 1, 9)
    groups = _integer(rng, 2, 3) if rng.integers(6) == 0 else 1
    outputs *= groups
    if rng.integers(8) == 0:
        channels *= 50  # more taps than the engine gathers at once
    x = _activation(rng, "x", (batch, *size, channels * groups))
    w = _weights(rng, (outputs, *taps, channels), 0, bool(rng.integers(4)))
    out = [_length(*parts, padding) for parts in zip(size, taps, stride, dilation, strict=True)]
    y = _accumulating_output(
        rng, x, w, taps[0] * taps[1] * channels, (batch, out[0], out[1], outputs)
    )
    return _case(
        rng, "CONV_2D", [x, w, _bias(rng, x, w, outputs)], y,
        Padding=padding, StrideH=stride[0], StrideW=stride[1], DilationHFactor=dilation[0],
        DilationWFactor=dilation[1], FusedActivationFunction=_fused(rng),
    )  # fmt: skip


def _depthwise_conv_2d(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    size, taps, stride, padding = _spatial(rng)
    stride = (stride[0], stride[0])
    dilation = _dilation(rng, size, taps) if rng.integers(2) else (1, 1)
    channels, multiplier = _integer(rng, 1, 80), _integer(rng, 1, 3)
    outputs = channels * multiplier
    x = _activation(rng, "x", (1, *size, channels))
    w = _weights(rng, (1, *taps, outputs), 3, bool(rng.integers(4)))
    out = [_length(*parts, padding) for parts in zip(size, taps, stride, dilation, strict=True)]
    y = _accumulating_output(rng, x, w, taps[0] * taps[1], (1, out[0], out[1], outputs))
    return _case(
        rng, "DEPTHWISE_CONV_2D", [x, w, _bias(rng, x, w, outputs)], y,
        Padding=padding, StrideH=stride[0], StrideW=stride[1], DilationHFactor=dilation[0],
        DilationWFactor=dilation[1], DepthMultiplier=multiplier,
        FusedActivationFunction=_fused(rng),
    )  # fmt: skip


def _pool(operator: str) -> Draw:
    def draw(rng: Rng) -> tuple[bytes, list[list[Array]]]:
        size, taps, stride, padding = _spatial(rng)
        batch, channels = _integer(rng, 1, 2), _integer(rng, 1, 9)
        x = _activation(rng, "x", (batch, *size, channels))
        out = [_length(*parts, 1, padding) for parts in zip(size, taps, stride, strict=True)]
        y = _out(x, "y", (batch, out[0], out[1], channels))
        return _case(
            rng, operator, [x], y,
            Padding=padding, StrideH=stride[0], StrideW=stride[1], FilterHeight=taps[0],
            FilterWidth=taps[1], FusedActivationFunction=_fused(rng),
        )  # fmt: skip

    return draw


def _mean(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    rank = _integer(rng, 2, 4)
    shape = tuple(_integer(rng, 1, 7) for _ in range(rank))
    count = _integer(rng, 1, min(2, rank))
    axes = sorted(int(a) for a in rng.choice(rank, count, replace=False))
    is_kept = bool(rng.integers(2))
    kept = tuple(1 if i in axes else d for i, d in enumerate(shape) if is_kept or i not in axes)
    x = _activation(rng, "x", shape)
    y = _out(x, "y", kept) if rng.integers(2) else _activation(rng, "y", kept)
    return _case(rng, "MEAN", [x, constant_int32("axes", axes)], y, KeepDims=is_kept)


def _broadcastable(rng: Rng) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    shape = tuple(_integer(rng, 1, 6) for _ in range(_integer(rng, 1, 4)))
    other = shape
    match rng.integers(4):
        case 1:
            other = tuple(1 if rng.integers(2) else d for d in shape)
        case 2:
            other = shape[_integer(rng, 0, len(shape) - 1) :]
        case 3:
            other = (1,)
    return (shape, other, shape) if rng.integers(2) else (other, shape, shape)


def _binary(operator: str) -> Draw:
    def draw(rng: Rng) -> tuple[bytes, list[list[Array]]]:
        shape_a, shape_b, shape_y = _broadcastable(rng)
        a = _activation(rng, "a", shape_a)
        b = _activation(rng, "b", shape_b)
        if rng.integers(3) == 0:
            b = replace(b, data=_values(rng, shape_b))
        real_a, real_b = (operand.scales[0] * rng.coarse for operand in (a, b))
        typical = real_a * real_b * 74 if operator == "MUL" else real_a + real_b
        y = _activation(rng, "y", shape_y, float(np.float32(typical * rng.uniform(0.5, 2))))
        return _case(rng, operator, [a, b], y, FusedActivationFunction=_fused(rng))

    return draw


def _concatenation(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    rank = _integer(rng, 1, 4)
    axis = _integer(rng, 0, rank - 1)
    shape = [_integer(rng, 1, 5) for _ in range(rank)]
    parts = []
    first = _activation(rng, "x", tuple(shape))
    for i in range(_integer(rng, 2, 4)):
        shape[axis] = _integer(rng, 1, 5)
        parts.append(_out(first, f"x{i}", tuple(shape)))
    shape[axis] = sum(p.shape[axis] for p in parts)
    y = _out(first, "y", tuple(shape))
    given = axis - rank if rng.integers(2) else axis
    return _case(rng, "CONCATENATION", [*parts], y, Axis=given, FusedActivationFunction=NONE)


def _pad(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    rank = _integer(rng, 1, 4)
    shape = tuple(_integer(rng, 1, 6) for _ in range(rank))
    paddings = rng.integers(0, 4, (rank, 2))
    x = _activation(rng, "x", shape)
    y = _out(x, "y", tuple(d + int(p.sum()) for d, p in zip(shape, paddings, strict=True)))
    operands: list[Operand | None] = [x, constant_int32("paddings", paddings)]
    if rng.integers(2):
        value = replace(x, name="value", shape=(1,), data=_values(rng, (1,)))
        return _case(rng, "PADV2", [*operands, value], y)
    return _case(rng, "PAD", operands, y)


def _reshape(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    shape = tuple(_integer(rng, 1, 6) for _ in range(_integer(rng, 1, 4)))
    x = _activation(rng, "x", shape)
    flat = [math.prod(shape)]
    target = flat if rng.integers(2) else [*reversed(shape)]
    y = _out(x, "y", tuple(target))
    return _case(rng, "RESHAPE", [x, constant_int32("shape", target)], y, NewShape=target)


def _softmax(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    shape = (_integer(rng, 1, 4), _integer(rng, 1, 200))
    x = _activation(rng, "x", shape, _scale(rng, 0.001, 1.0))
    return _case(rng, "SOFTMAX", [x], _fixed(rng, x, 1 / 256, -128), Beta=1.0)


def _fixed(rng: Rng, x: Operand, scale: float, zero: int) -> Operand:
    """The output whose quantization TFLite fixes; of int16 it is always the same."""
    if rng.is_wide:
        return Operand("y", x.shape, (1 / 32768,), 0, dtype="int16")
    return Operand("y", x.shape, (scale,), zero)


def _every_level(rng: Rng, operand: Operand) -> list[list[Array]]:
    """All 256 values of an int8, or 1,792 of an int16 with its ends, in samples of 256."""
    if not rng.is_wide:
        return [[np.arange(-128, 128, dtype=np.int8).reshape(operand.shape)]]
    spread = np.linspace(-32768, 32767, 7 * 256).round().astype(np.int16)
    return [[part.reshape(operand.shape)] for part in spread.reshape(7, 256)]


def _table(operator: str, scale: float, zero: int) -> Draw:
    def draw(rng: Rng) -> tuple[bytes, list[list[Array]]]:
        x = _activation(rng, "x", (1, 256), _scale(rng, 0.003, 0.3))
        if rng.is_wide and rng.integers(4) == 0:  # scales that TFLite treats as exact
            x = replace(x, scales=(2.0 ** -_integer(rng, 10, 12),))
        y = _fixed(rng, x, scale, zero)
        return one_operator(operator, [x], y, {}), _every_level(rng, x)

    return draw


def _rescaling(operator: str) -> Draw:
    def draw(rng: Rng) -> tuple[bytes, list[list[Array]]]:
        x = _activation(rng, "x", (1, 256))
        ratio = rng.coarse * rng.uniform(0.3, 3)
        y = _activation(rng, "y", (1, 256), float(np.float32(x.scales[0] * ratio)))
        return one_operator(operator, [x], y, {}), _every_level(rng, x)

    return draw


def _relu6(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    x = _activation(rng, "x", (1, 256), _scale(rng, 0.02, 0.1))
    x = replace(x, zero_point=_integer(rng, -128, 0))
    return one_operator("RELU6", [x], _out(x, "y", x.shape), {}), _every_level(rng, x)


def _between_widths(source: str, target: str) -> Draw:
    """QUANTIZE from one width to another."""

    def draw(rng: Rng) -> tuple[bytes, list[list[Array]]]:
        rng.dtype = source
        x = _activation(rng, "x", (1, 256))
        inputs, real = _every_level(rng, x), x.scales[0] * rng.coarse
        rng.dtype = target
        y = _activation(rng, "y", x.shape, float(np.float32(real * rng.uniform(0.3, 3))))
        return one_operator("QUANTIZE", [x], y, {}), inputs

    return draw


_INT8: Final[dict[str, Draw]] = {
    "FULLY_CONNECTED": _fully_connected,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "AVERAGE_POOL_2D": _pool("AVERAGE_POOL_2D"),
    "MAX_POOL_2D": _pool("MAX_POOL_2D"),
    "MEAN": _mean,
    "ADD": _binary("ADD"),
    "SUB": _binary("SUB"),
    "MUL": _binary("MUL"),
    "CONCATENATION": _concatenation,
    "PAD": _pad,
    "RESHAPE": _reshape,
    "SOFTMAX": _softmax,
    "LOGISTIC": _table("LOGISTIC", 1 / 256, -128),
    "TANH": _table("TANH", 1 / 128, 0),
    "RELU": _rescaling("RELU"),
    "RELU6": _relu6,
    "QUANTIZE": _rescaling("QUANTIZE"),
}
_WIDE: Final = (
    "FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN",
    "ADD", "SUB", "MUL", "CONCATENATION", "PAD", "RESHAPE", "SOFTMAX", "LOGISTIC", "TANH",
    "QUANTIZE",
)  # fmt: skip

DRAWS: Final[dict[str, Draw]] = {
    **_INT8,
    **{f"{operator}_16": _INT8[operator] for operator in _WIDE},
    "QUANTIZE_8_16": _between_widths("int8", "int16"),
    "QUANTIZE_16_8": _between_widths("int16", "int8"),
}
"""By operator of the ABI, and with _16 behind it for 16-bit activations."""


def cases(operator: str, count: int) -> Iterator[Case]:
    """`count` cases; case n of an operator is always the same."""
    for number in range(count):
        dtype = "int16" if operator.endswith("_16") else "int8"
        rng = Rng([number, *operator.encode()], dtype)
        model, inputs = DRAWS[operator](rng)
        yield Case(f"{operator}-{number}", model, inputs)
