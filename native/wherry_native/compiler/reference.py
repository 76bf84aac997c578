"""The float graph, executed with numpy: what the int8 program is measured against.

Arrays are float32, one sample at a time, shapes as in the graph. Where the file prescribes a
quantization, values saturate as its integers do: ONNX leaves a ReLU out where a QuantizeLinear with
the least code as zero point follows.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from wherry_native.compiler.functions import evaluated
from wherry_native.compiler.ir import Graph, Node
from wherry_native.program import Op

Floats = npt.NDArray[Any]
"""float32 values."""


def run_float(graph: Graph, inputs: Mapping[str, Floats]) -> dict[str, Floats]:
    """Every activation of the graph by name, for one sample. Raises KeyError when an input is
    missing."""
    values = {
        name: np.asarray(tensor.data, np.float32)
        for name, tensor in graph.tensors.items()
        if tensor.data is not None
    }
    results: dict[str, Floats] = {}
    for name in graph.inputs:
        shape = graph.tensors[name].shape
        results[name] = np.asarray(inputs[name], np.float32).reshape(shape)
    for node in graph.nodes:
        operands = [results[name] if name in results else values[name] for name in node.inputs]
        results[node.output] = run_node(graph, node, operands)
    return results


def run_node(graph: Graph, node: Node, operands: Sequence[Floats]) -> Floats:
    """One node's output for these operands."""
    shape = graph.tensors[node.output].shape
    with np.errstate(all="ignore"):  # what is not finite stays so, callers look at the values
        output = np.asarray(_RULES[node.op](node, operands), np.float32).reshape(shape)
    low, high = graph.tensors[node.output].real_range
    return output.clip(node.clamp.low, node.clamp.high).clip(low, high)


def _patches(node: Node, x: Floats, fill: float, size: tuple[int, int]) -> Floats:
    """[n, oh, ow, c, kh, kw] windows of x, padded with `fill`."""
    window = node.sliding
    top, left, bottom, right = window.pads
    padded = np.pad(
        x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=np.float32(fill)
    )
    reach = [(k - 1) * d + 1 for k, d in zip(size, window.dilation, strict=True)]
    views = np.lib.stride_tricks.sliding_window_view(padded, tuple(reach), axis=(1, 2))
    return views[
        :, :: window.stride[0], :: window.stride[1], :, :: window.dilation[0], :: window.dilation[1]
    ]


def _conv_2d(node: Node, operands: Sequence[Floats]) -> Floats:
    x, weights = operands[0], operands[1]
    count, height, width, depth = weights.shape
    patches = _patches(node, x, 0.0, (height, width))
    columns = weights.transpose(0, 3, 1, 2).reshape(count, -1)
    groups = x.shape[3] // depth
    parts = []
    for group in range(groups):
        inputs = patches[:, :, :, group * depth : (group + 1) * depth]
        rows = inputs.reshape(*inputs.shape[:3], -1)
        parts.append(rows @ columns[group * count // groups : (group + 1) * count // groups].T)
    return _biased(np.concatenate(parts, axis=3), operands)


def _depthwise(node: Node, operands: Sequence[Floats]) -> Floats:
    x, weights = operands[0], operands[1]
    size = weights.shape[1:3]
    is_point = size == (1, 1) and node.sliding.stride == (1, 1)
    if node.sliding.pads == (0, 0, 0, 0) and (is_point or size == x.shape[1:3]):
        # One window per place, or one in all: recurrent cells have hundreds of these.
        spread = np.repeat(x, weights.shape[3] // x.shape[3], axis=3) * weights
        return _biased(spread if is_point else spread.sum((1, 2), keepdims=True), operands)
    filters = weights[0].reshape(*size, x.shape[3], -1)
    patches = _patches(node, x, 0.0, (size[0], size[1]))
    sums = np.einsum("nhwcij,ijcm->nhwcm", patches, filters)
    return _biased(sums.reshape(*patches.shape[:3], -1), operands)


def _fully_connected(node: Node, operands: Sequence[Floats]) -> Floats:
    del node
    rows = operands[0].reshape(-1, operands[1].shape[1])
    return _biased(rows @ operands[1].T, operands)


def _biased(y: Floats, operands: Sequence[Floats]) -> Floats:
    return y + operands[2] if len(operands) == 3 else y


def _average_pool(node: Node, operands: Sequence[Floats]) -> Floats:
    size = node.sliding.size
    total = _patches(node, operands[0], 0.0, size).sum(axis=(4, 5))
    count = _patches(node, np.ones_like(operands[0]), 0.0, size).sum(axis=(4, 5))
    return np.asarray(total / np.maximum(count, 1))


def _max_pool(node: Node, operands: Sequence[Floats]) -> Floats:
    patches = _patches(node, operands[0], -math.inf, node.sliding.size)
    return np.asarray(patches.max(axis=(4, 5)))


def _mean(node: Node, operands: Sequence[Floats]) -> Floats:
    return np.asarray(operands[0].mean(axis=node.axes, dtype=np.float32))


def _add(node: Node, operands: Sequence[Floats]) -> Floats:
    del node
    return np.asarray(operands[0] + operands[1])


def _subtract(node: Node, operands: Sequence[Floats]) -> Floats:
    del node
    return np.asarray(operands[0] - operands[1])


def _multiply(node: Node, operands: Sequence[Floats]) -> Floats:
    del node
    return np.asarray(operands[0] * operands[1])


def _concatenation(node: Node, operands: Sequence[Floats]) -> Floats:
    return np.concatenate(operands, axis=node.axes[0])


def _pad(node: Node, operands: Sequence[Floats]) -> Floats:
    return np.pad(operands[0], node.pads, constant_values=np.float32(node.pad_value))


def _softmax(node: Node, operands: Sequence[Floats]) -> Floats:
    scaled = operands[0] * np.float32(node.beta)
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _logistic(node: Node, operands: Sequence[Floats]) -> Floats:
    del node
    return 0.5 * (1.0 + np.tanh(0.5 * operands[0]))


def _tanh(node: Node, operands: Sequence[Floats]) -> Floats:
    del node
    return np.tanh(operands[0])


def _divide(node: Node, operands: Sequence[Floats]) -> Floats:
    del node
    return np.asarray(operands[0] / operands[1])


def _lookup(node: Node, operands: Sequence[Floats]) -> Floats:
    return evaluated(node.curve, operands[0])


def _leaky_relu(node: Node, operands: Sequence[Floats]) -> Floats:
    return evaluated((("LEAKY_RELU", node.alpha),), operands[0])


def _prelu(node: Node, operands: Sequence[Floats]) -> Floats:
    del node
    return np.where(operands[0] >= 0, operands[0], operands[0] * operands[1])


def _transpose_conv(node: Node, operands: Sequence[Floats]) -> Floats:
    """Scattered, as it is defined; negative pads behind are rows that no tap reaches."""
    x, weights = operands[0], operands[1]
    stride, (top, left, bottom, right) = node.sliding.stride, node.sliding.pads
    reach = [(x.shape[i + 1] - 1) * stride[i] + weights.shape[i + 1] for i in (0, 1)]
    extra = (max(-bottom, 0), max(-right, 0))
    full = np.zeros((x.shape[0], reach[0] + extra[0], reach[1] + extra[1], len(weights)), x.dtype)
    for row, column in np.ndindex(*x.shape[1:3]):
        y, z = row * stride[0], column * stride[1]
        patch = np.einsum("nc,ohwc->nhwo", x[:, row, column], weights)
        full[:, y : y + weights.shape[1], z : z + weights.shape[2]] += patch
    return _biased(full[:, top : reach[0] - bottom, left : reach[1] - right], operands)


def _transpose(node: Node, operands: Sequence[Floats]) -> Floats:
    return operands[0].transpose(node.axes)


def _strided_slice(node: Node, operands: Sequence[Floats]) -> Floats:
    positions = [begin + step * np.arange(extent) for begin, extent, step in node.slices]
    return operands[0][np.ix_(*positions)]


def _gather(node: Node, operands: Sequence[Floats]) -> Floats:
    return np.take(operands[0], operands[1].astype(np.int64), axis=node.axes[0], mode="clip")


def _resize_nearest(node: Node, operands: Sequence[Floats]) -> Floats:
    del node
    rows, columns = (positions.astype(np.int64) for positions in operands[1:])
    return operands[0][:, rows][:, :, columns]


def _arg_max(node: Node, operands: Sequence[Floats]) -> Floats:
    return np.asarray(operands[0].argmax(axis=node.axes[0]))


def _same(node: Node, operands: Sequence[Floats]) -> Floats:
    del node
    return operands[0]


_RULES: Final[dict[Op, Callable[[Node, Sequence[Floats]], Floats]]] = {
    Op.CONV_2D: _conv_2d,
    Op.DEPTHWISE_CONV_2D: _depthwise,
    Op.FULLY_CONNECTED: _fully_connected,
    Op.AVERAGE_POOL_2D: _average_pool,
    Op.MAX_POOL_2D: _max_pool,
    Op.MEAN: _mean,
    Op.ADD: _add,
    Op.SUB: _subtract,
    Op.MUL: _multiply,
    Op.CONCATENATION: _concatenation,
    Op.PAD: _pad,
    Op.RESHAPE: _same,
    Op.SOFTMAX: _softmax,
    Op.LOGISTIC: _logistic,
    Op.TANH: _tanh,
    Op.RELU: _same,
    Op.RELU6: _same,
    Op.QUANTIZE: _same,
    Op.LOOKUP: _lookup,
    Op.DIV: _divide,
    Op.LEAKY_RELU: _leaky_relu,
    Op.PRELU: _prelu,
    Op.TRANSPOSE_CONV: _transpose_conv,
    Op.TRANSPOSE: _transpose,
    Op.STRIDED_SLICE: _strided_slice,
    Op.GATHER: _gather,
    Op.RESIZE_NEAREST: _resize_nearest,
    Op.ARG_MAX: _arg_max,
}
