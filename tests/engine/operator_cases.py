"""Random small models of every operator, with inputs: what the engine is compared on.

Case n of an operator is always the same, so that a failing one can be drawn again by its name.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tests.engine.drawing import (
    NONE,
    Array,
    Draw,
    Rng,
    accumulating_output,
    activation,
    broadcastable,
    case_of,
    drawn_bias,
    drawn_dilation,
    drawn_scale,
    drawn_weights,
    every_level,
    fixed_output,
    fused,
    integer,
    output_length,
    output_like,
    spatial,
    values,
)
from tests.engine.operator_cases_abi2 import INT8_DRAWS, WIDE
from tests.engine.tflite_models import Operand, constant_int32, one_operator


@dataclass(frozen=True)
class Case:
    """`inputs[i]` is the list of input arrays of sample i, in the model's order."""

    name: str
    model: bytes
    inputs: list[list[Array]]


def _fully_connected(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    batch, inputs, outputs = (integer(rng, 1, n) for n in (3, 70, 20))
    x = activation(rng, "x", (batch, inputs))
    w = drawn_weights(rng, (outputs, inputs), 0, bool(rng.integers(2)))
    bias = drawn_bias(rng, x, w, outputs) if rng.integers(4) else None
    y = accumulating_output(rng, x, w, inputs, (batch, outputs))
    return case_of(rng, "FULLY_CONNECTED", [x, w, bias], y, FusedActivationFunction=fused(rng))


def _conv_2d(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    size, taps, stride, padding = spatial(rng)
    dilation = drawn_dilation(rng, size, taps) if stride == (1, 1) or rng.integers(2) else (1, 1)
    batch, channels, outputs = integer(rng, 1, 2), integer(rng, 1, 9), integer(rng, 1, 9)
    groups = integer(rng, 2, 3) if rng.integers(6) == 0 else 1
    outputs *= groups
    if rng.integers(8) == 0:
        channels *= 50  # more taps than the engine gathers at once
    x = activation(rng, "x", (batch, *size, channels * groups))
    w = drawn_weights(rng, (outputs, *taps, channels), 0, bool(rng.integers(4)))
    out = [
        output_length(*parts, padding) for parts in zip(size, taps, stride, dilation, strict=True)
    ]
    y = accumulating_output(
        rng, x, w, taps[0] * taps[1] * channels, (batch, out[0], out[1], outputs)
    )
    return case_of(
        rng, "CONV_2D", [x, w, drawn_bias(rng, x, w, outputs)], y,
        Padding=padding, StrideH=stride[0], StrideW=stride[1], DilationHFactor=dilation[0],
        DilationWFactor=dilation[1], FusedActivationFunction=fused(rng),
    )  # fmt: skip


def _depthwise_conv_2d(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    size, taps, stride, padding = spatial(rng)
    stride = (stride[0], stride[0])
    dilation = drawn_dilation(rng, size, taps) if rng.integers(2) else (1, 1)
    channels, multiplier = integer(rng, 1, 80), integer(rng, 1, 3)
    outputs = channels * multiplier
    x = activation(rng, "x", (1, *size, channels))
    w = drawn_weights(rng, (1, *taps, outputs), 3, bool(rng.integers(4)))
    out = [
        output_length(*parts, padding) for parts in zip(size, taps, stride, dilation, strict=True)
    ]
    y = accumulating_output(rng, x, w, taps[0] * taps[1], (1, out[0], out[1], outputs))
    return case_of(
        rng, "DEPTHWISE_CONV_2D", [x, w, drawn_bias(rng, x, w, outputs)], y,
        Padding=padding, StrideH=stride[0], StrideW=stride[1], DilationHFactor=dilation[0],
        DilationWFactor=dilation[1], DepthMultiplier=multiplier,
        FusedActivationFunction=fused(rng),
    )  # fmt: skip


def _pool(operator: str) -> Draw:
    def draw(rng: Rng) -> tuple[bytes, list[list[Array]]]:
        size, taps, stride, padding = spatial(rng)
        batch, channels = integer(rng, 1, 2), integer(rng, 1, 9)
        x = activation(rng, "x", (batch, *size, channels))
        out = [output_length(*parts, 1, padding) for parts in zip(size, taps, stride, strict=True)]
        y = output_like(x, "y", (batch, out[0], out[1], channels))
        return case_of(
            rng, operator, [x], y,
            Padding=padding, StrideH=stride[0], StrideW=stride[1], FilterHeight=taps[0],
            FilterWidth=taps[1], FusedActivationFunction=fused(rng),
        )  # fmt: skip

    return draw


def _mean(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    rank = integer(rng, 2, 4)
    shape = tuple(integer(rng, 1, 7) for _ in range(rank))
    count = integer(rng, 1, min(2, rank))
    axes = sorted(int(a) for a in rng.choice(rank, count, replace=False))
    is_kept = bool(rng.integers(2))
    kept = tuple(1 if i in axes else d for i, d in enumerate(shape) if is_kept or i not in axes)
    x = activation(rng, "x", shape)
    y = output_like(x, "y", kept) if rng.integers(2) else activation(rng, "y", kept)
    return case_of(rng, "MEAN", [x, constant_int32("axes", axes)], y, KeepDims=is_kept)


def _binary(operator: str) -> Draw:
    def draw(rng: Rng) -> tuple[bytes, list[list[Array]]]:
        shape_a, shape_b, shape_y = broadcastable(rng)
        a = activation(rng, "a", shape_a)
        b = activation(rng, "b", shape_b)
        if rng.integers(3) == 0:
            b = replace(b, data=values(rng, shape_b))
        real_a, real_b = (operand.scales[0] * rng.coarse for operand in (a, b))
        typical = real_a * real_b * 74 if operator == "MUL" else real_a + real_b
        y = activation(rng, "y", shape_y, float(np.float32(typical * rng.uniform(0.5, 2))))
        return case_of(rng, operator, [a, b], y, FusedActivationFunction=fused(rng))

    return draw


def _concatenation(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    rank = integer(rng, 1, 4)
    axis = integer(rng, 0, rank - 1)
    shape = [integer(rng, 1, 5) for _ in range(rank)]
    parts = []
    first = activation(rng, "x", tuple(shape))
    for i in range(integer(rng, 2, 4)):
        shape[axis] = integer(rng, 1, 5)
        parts.append(output_like(first, f"x{i}", tuple(shape)))
    shape[axis] = sum(p.shape[axis] for p in parts)
    y = output_like(first, "y", tuple(shape))
    given = axis - rank if rng.integers(2) else axis
    return case_of(rng, "CONCATENATION", [*parts], y, Axis=given, FusedActivationFunction=NONE)


def _pad(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    rank = integer(rng, 1, 4)
    shape = tuple(integer(rng, 1, 6) for _ in range(rank))
    paddings = rng.integers(0, 4, (rank, 2))
    x = activation(rng, "x", shape)
    y = output_like(x, "y", tuple(d + int(p.sum()) for d, p in zip(shape, paddings, strict=True)))
    operands: list[Operand | None] = [x, constant_int32("paddings", paddings)]
    if rng.integers(2):
        value = replace(x, name="value", shape=(1,), data=values(rng, (1,)))
        return case_of(rng, "PADV2", [*operands, value], y)
    return case_of(rng, "PAD", operands, y)


def _reshape(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    shape = tuple(integer(rng, 1, 6) for _ in range(integer(rng, 1, 4)))
    x = activation(rng, "x", shape)
    flat = [math.prod(shape)]
    target = flat if rng.integers(2) else [*reversed(shape)]
    y = output_like(x, "y", tuple(target))
    return case_of(rng, "RESHAPE", [x, constant_int32("shape", target)], y, NewShape=target)


def _softmax(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    shape = (integer(rng, 1, 4), integer(rng, 1, 200))
    x = activation(rng, "x", shape, drawn_scale(rng, 0.001, 1.0))
    return case_of(rng, "SOFTMAX", [x], fixed_output(rng, x, 1 / 256, -128), Beta=1.0)


def _table(operator: str, scale: float, zero: int) -> Draw:
    def draw(rng: Rng) -> tuple[bytes, list[list[Array]]]:
        x = activation(rng, "x", (1, 256), drawn_scale(rng, 0.003, 0.3))
        if rng.is_wide and rng.integers(4) == 0:  # scales that TFLite treats as exact
            x = replace(x, scales=(2.0 ** -integer(rng, 10, 12),))
        y = fixed_output(rng, x, scale, zero)
        return one_operator(operator, [x], y, {}), every_level(rng, x)

    return draw


def _rescaling(operator: str) -> Draw:
    def draw(rng: Rng) -> tuple[bytes, list[list[Array]]]:
        x = activation(rng, "x", (1, 256))
        ratio = rng.coarse * rng.uniform(0.3, 3)
        y = activation(rng, "y", (1, 256), float(np.float32(x.scales[0] * ratio)))
        return one_operator(operator, [x], y, {}), every_level(rng, x)

    return draw


def _relu6(rng: Rng) -> tuple[bytes, list[list[Array]]]:
    x = activation(rng, "x", (1, 256), drawn_scale(rng, 0.02, 0.1))
    x = replace(x, zero_point=integer(rng, -128, 0))
    return one_operator("RELU6", [x], output_like(x, "y", x.shape), {}), every_level(rng, x)


def _between_widths(source: str, target: str) -> Draw:
    """QUANTIZE from one width to another."""

    def draw(rng: Rng) -> tuple[bytes, list[list[Array]]]:
        rng.dtype = source
        x = activation(rng, "x", (1, 256))
        inputs, real = every_level(rng, x), x.scales[0] * rng.coarse
        rng.dtype = target
        y = activation(rng, "y", x.shape, float(np.float32(real * rng.uniform(0.3, 3))))
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

_ALL: Final = {**_INT8, **INT8_DRAWS}

DRAWS: Final[dict[str, Draw]] = {
    **_ALL,
    **{f"{operator}_16": _ALL[operator] for operator in (*_WIDE, *WIDE)},
    "QUANTIZE_8_16": _between_widths("int8", "int16"),
    "QUANTIZE_16_8": _between_widths("int16", "int8"),
}
"""By operator of TFLite, and with _16 behind it for 16-bit activations."""


def cases(operator: str, count: int) -> Iterator[Case]:
    """`count` cases; case n of an operator is always the same."""
    for number in range(count):
        dtype = "int16" if operator.endswith("_16") else "int8"
        rng = Rng([number, *operator.encode()], dtype)
        model, inputs = DRAWS[operator](rng)
        yield Case(f"{operator}-{number}", model, inputs)
