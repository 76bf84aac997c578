"""Which shape a node's output has; the one place where operands are held against each other.

Source: the TFLite operator reference (channels last), and numpy's broadcasting.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from wherry_native.compiler.ir import Graph, Node, Shape
from wherry_native.program import Op

ELEMENTS_MAX: Final = 1 << 28
"""No tensor of a device model is larger; a damaged file easily claims one."""


class ShapeError(ValueError):
    """Operands that do not fit together; one sentence without the node's name."""


def output_shape(node: Node, shapes: Sequence[Shape], declared: Shape = ()) -> Shape:
    """The shape of the node's output. `declared` is what RESHAPE and MEAN choose among.
    Raises ShapeError."""
    return _RULES[node.op](node, shapes, declared)


def shape_problems(graph: Graph) -> list[str]:
    """One sentence per node whose operands or output do not fit."""
    problems = []
    for node in graph.nodes:
        declared = graph.tensors[node.output].shape
        try:
            shape = output_shape(node, [graph.tensors[i].shape for i in node.inputs], declared)
        except ShapeError as error:
            problems.append(f"node {node.name!r} ({node.op.name}): {error}")
            continue
        if shape != declared:
            problems.append(
                f"node {node.name!r} ({node.op.name}): its operands give an output of shape "
                f"{list(shape)}, the file declares {list(declared)}"
            )
    return problems


def _conv_2d(node: Node, shapes: Sequence[Shape], declared: Shape) -> Shape:
    del declared
    x, weights = _weighted(node, shapes, rank=4)
    if weights[3] == 0 or x[3] % weights[3]:
        raise ShapeError(f"{x[3]} input channels do not divide into groups of {weights[3]}")
    if weights[0] % (x[3] // weights[3]):
        raise ShapeError(f"{weights[0]} filters do not divide into {x[3] // weights[3]} groups")
    return (x[0], *_slid(node, x, (weights[1], weights[2])), weights[0])


def _depthwise(node: Node, shapes: Sequence[Shape], declared: Shape) -> Shape:
    del declared
    x, weights = _weighted(node, shapes, rank=4)
    if weights[0] != 1 or x[3] == 0 or weights[3] % x[3]:
        raise ShapeError(f"weights {list(weights)} do not fit {x[3]} input channels")
    return (x[0], *_slid(node, x, (weights[1], weights[2])), weights[3])


def _fully_connected(node: Node, shapes: Sequence[Shape], declared: Shape) -> Shape:
    x, weights = _weighted(node, shapes, rank=2)
    count = math.prod(x)
    if weights[1] == 0 or count % weights[1]:
        raise ShapeError(f"input {list(x)} does not divide into rows of {weights[1]}")
    flat = (count // weights[1], weights[0])
    kept = (*x[:-1], weights[0])
    return kept if declared == kept and x[-1] == weights[1] else flat


def _weighted(node: Node, shapes: Sequence[Shape], rank: int) -> tuple[Shape, Shape]:
    if len(shapes) not in (2, 3):
        raise ShapeError(f"has {len(shapes)} operands, needs input, weights and perhaps a bias")
    x, weights = shapes[0], shapes[1]
    if len(weights) != rank or (rank == 4 and len(x) != 4):
        raise ShapeError(f"input {list(x)} and weights {list(weights)} must have rank {rank}")
    channels = weights[3] if node.op is Op.DEPTHWISE_CONV_2D else weights[0]
    if len(shapes) == 3 and shapes[2] != (channels,):
        raise ShapeError(f"bias has shape {list(shapes[2])}, must be [{channels}]")
    return x, weights


def _pool(node: Node, shapes: Sequence[Shape], declared: Shape) -> Shape:
    del declared
    (x,) = _operands(shapes, 1)
    if len(x) != 4:
        raise ShapeError(f"input {list(x)} must have rank 4")
    return (x[0], *_slid(node, x, node.sliding.size), x[3])


def _slid(node: Node, x: Shape, size: tuple[int, int]) -> tuple[int, int]:
    window = node.sliding
    top, left, bottom, right = window.pads
    padded = (x[1] + top + bottom, x[2] + left + right)
    result = []
    for length, filter_size, stride, dilation in zip(
        padded, size, window.stride, window.dilation, strict=True
    ):
        if min(filter_size, stride, dilation) < 1:
            raise ShapeError(
                f"filter {filter_size}, stride {stride} and dilation {dilation} must be at least 1"
            )
        reach = (filter_size - 1) * dilation + 1
        if reach > length:
            raise ShapeError(
                f"filter reaches {reach} elements, the padded input has {length}, so it fits in "
                "nowhere; pad the input (SAME in TFLite, auto_pad or pads in ONNX), or export the "
                "model for the larger input that it was made for"
            )
        result.append((length - reach) // stride + 1)
    for axis, count in enumerate(result):
        reach, before = (size[axis] - 1) * window.dilation[axis], window.pads[axis]
        if before > reach or (count - 1) * window.stride[axis] - before >= x[axis + 1]:
            raise ShapeError(f"pads {list(window.pads)} go beyond the reach of a filter {size}")
    return result[0], result[1]


def _mean(node: Node, shapes: Sequence[Shape], declared: Shape) -> Shape:
    (x,) = _operands(shapes, 1)
    if not node.axes or not all(0 <= axis < len(x) for axis in node.axes):
        raise ShapeError(f"axes {list(node.axes)} do not fit an input of rank {len(x)}")
    kept = tuple(1 if axis in node.axes else size for axis, size in enumerate(x))
    dropped = tuple(size for axis, size in enumerate(x) if axis not in node.axes)
    return dropped if declared == dropped else kept


def _broadcast(node: Node, shapes: Sequence[Shape], declared: Shape) -> Shape:
    del node, declared
    a, b = _operands(shapes, 2)
    try:
        return tuple(np.broadcast_shapes(a, b))
    except ValueError:
        raise ShapeError(f"operands {list(a)} and {list(b)} do not broadcast") from None


def _concatenation(node: Node, shapes: Sequence[Shape], declared: Shape) -> Shape:
    del declared
    if not shapes or len(node.axes) != 1 or not 0 <= node.axes[0] < len(shapes[0]):
        raise ShapeError(f"axis {list(node.axes)} does not fit {len(shapes)} operands")
    axis = node.axes[0]
    rests = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    if len(rests) != 1 or len({len(shape) for shape in shapes}) != 1:
        raise ShapeError(f"operands {[list(s) for s in shapes]} differ beside axis {axis}")
    return (*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :])


def _pad(node: Node, shapes: Sequence[Shape], declared: Shape) -> Shape:
    del declared
    (x,) = _operands(shapes, 1)
    if len(node.pads) != len(x) or any(min(pair) < 0 for pair in node.pads):
        raise ShapeError(f"paddings {list(node.pads)} do not fit an input of shape {list(x)}")
    return tuple(b + size + a for size, (b, a) in zip(x, node.pads, strict=True))


def _reshape(node: Node, shapes: Sequence[Shape], declared: Shape) -> Shape:
    del node
    (x,) = _operands(shapes, 1)
    if math.prod(x) != math.prod(declared):
        raise ShapeError(f"{math.prod(x)} elements of {list(x)} do not fit {list(declared)}")
    return declared


def _transpose_conv(node: Node, shapes: Sequence[Shape], declared: Shape) -> Shape:
    """Pads take rows and columns of the full reach away; negative ones behind add some."""
    del declared
    x, weights = _weighted(node, shapes, rank=4)
    if weights[3] != x[3]:
        raise ShapeError(f"input {list(x)} and weights {list(weights)} differ in channels")
    window = node.sliding
    size = [
        (x[axis] - 1) * window.stride[axis - 1] + weights[axis] - window.pads[axis - 1]
        - window.pads[axis + 1]
        for axis in (1, 2)
    ]  # fmt: skip
    if window.pads[0] >= weights[1] or window.pads[1] >= weights[2]:
        raise ShapeError(
            f"pads {list(window.pads)} cut off a whole filter of {list(weights[1:3])}; in front "
            "they must be smaller than it"
        )
    if min(size) < 1:
        raise ShapeError(f"pads {list(window.pads)} leave nothing of the output")
    return (x[0], size[0], size[1], weights[0])


def _transpose(node: Node, shapes: Sequence[Shape], declared: Shape) -> Shape:
    del declared
    (x,) = _operands(shapes, 1)
    if sorted(node.axes) != list(range(len(x))):
        raise ShapeError(f"order {list(node.axes)} does not fit an input of rank {len(x)}")
    return tuple(x[axis] for axis in node.axes)


def _strided_slice(node: Node, shapes: Sequence[Shape], declared: Shape) -> Shape:
    (x,) = _operands(shapes, 1)
    if len(node.slices) != len(x):
        raise ShapeError(f"{len(node.slices)} slices do not fit an input of rank {len(x)}")
    for size, (begin, extent, step) in zip(x, node.slices, strict=True):
        last = begin + (extent - 1) * step
        if extent < 1 or not 0 <= begin < size or not 0 <= last < size:
            raise ShapeError(f"slice {begin}, {extent}, {step} leaves an axis of {size} elements")
    extents = tuple(extent for _, extent, _ in node.slices)
    shrunk = [size for size in declared if size != 1] == [size for size in extents if size != 1]
    return declared if shrunk else extents


def _gather(node: Node, shapes: Sequence[Shape], declared: Shape) -> Shape:
    del declared
    x, indices = _operands(shapes, 2)
    axis = _one_axis(node, x)
    return (*x[:axis], *indices, *x[axis + 1 :])


def _one_axis(node: Node, x: Shape) -> int:
    if len(node.axes) != 1 or not 0 <= node.axes[0] < len(x):
        raise ShapeError(f"axis {list(node.axes)} does not fit an input of rank {len(x)}")
    return node.axes[0]


def _resize_nearest(node: Node, shapes: Sequence[Shape], declared: Shape) -> Shape:
    del node, declared
    x, rows, columns = _operands(shapes, 3)
    if len(x) != 4 or len(rows) != 1 or len(columns) != 1:
        raise ShapeError(f"input {list(x)} must have rank 4")
    return (x[0], rows[0], columns[0], x[3])


def _arg_max(node: Node, shapes: Sequence[Shape], declared: Shape) -> Shape:
    (x,) = _operands(shapes, 1)
    axis = _one_axis(node, x)
    dropped = (*x[:axis], *x[axis + 1 :])
    kept = (*x[:axis], 1, *x[axis + 1 :])
    return kept if declared == kept else dropped


def _same(node: Node, shapes: Sequence[Shape], declared: Shape) -> Shape:
    del node, declared
    (x,) = _operands(shapes, 1)
    return x


def _operands(shapes: Sequence[Shape], count: int) -> Sequence[Shape]:
    if len(shapes) != count:
        raise ShapeError(f"has {len(shapes)} operands, needs {count}")
    return shapes


_RULES: Final[dict[Op, Callable[[Node, Sequence[Shape], Shape], Shape]]] = {
    Op.CONV_2D: _conv_2d,
    Op.DEPTHWISE_CONV_2D: _depthwise,
    Op.FULLY_CONNECTED: _fully_connected,
    Op.AVERAGE_POOL_2D: _pool,
    Op.MAX_POOL_2D: _pool,
    Op.MEAN: _mean,
    Op.ADD: _broadcast,
    Op.SUB: _broadcast,
    Op.MUL: _broadcast,
    Op.CONCATENATION: _concatenation,
    Op.PAD: _pad,
    Op.RESHAPE: _reshape,
    Op.SOFTMAX: _same,
    Op.LOGISTIC: _same,
    Op.TANH: _same,
    Op.RELU: _same,
    Op.RELU6: _same,
    Op.QUANTIZE: _same,
    Op.LOOKUP: _same,
    Op.DIV: _broadcast,
    Op.LEAKY_RELU: _same,
    Op.PRELU: _broadcast,
    Op.TRANSPOSE_CONV: _transpose_conv,
    Op.TRANSPOSE: _transpose,
    Op.STRIDED_SLICE: _strided_slice,
    Op.GATHER: _gather,
    Op.RESIZE_NEAREST: _resize_nearest,
    Op.ARG_MAX: _arg_max,
}
