"""One small ONNX model for each way in which an operator is written; names say which."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper

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


def split_to_single_elements() -> onnx.ModelProto:
    w = ModelWriter()
    return w.model({"x": [1, 2]}, w.parts("Split", 2, "x", axis=1))


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


def gathered(axis: int, positions: object, shape: tuple[int, ...] = (1, 6, 4)) -> Build:
    def build() -> onnx.ModelProto:
        w = ModelWriter()
        chosen = w.constant(np.array(positions, np.int64))
        return w.model({"x": shape}, [w.node("Gather", "x", chosen, axis=axis)])

    return build


def gathered_channels() -> onnx.ModelProto:
    w = ModelWriter()
    x = w.node("Conv", "x", w.weights(6, 4, 1, 1), w.weights(6))
    x = w.node("Gather", x, w.constant(np.array([5, 0, 0, 3], np.int64)), axis=1)
    return w.model({"x": IMAGE}, [w.node("MaxPool", x, kernel_shape=[2, 2])])


def resized(
    *, sizes: tuple[int, ...] = (), scales: tuple[float, ...] = (), opset: int = 17,
    shape: tuple[int, ...] = IMAGE, **attributes: object,
) -> Build:  # fmt: skip
    def build() -> onnx.ModelProto:
        w = ModelWriter(opset=opset)
        factors = w.constant(np.array(scales, np.float32)) if scales else ""
        if opset < 11:
            return w.model({"x": shape}, [w.node("Resize", "x", factors, **attributes)])
        operands = ["x", "", factors]
        if sizes:
            operands.append(w.constant(np.array(sizes, np.int64)))
        return w.model({"x": shape}, [w.node("Resize", *operands, mode="nearest", **attributes)])

    return build


def two_orders_of_one_output() -> onnx.ModelProto:
    w = ModelWriter()
    x = w.node("MaxPool", "x", kernel_shape=[3, 1], strides=[3, 2])
    y = w.node("Reshape", x, w.constant(np.array([4, 6], np.int64)))
    return w.model({"x": IMAGE}, [w.node("Identity", x), y])


RESIZES: dict[str, Build] = {
    "resize to twice the size": resized(
        scales=(1, 1, 2, 2), coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "resize as the standard does": resized(scales=(1, 1, 2.5, 1.7)),
    "resize to a size": resized(sizes=(1, 4, 9, 3)),
    "resize to a size with aligned corners": resized(
        sizes=(1, 4, 11, 8), coordinate_transformation_mode="align_corners"
    ),
    "resize as PyTorch": resized(
        sizes=(1, 4, 13, 1), coordinate_transformation_mode="pytorch_half_pixel"
    ),
    "resize as TensorFlow": resized(
        sizes=(1, 4, 7, 9), coordinate_transformation_mode="tf_half_pixel_for_nn",
        nearest_mode="floor",
    ),
    "resize that prefers the upper one": resized(
        scales=(1, 1, 0.5, 2), nearest_mode="round_prefer_ceil"
    ),
    "resize that takes the upper one": resized(
        sizes=(1, 4, 4, 11), coordinate_transformation_mode="asymmetric", nearest_mode="ceil"
    ),
    "resize of two named axes": resized(scales=(2, 0.6), opset=18, axes=[2, 3]),
    "resize of old": resized(scales=(1, 1, 2, 1.5), opset=10),
    "resize of old to a smaller one": resized(scales=(1, 1, 0.6, 1), opset=10),
    "resize of a line": resized(scales=(1, 1, 3), shape=(1, 4, 7)),
}  # fmt: skip


def upsampled(scales: tuple[float, ...], opset: int, shape: tuple[int, ...] = IMAGE) -> Build:
    def build() -> onnx.ModelProto:
        w = ModelWriter(opset=opset)
        if opset < 9:
            return w.model({"x": shape}, [w.node("Upsample", "x", scales=scales)])
        factors = w.constant(np.array(scales, np.float32))
        return w.model({"x": shape}, [w.node("Upsample", "x", factors, mode="nearest")])

    return build


def squares(
    op: str, shape: tuple[int, ...], *, is_inner: bool = False, **attributes: object
) -> Build:
    """Of an image alone, or between two operators that want their channels last."""

    def build() -> onnx.ModelProto:
        w = ModelWriter(opset=13)
        if not is_inner:
            return w.model({"x": shape}, [w.node(op, "x", **attributes)])
        x = w.node(op, w.node("MaxPool", "x", kernel_shape=[1, 1]), **attributes)
        return w.model({"x": shape}, [w.node("MaxPool", x, kernel_shape=[2, 1])])

    return build


SQUARES: dict[str, Build] = {
    "depth to space": squares("DepthToSpace", (1, 8, 3, 5), blocksize=2, is_inner=True),
    "depth to space alone": squares("DepthToSpace", (1, 18, 2, 3), blocksize=3),
    "depth to space with its channels last": squares(
        "DepthToSpace", (1, 8, 3, 5), blocksize=2, mode="CRD", is_inner=True
    ),
    "space to depth": squares("SpaceToDepth", (1, 3, 4, 6), blocksize=2, is_inner=True),
    "space to depth alone": squares("SpaceToDepth", (1, 2, 6, 3), blocksize=3),
    "upsample": upsampled((1, 1, 2, 3), 9),
    "upsample by a part": upsampled((1, 1, 1.5, 2.4), 9),
    "upsample of old": upsampled((1.0, 1.0, 3.0, 2.0), 7),
    "upsample of a line": upsampled((1, 1, 2), 9, (1, 4, 7)),
}


def with_slopes(*shape: int) -> Build:
    def build() -> onnx.ModelProto:
        w = ModelWriter(seed=4)
        return w.model({"x": IMAGE}, [w.node("PRelu", "x", w.weights(*shape, scale=0.3))])

    return build


def conv_transpose(
    *, size: tuple[int, ...] = (3, 2), shape: tuple[int, ...] = IMAGE, **attributes: object
) -> Build:
    def build() -> onnx.ModelProto:
        w = ModelWriter(seed=6)
        x = w.node("ConvTranspose", "x", w.weights(4, 5, *size), w.weights(5), **attributes)
        return w.model({"x": shape}, [x])

    return build


def normalized_conv_transpose() -> onnx.ModelProto:
    """Batch normalization and a ReLU go into the layer; no bias of its own."""
    w = ModelWriter(seed=6)
    x = w.node("ConvTranspose", "x", w.weights(4, 5, 2, 2), strides=[2, 2])
    x = w.node("BatchNormalization", x, w.positive(5), w.weights(5), w.weights(5), w.positive(5))
    return w.model({"x": IMAGE}, [w.node("Relu", x)])


def conv_with_wide_padding() -> onnx.ModelProto:
    """Some filters see nothing but zeros."""
    w = ModelWriter()
    x = w.node("Conv", "x", w.weights(3, 4, 1, 2), w.weights(3), pads=[1, 0, 2, 3])
    return w.model({"x": IMAGE}, [x])


def padding_before_a_point() -> onnx.ModelProto:
    """A filter of one element behind a Pad."""
    w = ModelWriter()
    x = w.node("Pad", "x", w.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)))
    return w.model({"x": IMAGE}, [w.node("Conv", x, w.weights(3, 4, 1, 1), w.weights(3))])


def padded_with(value: float, *, is_pooled: bool = False) -> Build:
    """Behind a softmax, whose scale nobody chooses, or before a pool that does not see it."""

    def build() -> onnx.ModelProto:
        w = ModelWriter()
        x = w.node("Conv", "x", w.weights(3, 4, 2, 2)) if is_pooled else w.node("Softmax", "x")
        pads = w.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        x = w.node("Pad", x, pads, w.constant(np.float32(value)))
        if is_pooled:
            x = w.node("MaxPool", x, kernel_shape=[2, 2])
        return w.model({"x": IMAGE}, [x])

    return build


def averaged(**attributes: object) -> Build:
    def build() -> onnx.ModelProto:
        w = ModelWriter()
        x = w.node("AveragePool", "x", count_include_pad=1, kernel_shape=[3, 2], **attributes)
        return w.model({"x": IMAGE}, [x])

    return build


SCATTERS: dict[str, Build] = {
    "conv transpose": conv_transpose(),
    "conv transpose with strides": conv_transpose(strides=[2, 3]),
    "conv transpose with pads": conv_transpose(strides=[2, 2], pads=[1, 0, 1, 1]),
    "conv transpose with more behind": conv_transpose(
        strides=[2, 3], pads=[1, 1, 0, 0], output_padding=[1, 2]
    ),
    "conv transpose of the same size": conv_transpose(strides=[2, 2], auto_pad="SAME_UPPER"),
    "conv transpose of a wanted size": conv_transpose(strides=[2, 2], output_shape=[12, 9]),
    "conv transpose of a size beyond its reach": conv_transpose(
        strides=[1, 3], output_shape=[8, 16]
    ),
    "conv transpose of the same size with gaps": conv_transpose(
        size=(1, 2), strides=[3, 3], auto_pad="SAME_LOWER"
    ),
    "conv transpose of a line": conv_transpose(
        size=(4,), shape=(1, 4, 7), strides=[2], pads=[1, 1]
    ),
    "conv transpose normalized": normalized_conv_transpose,
}  # fmt: skip


def best(*, axis: int, keepdims: int, shape: tuple[int, ...] = (1, 6, 4)) -> Build:
    def build() -> onnx.ModelProto:
        w = ModelWriter()
        x = w.node("ArgMax", "x", axis=axis, keepdims=keepdims)
        return positions_of(w, shape, x)

    return build


def best_channel() -> onnx.ModelProto:
    """As a segmentation ends: a class per pixel, as int32."""
    w = ModelWriter()
    x = w.node("Conv", "x", w.weights(6, 4, 1, 1, scale=2.0))
    x = w.node("Cast", w.node("ArgMax", x, axis=1, keepdims=0), to=TensorProto.INT32)
    return positions_of(w, IMAGE, x)


def positions_of(w: ModelWriter, shape: tuple[int, ...], output: str) -> onnx.ModelProto:
    model = w.model({"x": shape}, [])
    model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.INT64, None))
    if w.nodes[-1].op_type == "Cast":
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    return model


POSITIONS: dict[str, Build] = {
    "arg max of rows": best(axis=-1, keepdims=1),
    "arg max over rows": best(axis=1, keepdims=0),
    "arg max of channels": best_channel,
}

COMPUTES: dict[str, Build] = {
    "split of channels": split_of_channels,
    "channel shuffle": channel_shuffle,
    "sum of two orders": sum_of_two_orders,
    "joined in two orders": joined_in_two_orders,
    "rows across channels": rows_across_channels,
    "softmax over time": softmax_over_time,
    "sum over channels": sum_over_channels,
    "gather of channels": gathered_channels,
    "slopes per channel": with_slopes(4, 1, 1),
    "slopes per element": with_slopes(4, 6, 5),
    "one slope": with_slopes(1),
    "padding beyond the values": padded_with(-3.0),
    "padding that no pool sees": padded_with(-1e9, is_pooled=True),
    "conv with wide padding": conv_with_wide_padding,
    "padding before a point": padding_before_a_point,
    "average that counts its padding": averaged(pads=[2, 1, 1, 0], strides=[2, 2], ceil_mode=1),
    "average that counts padding of the same size": averaged(auto_pad="SAME_UPPER"),
    **SCATTERS,
}
"""These round on their way."""

MOVES: dict[str, Build] = {
    "split by outputs": split_by_outputs,
    "split by number": split_by_number,
    "split to single elements": split_to_single_elements,
    "transposed matrix": transposed_matrix,
    "transposed image": transposed_image,
    "pixel shuffle": pixel_shuffle,
    "two orders of one output": two_orders_of_one_output,
    "gather of rows": gathered(1, [0, 3, 5]),
    "gather from the end": gathered(2, [-1, 0, -2, -2]),
    "gather of one": gathered(1, 2),
    "gather in two axes": gathered(2, [[0, 1, 2], [3, 2, 0]]),
    "gather of pixels": gathered(3, [4, 1], IMAGE),
    **RESIZES,
    **SQUARES,
}
"""These give their operand's very values."""
