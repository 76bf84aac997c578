"""Random small models of the operators that ABI 2 added."""

from typing import Final

import numpy as np

from tests.engine.drawing import (
    NONE,
    SAME,
    Array,
    Draw,
    Rng,
    accumulating_output,
    activation,
    broadcastable,
    case_of,
    drawn_bias,
    drawn_scale,
    drawn_weights,
    every_level,
    fused,
    integer,
    output_like,
    samples_of,
    spatial,
)
from tests.engine.tflite_models import Operand, constant_int32, one_operator

Drawn = tuple[bytes, list[list[Array]]]


def _shape(rng: Rng, ranks: tuple[int, int] = (1, 4), size: int = 6) -> tuple[int, ...]:
    return tuple(integer(rng, 1, size) for _ in range(integer(rng, *ranks)))


def _div(rng: Rng) -> Drawn:
    """Within what TFLite Micro defines: no divisor is 0, and no quotient so small that its last
    shift would exceed 31 bits (it gives arbitrary levels there, the engine the nearest)."""
    shape_a, shape_b, shape_y = broadcastable(rng)
    a, b = activation(rng, "a", shape_a), activation(rng, "b", shape_b)
    typical = a.scales[0] / b.scales[0] * rng.uniform(0.01, 0.2)
    y = activation(rng, "y", shape_y, float(np.float32(typical)))
    model, inputs = case_of(rng, "DIV", [a, b], y, FusedActivationFunction=fused(rng))
    for dividend, divisor in inputs:
        dividend[np.abs(dividend.astype(int) - a.zero_point) < 9] = _away(a.zero_point, 9)
        divisor[divisor == b.zero_point] = _away(b.zero_point, 1)
    return model, inputs


def _away(zero_point: int, distance: int) -> int:
    """A level that far from zero."""
    return zero_point + distance if zero_point < 0 else zero_point - distance


def _leaky_relu(rng: Rng) -> Drawn:
    x = activation(rng, "x", (1, 256))
    y = activation(rng, "y", x.shape, float(x.scales[0] * rng.coarse * rng.uniform(0.3, 2)))
    alpha = float(np.float32(rng.uniform(0.01, 1.2)))
    return one_operator("LEAKY_RELU", [x], y, {"Alpha": alpha}), every_level(rng, x)


def _prelu(rng: Rng) -> Drawn:
    shape = _shape(rng, (2, 4))
    x = activation(rng, "x", shape)
    slopes = (1,) * (len(shape) - 1) + shape[-1:]
    alpha = Operand("alpha", slopes, (drawn_scale(rng),), integer(rng, -20, 20),
                    rng.integers(-128, 128, slopes, np.int8))  # fmt: skip
    y = activation(rng, "y", shape, float(x.scales[0] * rng.coarse * rng.uniform(0.5, 2)))
    return case_of(rng, "PRELU", [x, alpha], y)


def _hard_swish(rng: Rng) -> Drawn:
    x = activation(rng, "x", (1, 256), drawn_scale(rng, 0.01, 0.2))
    y = activation(rng, "y", x.shape, float(x.scales[0] * rng.uniform(0.5, 1.5)))
    return one_operator("HARD_SWISH", [x], y, {}), every_level(rng, x)


def _abs(rng: Rng) -> Drawn:
    x = activation(rng, "x", (1, 256))
    is_rescaled = bool(rng.integers(3))
    y = activation(rng, "y", x.shape, float(x.scales[0] * rng.uniform(0.5, 1.5)))
    same = Operand("y", x.shape, x.scales, y.zero_point)
    return one_operator("ABS", [x], y if is_rescaled else same, {}), every_level(rng, x)


def _rsqrt(rng: Rng) -> Drawn:
    """Of values from 0 on: TFLite refuses the others."""
    x = Operand("x", (1, 256), (drawn_scale(rng),), -128)
    y = activation(rng, "y", x.shape, drawn_scale(rng, 0.01, 0.2))
    return one_operator("RSQRT", [x], y, {}), every_level(rng, x)


def _transpose_conv(rng: Rng) -> Drawn:
    size, taps, stride, padding = spatial(rng)
    channels, outputs = integer(rng, 1, 6), integer(rng, 1, 6)
    x = activation(rng, "x", (1, *size, channels))
    w = drawn_weights(rng, (outputs, *taps, channels), 0, bool(rng.integers(4)))
    bias = drawn_bias(rng, x, w, outputs) if rng.integers(4) else None
    out = [
        integer(rng, (n - 1) * s + 1, n * s)
        if padding == SAME
        else integer(rng, (n - 1) * s + k, n * s + k - 1)
        for n, k, s in zip(size, taps, stride, strict=True)
    ]
    shape = (1, out[0], out[1], outputs)
    y = accumulating_output(rng, x, w, taps[0] * taps[1] * channels, shape)
    operands = [constant_int32("shape", shape), w, x, *([] if bias is None else [bias])]
    return case_of(
        rng, "TRANSPOSE_CONV", operands, y,
        Padding=padding, StrideH=stride[0], StrideW=stride[1], FusedActivationFunction=NONE,
    )  # fmt: skip


def _transpose(rng: Rng) -> Drawn:
    shape = _shape(rng, (2, 4))
    axes = rng.permutation(len(shape))
    x = activation(rng, "x", shape)
    y = output_like(x, "y", tuple(shape[axis] for axis in axes))
    return case_of(rng, "TRANSPOSE", [x, constant_int32("axes", axes)], y)


def _strided_slice(rng: Rng) -> Drawn:
    shape = _shape(rng, (1, 4))
    begins, ends, steps, kept, shrink = [], [], [], [], 0
    for axis, size in enumerate(shape):
        begin = integer(rng, 0, size - 1)
        step = int(rng.choice([-2, -1, 1, 1, 2]))
        end = (
            integer(rng, begin + 1, size) if step > 0 else integer(rng, -size - 1, begin - size - 1)
        )
        count = len(range(*slice(begin, end, step).indices(size)))
        if rng.integers(5) == 0 and len(shape) - len(kept) > 1:
            shrink |= 1 << axis
            step, count, end = 1, 0, begin + 1
        begins.append(begin - size if rng.integers(3) == 0 else begin)
        ends.append(end)
        steps.append(step)
        kept += [count] if count else []
    x = activation(rng, "x", shape)
    y = output_like(x, "y", tuple(kept))
    operands: list[Operand | None] = [
        x, constant_int32("begin", begins), constant_int32("end", ends),
        constant_int32("steps", steps),
    ]  # fmt: skip
    return case_of(rng, "STRIDED_SLICE", operands, y, ShrinkAxisMask=shrink)


def _slice(rng: Rng) -> Drawn:
    shape = _shape(rng, (1, 4))
    begins = [integer(rng, 0, size - 1) for size in shape]
    sizes = [integer(rng, 1, whole - b) for whole, b in zip(shape, begins, strict=True)]
    x = activation(rng, "x", shape)
    operands: list[Operand | None] = [
        x, constant_int32("begin", begins), constant_int32("size", sizes)
    ]  # fmt: skip
    return case_of(rng, "SLICE", operands, output_like(x, "y", tuple(sizes)))


def _split(rng: Rng) -> Drawn:
    shape = list(_shape(rng, (1, 4)))
    axis, count = integer(rng, 0, len(shape) - 1), integer(rng, 1, 3)
    part = tuple(shape)
    shape[axis] *= count
    x = activation(rng, "x", tuple(shape))
    outputs = [output_like(x, f"y{i}", part) for i in range(count)]
    model = one_operator("SPLIT", [constant_int32("axis", axis), x], outputs, {"NumSplits": count})
    return model, samples_of(rng, [x])


def _gather(rng: Rng) -> Drawn:
    shape = _shape(rng, (1, 4))
    axis = integer(rng, 0, len(shape) - 1)
    x = activation(rng, "x", shape)
    indices = rng.integers(0, shape[axis], integer(rng, 1, 7))
    y = output_like(x, "y", (*shape[:axis], len(indices), *shape[axis + 1 :]))
    operands: list[Operand | None] = [x, constant_int32("indices", indices)]
    return case_of(rng, "GATHER", operands, y, Axis=axis)


def _resize_nearest(rng: Rng) -> Drawn:
    shape = tuple(integer(rng, 1, n) for n in (2, 9, 9, 5))
    wanted = (integer(rng, 1, 20), integer(rng, 1, 20))
    x = activation(rng, "x", shape)
    y = output_like(x, "y", (shape[0], *wanted, shape[3]))
    way = integer(rng, 0, 2)
    return case_of(
        rng, "RESIZE_NEAREST_NEIGHBOR", [x, constant_int32("size", wanted)], y,
        AlignCorners=way == 1, HalfPixelCenters=way == 2,
    )  # fmt: skip


def _arg_max(rng: Rng) -> Drawn:
    shape = _shape(rng, (1, 4), 12)
    axis = integer(rng, 0, len(shape) - 1)
    x = activation(rng, "x", shape)
    y = Operand("y", (*shape[:axis], *shape[axis + 1 :]), dtype="int32")
    given = axis - len(shape) if rng.integers(2) else axis
    operands: list[Operand | None] = [x, constant_int32("axis", given)]
    return case_of(rng, "ARG_MAX", operands, y, OutputType=2)


INT8_DRAWS: Final[dict[str, Draw]] = {
    "DIV": _div,
    "LEAKY_RELU": _leaky_relu,
    "PRELU": _prelu,
    "HARD_SWISH": _hard_swish,
    "ABS": _abs,
    "RSQRT": _rsqrt,
    "TRANSPOSE_CONV": _transpose_conv,
    "TRANSPOSE": _transpose,
    "STRIDED_SLICE": _strided_slice,
    "SLICE": _slice,
    "SPLIT": _split,
    "GATHER": _gather,
    "RESIZE_NEAREST": _resize_nearest,
    "ARG_MAX": _arg_max,
}

WIDE: Final = (
    "LEAKY_RELU", "PRELU", "TRANSPOSE_CONV", "TRANSPOSE", "STRIDED_SLICE", "SLICE", "SPLIT",
    "RESIZE_NEAREST",
)  # fmt: skip
"""Those that TFLite Micro has for 16-bit activations as well."""
