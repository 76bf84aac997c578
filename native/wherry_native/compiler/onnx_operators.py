"""One function per ONNX operator: what it becomes in the channels-last graph.

Each takes the context and the node, and returns the node's (first) output as a value. What cannot
be said in the engine's operators raises UnsupportedError with one sentence.

Source: ONNX operator specifications, opsets 7 to 23.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx

from wherry_native.compiler.ir import Array, Clamp, Shape, Window
from wherry_native.compiler.onnx_values import (
    ArrangementError,
    Builder,
    UnsupportedError,
    Value,
    View,
    channels_last,
    common_axes,
    row_order,
    view_of,
)
from wherry_native.program import Op


@dataclass(frozen=True, slots=True)
class Context:
    """The node's surroundings: values so far by name, the graph being built, the opset."""

    builder: Builder
    values: Mapping[str, Value]
    opset: int


@dataclass(frozen=True, slots=True)
class Call:
    """One ONNX node with its operands and attributes."""

    context: Context
    name: str
    op_type: str
    inputs: tuple[Value | None, ...]
    attributes: Mapping[str, Any]

    @property
    def builder(self) -> Builder:
        return self.context.builder

    def view(self, index: int) -> View:
        value = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(value, View):
            raise UnsupportedError(f"operand {index} must be computed, is a constant or absent")
        return value

    def constant(self, index: int) -> Array:
        value = self.optional(index)
        if value is None:
            raise UnsupportedError(f"operand {index} is absent")
        return value

    def optional(self, index: int) -> Array | None:
        value = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(value, View):
            raise UnsupportedError(f"operand {index} must be a constant in the file")
        return value

    def integers(self, name: str, default: Sequence[int]) -> tuple[int, ...]:
        return tuple(int(value) for value in self.attributes.get(name, default))

    def either(self, name: str, index: int) -> Array | None:
        """An attribute of older opsets that became operand `index`."""
        if name in self.attributes:
            return np.asarray(self.attributes[name])
        return self.optional(index)

    def axis(self, default: int, rank: int) -> int:
        axis = int(self.attributes.get("axis", default))
        if not -rank <= axis <= rank:
            raise UnsupportedError(f"axis {axis} does not fit rank {rank}")
        return axis + rank if axis < 0 else axis


def _result(call: Call, tensor: str, axes: tuple[int, ...], shape: Shape | None = None) -> View:
    """The view of a new tensor that is transposed by `axes`; `shape` drops or adds unit axes."""
    view = view_of(tensor, call.builder.tensors[tensor].shape, axes)
    return view if shape is None else View(tensor, view.index.reshape(shape))


# Convolutions and pools


def _image(call: Call) -> tuple[str, bool]:
    """The first operand as N, H, W, C, and whether it had only one spatial axis."""
    view = call.view(0)
    if len(view.shape) == 3:
        view = View(view.tensor, view.index[:, :, None, :])
        return call.builder.arranged(view, channels_last(4)), True
    if len(view.shape) != 4:
        raise UnsupportedError(f"input has shape {list(view.shape)}, must have 1 or 2 image axes")
    return call.builder.arranged(view, channels_last(4)), False


def _from_image(call: Call, tensor: str, is_line: bool) -> View:
    view = _result(call, tensor, channels_last(4))
    return View(tensor, view.index[:, :, 0, :]) if is_line else view


def _two(values: Sequence[int], fill: int, is_line: bool) -> tuple[int, int]:
    if len(values) != (1 if is_line else 2):
        raise UnsupportedError(f"{list(values)} does not fit the number of image axes")
    return (fill, values[0]) if is_line else (values[0], values[1])


def _window(call: Call, x: Shape, size: tuple[int, int], is_line: bool) -> Window:
    ones = (1,) if is_line else (1, 1)
    stride = _two(call.integers("strides", ones), 1, is_line)
    dilation = _two(call.integers("dilations", ones), 1, is_line)
    if min(*size, *stride, *dilation) < 1:
        raise UnsupportedError(f"filter {size}, stride {stride}, dilation {dilation} must be >= 1")
    pads = call.integers("pads", (0, 0, 0, 0)[: 2 * len(ones)])
    if len(pads) != 2 * len(ones) or min(pads) < 0:
        raise UnsupportedError(f"pads {list(pads)} do not fit the image axes")
    if is_line:
        pads = (0, pads[0], 0, pads[1])
    axes = list(zip(x[1:3], size, stride, dilation, strict=True))
    auto = _text(call.attributes.get("auto_pad", "NOTSET"))
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same_pads(axes, is_lower=auto == "SAME_LOWER")
    elif auto == "VALID":
        pads = (0, 0, 0, 0)
    if int(call.attributes.get("ceil_mode", 0)):
        pads = _ceil_pads(axes, pads)
    return Window(size, stride, dilation, (pads[0], pads[1], pads[2], pads[3]))


Axis = tuple[int, int, int, int]
"""Length, filter, stride, dilation."""


def _same_pads(axes: Sequence[Axis], *, is_lower: bool) -> tuple[int, ...]:
    before, after = [], []
    for length, size, stride, dilation in axes:
        count = -(-length // stride)
        total = max((count - 1) * stride + (size - 1) * dilation + 1 - length, 0)
        small, large = total // 2, total - total // 2
        before.append(large if is_lower else small)
        after.append(small if is_lower else large)
    return (*before, *after)


def _ceil_pads(axes: Sequence[Axis], pads: Sequence[int]) -> tuple[int, ...]:
    """Padding behind that makes room for the last, partial window, unless it begins in padding."""
    after = []
    for i, (length, size, stride, dilation) in enumerate(axes):
        span = length + pads[i] + pads[i + 2] - ((size - 1) * dilation + 1)
        count = -(-span // stride) + 1
        if (count - 1) * stride >= length + pads[i]:
            count -= 1
        after.append(max(pads[i + 2], pads[i + 2] + (count - 1) * stride - span))
    return (pads[0], pads[1], *after)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def conv(call: Call) -> Value:
    weights = call.constant(1)
    tensor, is_line = _image(call)
    if weights.ndim != (3 if is_line else 4):
        raise UnsupportedError(f"weights have shape {list(weights.shape)}")
    weights = weights[:, :, None, :] if is_line else weights
    groups = int(call.attributes.get("group", 1))
    x = call.builder.tensors[tensor].shape
    is_depthwise = groups == x[3] and weights.shape[1] == 1 and groups > 1
    if weights.shape[1] * groups != x[3]:
        raise UnsupportedError(
            f"{groups} groups of {weights.shape[1]} channels do not make {x[3]} input channels"
        )
    axes = (1, 2, 3, 0) if is_depthwise else (0, 2, 3, 1)
    operands = [tensor, call.builder.add_constant(f"{call.name}/weights", weights.transpose(axes))]
    bias = call.optional(2)
    if bias is not None:
        operands.append(call.builder.add_constant(f"{call.name}/bias", bias.reshape(-1)))
    window = _window(call, x, (weights.shape[2], weights.shape[3]), is_line)
    op = Op.DEPTHWISE_CONV_2D if is_depthwise else Op.CONV_2D
    output = call.builder.add_node(op, call.name, operands, window=window)
    return _from_image(call, output, is_line)


def max_pool(call: Call) -> Value:
    return _pooled(call, Op.MAX_POOL_2D)


def average_pool(call: Call) -> Value:
    return _pooled(call, Op.AVERAGE_POOL_2D)


def _pooled(call: Call, op: Op) -> Value:
    tensor, is_line = _image(call)
    x = call.builder.tensors[tensor].shape
    window = _window(call, x, _two(call.integers("kernel_shape", ()), 1, is_line), is_line)
    if window.dilation != (1, 1):
        raise UnsupportedError("dilation of a pool is not supported")
    if op is Op.AVERAGE_POOL_2D and int(call.attributes.get("count_include_pad", 0)):
        tensor, window = _padded_image(call, tensor, window, is_line)
    output = call.builder.add_node(op, call.name, [tensor], window=window)
    return _from_image(call, output, is_line)


def _padded_image(call: Call, tensor: str, window: Window, is_line: bool) -> tuple[str, Window]:
    """The file's own padding as a PAD, so that its zeros count in the average."""
    pads = call.integers("pads", (0, 0) if is_line else (0, 0, 0, 0))
    top, left, bottom, right = (0, pads[0], 0, pads[1]) if is_line else pads
    if not any((top, left, bottom, right)):
        return tensor, window
    padded = call.builder.add_node(
        Op.PAD, f"{call.name}/pad", [tensor], pads=((0, 0), (top, bottom), (left, right), (0, 0))
    )
    rest = (0, 0, max(window.pads[2] - bottom, 0), max(window.pads[3] - right, 0))
    return padded, Window(window.size, window.stride, window.dilation, rest)


def global_average_pool(call: Call) -> Value:
    return _mean(call, tuple(range(2, len(call.view(0).shape))), is_kept=True)


def global_max_pool(call: Call) -> Value:
    tensor, is_line = _image(call)
    x = call.builder.tensors[tensor].shape
    window = Window((x[1], x[2]))
    output = call.builder.add_node(Op.MAX_POOL_2D, call.name, [tensor], window=window)
    return _from_image(call, output, is_line)


def reduce_mean(call: Call) -> Value:
    rank = len(call.view(0).shape)
    wanted = call.either("axes", 1)
    if wanted is None or wanted.size == 0:
        if int(call.attributes.get("noop_with_empty_axes", 0)):
            return call.view(0)
        wanted = np.arange(rank)
    axes = tuple(sorted({int(a) + rank if a < 0 else int(a) for a in wanted.reshape(-1)}))
    return _mean(call, axes, is_kept=bool(call.attributes.get("keepdims", 1)))


def _mean(call: Call, axes: tuple[int, ...], *, is_kept: bool) -> Value:
    view = call.view(0)
    if not axes or not all(0 <= axis < len(view.shape) for axis in axes):
        raise UnsupportedError(f"axes {list(axes)} do not fit rank {len(view.shape)}")
    order = common_axes([view])
    tensor = call.builder.arranged(view, order)
    physical = tuple(sorted(order.index(axis) for axis in axes))
    output = call.builder.add_node(Op.MEAN, call.name, [tensor], axes=physical)
    kept = [1 if axis in axes else size for axis, size in enumerate(view.shape)]
    dropped = [size for axis, size in enumerate(view.shape) if axis not in axes]
    return _result(call, output, order, tuple(kept if is_kept else dropped))


# Fully connected layers


def gemm(call: Call) -> Value:
    if int(call.attributes.get("transA", 0)):
        raise UnsupportedError("transA is not supported")
    weights = call.constant(1).astype(np.float64) * float(call.attributes.get("alpha", 1.0))
    if weights.ndim != 2:
        raise UnsupportedError(f"weights have shape {list(weights.shape)}, rank must be 2")
    weights = weights if int(call.attributes.get("transB", 0)) else weights.T
    bias = call.optional(2)
    if bias is not None:
        bias = bias * float(call.attributes.get("beta", 1.0))
        if bias.size not in (1, weights.shape[0]):
            raise UnsupportedError(f"operand C has shape {list(bias.shape)}, must be one row")
        bias = np.broadcast_to(bias.reshape(-1), (weights.shape[0],))
    return _fully_connected(call, weights, bias)


def matmul(call: Call) -> Value:
    weights = call.constant(1)
    if weights.ndim != 2:
        raise UnsupportedError(f"weights have shape {list(weights.shape)}, rank must be 2")
    return _fully_connected(call, weights.T, None)


def linear_regressor(call: Call) -> Value:
    """ai.onnx.ml: y = x * coefficients + intercepts."""
    if _text(call.attributes.get("post_transform", "NONE")) != "NONE":
        raise UnsupportedError("post_transform is not supported")
    targets = int(call.attributes.get("targets", 1))
    weights = np.asarray(call.attributes["coefficients"], np.float64).reshape(targets, -1)
    bias = np.asarray(call.attributes.get("intercepts", (0.0,) * targets), np.float64)
    return _fully_connected(call, weights, bias)


def linear_classifier(call: Call) -> Value:
    """ai.onnx.ml: scores per class, through softmax, logistic or nothing."""
    weights = np.asarray(call.attributes["coefficients"], np.float64)
    bias = np.asarray(call.attributes.get("intercepts", ()), np.float64)
    labels = call.attributes.get("classlabels_ints") or call.attributes.get("classlabels_strings")
    if not labels or bias.size != len(labels):
        raise UnsupportedError("needs one row of coefficients and one intercept per class")
    scores = _fully_connected(call, weights.reshape(len(labels), -1), bias)
    transform = _text(call.attributes.get("post_transform", "NONE"))
    if transform not in _TRANSFORMS:
        raise UnsupportedError(f"post_transform {transform} is not supported")
    op = _TRANSFORMS[transform]
    if op is None:
        return scores
    return View(call.builder.add_node(op, f"{call.name}/scores", [scores.tensor]), scores.index)


_TRANSFORMS: Final = {"NONE": None, "SOFTMAX": Op.SOFTMAX, "LOGISTIC": Op.LOGISTIC}


def normalizer(call: Call) -> Value:
    """ai.onnx.ml: dividing by the sum changes nothing behind a softmax, whose sum is 1."""
    view = call.view(0)
    writer = next((n for n in call.builder.nodes if n.output == view.tensor), None)
    norm = _text(call.attributes.get("norm", "MAX"))
    if norm != "L1" or writer is None or writer.op is not Op.SOFTMAX:
        raise UnsupportedError(f"norm {norm} is supported as L1 behind a softmax only")
    return view


def scaler(call: Call) -> Value:
    """ai.onnx.ml: y = (x - offset) * scale, per feature (the last axis)."""
    offset = np.asarray(call.attributes.get("offset", (0.0,)), np.float64)
    scale = np.asarray(call.attributes.get("scale", (1.0,)), np.float64)
    moved = _with_constant(call, Op.SUB, call.view(0), offset, f"{call.name}/offset")
    return _with_constant(call, Op.MUL, moved, scale, call.name)


def _fully_connected(call: Call, weights: Array, bias: Array | None) -> View:
    """`weights` are [out, in] in the file's order of inputs."""
    view = call.view(0)
    row_size = weights.shape[1]
    if not view.shape or view.shape[-1] != row_size:
        raise UnsupportedError(
            f"input has shape {list(view.shape)}, weights need {row_size} in the last axis"
        )
    order = row_order(view, row_size)
    arranged = np.empty_like(weights)
    arranged[:, order] = weights
    rows = math.prod(view.shape) // row_size
    operands = [
        call.builder.reshaped(view.tensor, (rows, row_size)),
        call.builder.add_constant(f"{call.name}/weights", arranged),
    ]
    if bias is not None:
        operands.append(call.builder.add_constant(f"{call.name}/bias", bias))
    output = call.builder.add_node(Op.FULLY_CONNECTED, call.name, operands)
    return _result(call, output, (0, 1), (*view.shape[:-1], weights.shape[0]))


# Elementwise


def add(call: Call) -> Value:
    return _elementwise(call, Op.ADD)


def subtract(call: Call) -> Value:
    if isinstance(call.inputs[0], View):
        return _elementwise(call, Op.SUB)
    negated = _with_constant(call, Op.MUL, call.view(1), np.float32(-1.0), f"{call.name}/negated")
    return _with_constant(call, Op.ADD, negated, call.constant(0), call.name)


def multiply(call: Call) -> Value:
    return _elementwise(call, Op.MUL)


def divide(call: Call) -> Value:
    divisor = call.constant(1).astype(np.float64)
    if not divisor.all():
        raise UnsupportedError("divides by 0")
    return _with_constant(call, Op.MUL, call.view(0), 1.0 / divisor, call.name)


def _elementwise(call: Call, op: Op) -> Value:
    a, b = call.inputs
    if isinstance(a, View) and isinstance(b, View):
        return _of_two(call, op, a, b)
    if isinstance(a, View):
        return _with_constant(call, op, a, call.constant(1), call.name)
    return _with_constant(call, op, call.view(1), call.constant(0), call.name)


def _of_two(call: Call, op: Op, a: View, b: View) -> Value:
    if np.array_equal(a.index, b.index):
        same = call.builder.tensors[a.tensor].shape
        operands = [a.tensor, call.builder.reshaped(b.tensor, same)]
        return View(call.builder.add_node(op, call.name, operands), a.index)
    rank = max(len(a.shape), len(b.shape))
    a, b = (View(v.tensor, v.index.reshape((1,) * (rank - len(v.shape)) + v.shape)) for v in (a, b))
    axes = common_axes([a, b])
    operands = [call.builder.arranged(view, axes) for view in (a, b)]
    return _result(call, call.builder.add_node(op, call.name, operands), axes)


def _with_constant(call: Call, op: Op, view: View, data: Any, name: str) -> View:
    """`view op constant`; the constant becomes one value, one per channel, or one per element."""
    try:
        spread = np.broadcast_to(np.asarray(data), view.shape)
    except ValueError:
        raise UnsupportedError(
            f"constant of shape {list(np.shape(data))} does not broadcast to {list(view.shape)}"
        ) from None
    shape = call.builder.tensors[view.tensor].shape
    physical = np.empty(spread.size, np.float64)
    physical[view.index.reshape(-1)] = spread.reshape(-1)
    compact = _compact(physical.reshape(shape))
    operand = call.builder.add_constant(f"{name}/constant", compact)
    return View(call.builder.add_node(op, name, [view.tensor, operand]), view.index)


def _compact(data: Array) -> Array:
    rows = data.reshape(-1, data.shape[-1]) if data.ndim else data.reshape(1, 1)
    if not (rows == rows[0]).all():
        return data
    return rows[0] if not (rows[0] == rows[0, 0]).all() else rows[0, :1]


def batch_normalization(call: Call) -> Value:
    scale, bias, mean, variance = (call.constant(i).astype(np.float64) for i in range(1, 5))
    epsilon = float(call.attributes.get("epsilon", 1e-5))
    if not all(v.shape == scale.shape for v in (bias, mean, variance)) or scale.ndim != 1:
        raise UnsupportedError("its four parameters must be vectors of one length")
    if (variance + epsilon <= 0).any():
        raise UnsupportedError("variance plus epsilon must be above 0")
    factor = scale / np.sqrt(variance + epsilon)
    view = call.view(0)
    column = (-1, *(1,) * (len(view.shape) - 2))
    scaled = _with_constant(call, Op.MUL, view, factor.reshape(column), f"{call.name}/factor")
    return _with_constant(call, Op.ADD, scaled, (bias - mean * factor).reshape(column), call.name)


def _unary(call: Call, op: Op, clamp: Clamp | None = None) -> Value:
    view = call.view(0)
    fields = {} if clamp is None else {"clamp": clamp}
    return View(call.builder.add_node(op, call.name, [view.tensor], **fields), view.index)


def relu(call: Call) -> Value:
    return _unary(call, Op.RELU, Clamp(0.0))


def clip(call: Call) -> Value:
    low, high = call.either("min", 1), call.either("max", 2)
    clamp = Clamp(
        -math.inf if low is None else float(low.reshape(-1)[0]),
        math.inf if high is None else float(high.reshape(-1)[0]),
    )
    if clamp.low > clamp.high:
        raise UnsupportedError(f"lower bound {clamp.low} is above upper bound {clamp.high}")
    return _unary(call, Op.RELU6 if clamp == Clamp(0.0, 6.0) else Op.RELU, clamp)


def sigmoid(call: Call) -> Value:
    return _unary(call, Op.LOGISTIC)


def tanh(call: Call) -> Value:
    return _unary(call, Op.TANH)


def softmax(call: Call) -> Value:
    view = call.view(0)
    rank = len(view.shape)
    if call.context.opset < 13:  # everything from `axis` on is one row
        row_size = math.prod(view.shape[call.axis(1, rank) :])
        axes: tuple[int, ...] = tuple(range(rank))
    else:
        axis = call.axis(-1, rank)
        row_size = view.shape[axis]
        axes = (*(i for i in range(rank) if i != axis), axis)
    rows = np.sort(view.index.transpose(axes).reshape(-1, row_size), axis=1)
    starts = rows[:, :1]
    # Each row must lie together; the order of rows, and within a row, does not matter.
    if (starts % row_size).any() or not np.array_equal(rows, starts + np.arange(row_size)):
        raise ArrangementError(f"operand {view.tensor!r} would have to be transposed")
    tensor = call.builder.reshaped(view.tensor, (rows.shape[0], row_size))
    return View(call.builder.add_node(Op.SOFTMAX, call.name, [tensor]), view.index)


# Moving and joining


def concat(call: Call) -> Value:
    views = [call.view(i) for i in range(len(call.inputs))]
    axis = call.axis(0, len(views[0].shape))
    try:
        axes = common_axes(views)
    except ArrangementError:
        if all(math.prod(view.shape[:axis]) == 1 for view in views):
            return _end_to_end(call, views, axis)
        raise
    operands = [call.builder.arranged(view, axes) for view in views]
    output = call.builder.add_node(Op.CONCATENATION, call.name, operands, axes=(axes.index(axis),))
    return _result(call, output, axes)


def _end_to_end(call: Call, views: Sequence[View], axis: int) -> Value:
    """Operands of any arrangement, one behind the other in memory: possible where nothing but
    unit axes stands before the joined one."""
    sizes = [math.prod(view.shape) for view in views]
    rows = [
        call.builder.reshaped(v.tensor, (1, size)) for v, size in zip(views, sizes, strict=True)
    ]
    output = call.builder.add_node(Op.CONCATENATION, call.name, rows, axes=(1,))
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int32)
    try:
        moved = [view.index + start for view, start in zip(views, starts, strict=True)]
        return View(output, np.concatenate(moved, axis=axis))
    except ValueError as error:
        raise UnsupportedError(f"operands differ beside axis {axis}") from error


def pad(call: Call) -> Value:
    if _text(call.attributes.get("mode", "constant")) != "constant":
        raise UnsupportedError(f"mode {_text(call.attributes['mode'])} is not supported")
    view = call.view(0)
    rank = len(view.shape)
    amounts, value = call.either("pads", 1), call.either("value", 2)
    if amounts is None or call.optional(3) is not None or amounts.size != 2 * rank:
        raise UnsupportedError("pads must be given for every axis")
    pairs = [(int(amounts[i]), int(amounts[i + rank])) for i in range(rank)]
    if min(min(pair) for pair in pairs) < 0:
        raise UnsupportedError(f"negative pads {pairs} are not supported")
    axes = common_axes([view])
    output = call.builder.add_node(
        Op.PAD, call.name, [call.builder.arranged(view, axes)],
        pads=tuple(pairs[axis] for axis in axes),
        pad_value=0.0 if value is None or value.size == 0 else float(value.reshape(-1)[0]),
    )  # fmt: skip
    return _result(call, output, axes)


def reshape(call: Call) -> Value:
    view, wanted = call.view(0), call.either("shape", 1)
    if wanted is None:
        raise UnsupportedError("its shape must be a constant in the file")
    keeps_zero = bool(call.attributes.get("allowzero", 0))
    shape = [
        view.shape[i] if size == 0 and not keeps_zero and i < len(view.shape) else int(size)
        for i, size in enumerate(wanted.reshape(-1))
    ]
    return _moved(view, lambda index: index.reshape(shape))


def flatten(call: Call) -> Value:
    view = call.view(0)
    rows = math.prod(view.shape[: call.axis(1, len(view.shape))])
    return _moved(view, lambda index: index.reshape(rows, -1))


def squeeze(call: Call) -> Value:
    axes = call.either("axes", 1)
    chosen = None if axes is None else tuple(int(axis) for axis in axes.reshape(-1))
    return _moved(call.view(0), lambda index: index.squeeze(chosen))


def unsqueeze(call: Call) -> Value:
    axes = call.either("axes", 1)
    if axes is None:
        raise UnsupportedError("its axes must be constants in the file")
    chosen = tuple(int(axis) for axis in axes.reshape(-1))
    return _moved(call.view(0), lambda index: np.expand_dims(index, chosen))


def transpose(call: Call) -> Value:
    order = call.integers("perm", tuple(reversed(range(len(call.view(0).shape)))))
    return _moved(call.view(0), lambda index: index.transpose(order))


def _moved(view: View, move: Callable[[Array], Array]) -> View:
    try:
        return View(view.tensor, move(view.index))
    except ValueError as error:
        raise UnsupportedError(f"input {list(view.shape)}: {error}") from error


def identity(call: Call) -> Value:
    return call.view(0)


def cast(call: Call) -> Value:
    if call.attributes.get("to") not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
        raise UnsupportedError("casts a computed value to something else than float")
    return call.view(0)


def shape_of(call: Call) -> Value:
    shape = np.asarray(call.view(0).shape, np.int64)
    start = int(call.attributes.get("start", 0))
    end = call.attributes.get("end")
    return shape[start : None if end is None else int(end)]


OPERATORS: Final[dict[str, Callable[[Call], Value]]] = {
    "Add": add,
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "Clip": clip,
    "Concat": concat,
    "Conv": conv,
    "Div": divide,
    "Dropout": identity,
    "Flatten": flatten,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "Identity": identity,
    "LinearClassifier": linear_classifier,
    "LinearRegressor": linear_regressor,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "Mul": multiply,
    "Normalizer": normalizer,
    "Pad": pad,
    "ReduceMean": reduce_mean,
    "Relu": relu,
    "Reshape": reshape,
    "Scaler": scaler,
    "Shape": shape_of,
    "Sigmoid": sigmoid,
    "Softmax": softmax,
    "Squeeze": squeeze,
    "Sub": subtract,
    "Tanh": tanh,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
