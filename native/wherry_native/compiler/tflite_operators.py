"""One builder per TFLite operator: what an operator of the file is in our graph.

Source: TFLite schema version 3 (PyPI `tflite`); padding as in TFLite's padding.h.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import tflite  # type: ignore[import-untyped]

from wherry_native.compiler import tflite_moves
from wherry_native.compiler.errors import CompileError
from wherry_native.compiler.ir import OPEN, RELU, RELU6, Clamp, Node, Window
from wherry_native.compiler.tflite_call import Call
from wherry_native.program import Op

_CLAMPS: Final = {
    tflite.ActivationFunctionType.NONE: OPEN,
    tflite.ActivationFunctionType.RELU: RELU,
    tflite.ActivationFunctionType.RELU6: RELU6,
    tflite.ActivationFunctionType.RELU_N1_TO_1: Clamp(-1.0, 1.0),
}


def _present(call: Call, count: int) -> tuple[str, ...]:
    return tuple(name for name in call.inputs[:count] if name)


def _clamp(code: int, call: Call) -> Clamp:
    if code not in _CLAMPS:
        raise CompileError(f"node {call.name!r} has fused activation {code}, not supported")
    return _CLAMPS[code]


def _window(call: Call, options: Any, size: tuple[int, int], dilation: tuple[int, int]) -> Window:
    x = call.tensor(0).shape
    if len(x) != 4:
        raise CompileError(f"node {call.name!r}: input has shape {list(x)}, must have rank 4")
    stride = (options.StrideH(), options.StrideW())
    if min(*stride, *dilation, *size) < 1:
        raise CompileError(
            f"node {call.name!r}: filter {size}, stride {stride} and dilation {dilation} "
            "must be at least 1"
        )
    pads = (0, 0, 0, 0)
    if options.Padding() == tflite.Padding.SAME:
        (top, bottom), (left, right) = (
            _same_padding(*axis) for axis in zip(x[1:3], size, stride, dilation, strict=True)
        )
        pads = (top, left, bottom, right)
    return Window(size, stride, dilation, pads)


def _same_padding(length: int, size: int, stride: int, dilation: int) -> tuple[int, int]:
    """SAME: the output has ceil(length / stride) elements; an odd padding's rest goes behind."""
    count = -(-length // stride)
    total = max((count - 1) * stride + (size - 1) * dilation + 1 - length, 0)
    return total // 2, total - total // 2


def _filter_size(call: Call) -> tuple[int, int]:
    shape = call.tensor(1).shape
    if len(shape) != 4:
        raise CompileError(f"node {call.name!r}: weights have shape {list(shape)}, rank must be 4")
    return shape[1], shape[2]


def _conv_2d(call: Call) -> Node:
    options = call.options(tflite.Conv2DOptions)
    dilation = (options.DilationHFactor(), options.DilationWFactor())
    return Node(
        Op.CONV_2D, call.name, _present(call, 3), call.output,
        clamp=_clamp(options.FusedActivationFunction(), call),
        window=_window(call, options, _filter_size(call), dilation),
    )  # fmt: skip


def _depthwise_conv_2d(call: Call) -> Node:
    options = call.options(tflite.DepthwiseConv2DOptions)
    dilation = (options.DilationHFactor(), options.DilationWFactor())
    return Node(
        Op.DEPTHWISE_CONV_2D, call.name, _present(call, 3), call.output,
        clamp=_clamp(options.FusedActivationFunction(), call),
        window=_window(call, options, _filter_size(call), dilation),
    )  # fmt: skip


def _fully_connected(call: Call) -> Node:
    options = call.options(tflite.FullyConnectedOptions)
    if options.WeightsFormat() != tflite.FullyConnectedOptionsWeightsFormat.DEFAULT:
        raise CompileError(f"node {call.name!r} has shuffled weights, not supported")
    clamp = _clamp(options.FusedActivationFunction(), call)
    return Node(Op.FULLY_CONNECTED, call.name, _present(call, 3), call.output, clamp=clamp)


def _pool(op: Op) -> Callable[[Call], Node]:
    def build(call: Call) -> Node:
        options = call.options(tflite.Pool2DOptions)
        size = (options.FilterHeight(), options.FilterWidth())
        return Node(
            op, call.name, _present(call, 1), call.output,
            clamp=_clamp(options.FusedActivationFunction(), call),
            window=_window(call, options, size, (1, 1)),
        )  # fmt: skip

    return build


def _elementwise(op: Op, kind: Any) -> Callable[[Call], Node]:
    def build(call: Call) -> Node:
        clamp = _clamp(call.options(kind).FusedActivationFunction(), call)
        return Node(op, call.name, _present(call, 2), call.output, clamp=clamp)

    return build


def _mean(call: Call) -> Node:
    rank = len(call.tensor(0).shape)
    axes = tuple(sorted({axis + rank if axis < 0 else axis for axis in call.integers(1)}))
    return Node(Op.MEAN, call.name, _present(call, 1), call.output, axes=axes)


def _concatenation(call: Call) -> Node:
    options = call.options(tflite.ConcatenationOptions)
    axis = options.Axis()
    axis += len(call.tensor(0).shape) if axis < 0 else 0
    if _clamp(options.FusedActivationFunction(), call) != OPEN:
        raise CompileError(f"node {call.name!r}: fused activation of CONCATENATION not supported")
    return Node(Op.CONCATENATION, call.name, call.inputs, call.output, axes=(axis,))


def _pad(call: Call) -> Node:
    flat = call.integers(1)
    if len(flat) % 2:
        raise CompileError(f"node {call.name!r}: paddings {flat} do not come in pairs")
    pads = tuple(zip(flat[::2], flat[1::2], strict=True))
    value = 0.0
    if len(call.inputs) > 2 and call.inputs[2]:
        value = _real_value(call, 2)
    return Node(Op.PAD, call.name, _present(call, 1), call.output, pads=pads, pad_value=value)


def _real_value(call: Call, index: int) -> float:
    tensor = call.tensor(index)
    if tensor.data is None or tensor.data.size != 1 or tensor.quantization is None:
        raise CompileError(f"node {call.name!r}: operand {tensor.name!r} must be one int8 constant")
    quantization = tensor.quantization
    return quantization.scale * (int(tensor.data.reshape(-1)[0]) - quantization.zero_point)


def _reshape(call: Call) -> Node:
    return Node(Op.RESHAPE, call.name, _present(call, 1), call.output)


def _softmax(call: Call) -> Node:
    beta = float(np.float32(call.options(tflite.SoftmaxOptions).Beta()))
    return Node(Op.SOFTMAX, call.name, _present(call, 1), call.output, beta=beta)


def _unary(op: Op, clamp: Clamp = OPEN) -> Callable[[Call], Node]:
    def build(call: Call) -> Node:
        return Node(op, call.name, _present(call, 1), call.output, clamp=clamp)

    return build


def _reordered(call: Call, *order: int) -> tuple[str, ...]:
    return tuple(call.inputs[i] for i in order if i < len(call.inputs) and call.inputs[i])


def _transpose_conv(call: Call) -> Node:
    """Its operands are the output's shape, weights, x and perhaps a bias."""
    options = call.options(tflite.TransposeConvOptions)
    x, y, size = call.tensor(2).shape, call.tensors[call.output].shape, _filter_size(call)
    stride = (options.StrideH(), options.StrideW())
    if len(x) != 4 or len(y) != 4 or min(*stride, *size) < 1:
        raise CompileError(
            f"node {call.name!r}: input {list(x)} and output {list(y)} must have rank 4, "
            f"filter {size} and stride {stride} be at least 1"
        )
    is_same = options.Padding() == tflite.Padding.SAME
    before, after = [], []
    for axis in (0, 1):
        reach = (x[axis + 1] - 1) * stride[axis] + size[axis]
        same = _same_padding(y[axis + 1], size[axis], stride[axis], 1)
        before.append(same[0] if is_same else 0)
        after.append(reach - before[axis] - y[axis + 1])
    pads = (before[0], before[1], after[0], after[1])
    return Node(
        Op.TRANSPOSE_CONV, call.name, _reordered(call, 2, 1, 3), call.output,
        clamp=_clamp(options.FusedActivationFunction(), call),
        window=Window(size, stride, (1, 1), pads),
    )  # fmt: skip


def _lookup(function: str) -> Callable[[Call], Node]:
    def build(call: Call) -> Node:
        return Node(Op.LOOKUP, call.name, _present(call, 1), call.output, curve=((function, 0.0),))

    return build


def _leaky_relu(call: Call) -> Node:
    """Of int8 a table says all; 16 bits are computed."""
    alpha = float(np.float32(call.options(tflite.LeakyReluOptions).Alpha()))
    is_narrow = call.tensor(0).dtype == "int8"
    inputs = _present(call, 1)
    if is_narrow:
        return Node(Op.LOOKUP, call.name, inputs, call.output, curve=(("LEAKY_RELU", alpha),))
    return Node(Op.LEAKY_RELU, call.name, inputs, call.output, alpha=alpha)


def _prelu(call: Call) -> Node:
    return Node(Op.PRELU, call.name, _present(call, 2), call.output)


_B: Final = tflite.BuiltinOperator
SHAPE_ONLY: Final = (_B.RESHAPE, _B.SQUEEZE, _B.EXPAND_DIMS)
"""Operators whose later operands only say the output's shape."""

BUILDERS: Final[dict[int, Callable[[Call], Node | tuple[Node, ...]]]] = {
    _B.FULLY_CONNECTED: _fully_connected,
    _B.CONV_2D: _conv_2d,
    _B.DEPTHWISE_CONV_2D: _depthwise_conv_2d,
    _B.AVERAGE_POOL_2D: _pool(Op.AVERAGE_POOL_2D),
    _B.MAX_POOL_2D: _pool(Op.MAX_POOL_2D),
    _B.MEAN: _mean,
    _B.ADD: _elementwise(Op.ADD, tflite.AddOptions),
    _B.SUB: _elementwise(Op.SUB, tflite.SubOptions),
    _B.MUL: _elementwise(Op.MUL, tflite.MulOptions),
    _B.CONCATENATION: _concatenation,
    _B.PAD: _pad,
    _B.PADV2: _pad,
    _B.RESHAPE: _reshape,
    _B.SQUEEZE: _reshape,
    _B.EXPAND_DIMS: _reshape,
    _B.SOFTMAX: _softmax,
    _B.LOGISTIC: _unary(Op.LOGISTIC),
    _B.TANH: _unary(Op.TANH),
    _B.RELU: _unary(Op.RELU, RELU),
    _B.RELU6: _unary(Op.RELU6, RELU6),
    _B.QUANTIZE: _unary(Op.QUANTIZE),
    _B.DEQUANTIZE: _unary(Op.QUANTIZE),
    _B.DIV: _elementwise(Op.DIV, tflite.DivOptions),
    _B.ABS: _lookup("ABS"),
    _B.EXP: _lookup("EXP"),
    _B.HARD_SWISH: _lookup("HARD_SWISH"),
    _B.LOG: _lookup("LOG"),
    _B.SQRT: _lookup("SQRT"),
    _B.RSQRT: _lookup("RSQRT"),
    _B.LEAKY_RELU: _leaky_relu,
    _B.PRELU: _prelu,
    _B.TRANSPOSE_CONV: _transpose_conv,
    _B.TRANSPOSE: tflite_moves.transpose,
    _B.STRIDED_SLICE: tflite_moves.strided_slice,
    _B.SLICE: tflite_moves.slice_of,
    _B.SPLIT: tflite_moves.split,
    _B.SPLIT_V: tflite_moves.split_by_sizes,
    _B.GATHER: tflite_moves.gather,
    _B.RESIZE_NEAREST_NEIGHBOR: tflite_moves.resize_nearest,
    _B.ARG_MAX: tflite_moves.arg_max,
}
