"""One small ONNX model for each way in which an operator is written; names say which."""

from collections.abc import Callable

import numpy as np
import onnx

from tests.compiler.onnx_models import ModelWriter

Build = Callable[[], onnx.ModelProto]
IMAGE = (1, 4, 6, 5)
"""N, C, H, W."""


def split_by_outputs() -> onnx.ModelProto:
    w = ModelWriter()
    return w.model({"x": [1, 6, 4]}, w.parts("Split", 3, "x", axis=1))


def split_by_number() -> onnx.ModelProto:
    """The last part is smaller."""
    w = ModelWriter(opset=18)
    return w.model({"x": [1, 7, 4]}, w.parts("Split", 3, "x", axis=-2, num_outputs=3))


def split_of_channels() -> onnx.ModelProto:
    w = ModelWriter()
    x = w.node("Conv", "x", w.weights(6, 4, 1, 1))
    return w.model({"x": IMAGE}, w.parts("Split", 2, x, axis=1))


def transposed_matrix() -> onnx.ModelProto:
    w = ModelWriter()
    return w.model({"x": [1, 3, 4]}, [w.node("Transpose", "x", perm=[0, 2, 1])])


def transposed_image() -> onnx.ModelProto:
    """Rows and columns change places between two image operators."""
    w = ModelWriter()
    x = w.node("Transpose", w.node("MaxPool", "x", kernel_shape=[2, 1]), perm=[0, 1, 3, 2])
    return w.model({"x": IMAGE}, [w.node("MaxPool", x, kernel_shape=[2, 1])])


def pixel_shuffle() -> onnx.ModelProto:
    """As PyTorch exports it: channels become a square of pixels."""
    w = ModelWriter()
    x = w.node("MaxPool", "x", kernel_shape=[1, 1])
    x = w.node("Reshape", x, w.constant(np.array([1, 2, 2, 2, 3, 5], np.int64)))
    x = w.node("Transpose", x, perm=[0, 1, 4, 2, 5, 3])
    x = w.node("Reshape", x, w.constant(np.array([1, 2, 6, 10], np.int64)))
    return w.model({"x": [1, 8, 3, 5]}, [w.node("MaxPool", x, kernel_shape=[2, 2])])


def channel_shuffle() -> onnx.ModelProto:
    """As ShuffleNet mixes the channels of groups."""
    w = ModelWriter()
    x = w.node("Conv", "x", w.weights(6, 2, 1, 1), group=2)
    x = w.node("Reshape", x, w.constant(np.array([1, 2, 3, 6, 5], np.int64)))
    x = w.node("Transpose", x, perm=[0, 2, 1, 3, 4])
    x = w.node("Reshape", x, w.constant(np.array([1, 6, 6, 5], np.int64)))
    return w.model({"x": IMAGE}, [w.node("Conv", x, w.weights(4, 3, 3, 3), group=2)])


def sum_of_two_orders() -> onnx.ModelProto:
    w = ModelWriter()
    return w.model({"x": [1, 5, 5]}, [w.node("Add", "x", w.node("Transpose", "x", perm=[0, 2, 1]))])


def joined_in_two_orders() -> onnx.ModelProto:
    w = ModelWriter()
    turned = w.node("Transpose", "y", perm=[0, 2, 1])
    return w.model({"x": [1, 2, 3], "y": [1, 4, 2]}, [w.node("Concat", "x", turned, axis=2)])


def rows_across_channels() -> onnx.ModelProto:
    """A matrix behind a convolution whose channels are part of the rows, not of the columns."""
    w = ModelWriter()
    x = w.node("Conv", "x", w.weights(6, 4, 3), w.weights(6))
    return w.model({"x": [1, 4, 9]}, [w.node("MatMul", x, w.weights(7, 3))])


def softmax_over_time() -> onnx.ModelProto:
    w = ModelWriter()
    x = w.node("Conv", "x", w.weights(6, 4, 3, scale=0.2))
    return w.model({"x": [1, 4, 9]}, [w.node("Softmax", x, axis=2)])


def sum_over_channels() -> onnx.ModelProto:
    w = ModelWriter()
    x = w.node("Conv", "x", w.weights(6, 4, 3))
    axes = w.constant(np.array([1], np.int64))
    return w.model({"x": [1, 4, 9]}, [w.node("ReduceSum", x, axes, keepdims=0)])


COMPUTES: dict[str, Build] = {
    "split of channels": split_of_channels,
    "channel shuffle": channel_shuffle,
    "sum of two orders": sum_of_two_orders,
    "joined in two orders": joined_in_two_orders,
    "rows across channels": rows_across_channels,
    "softmax over time": softmax_over_time,
    "sum over channels": sum_over_channels,
}
"""These round on their way."""

MOVES: dict[str, Build] = {
    "split by outputs": split_by_outputs,
    "split by number": split_by_number,
    "transposed matrix": transposed_matrix,
    "transposed image": transposed_image,
    "pixel shuffle": pixel_shuffle,
}
"""These give their operand's very values."""
