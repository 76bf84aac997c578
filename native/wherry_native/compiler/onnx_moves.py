"""ONNX operators that move, join or reduce: Concat, Pad, ReduceMean, Softmax, Reshape and kin.

Source: ONNX operator specifications, opsets 7 to 23.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx

from wherry_native.compiler.ir import Array, Window
from wherry_native.compiler.onnx_call import Call, as_text, result_view
from wherry_native.compiler.onnx_values import (
    UnsupportedError,
    Value,
    View,
    shared_axes,
    view_of,
)
from wherry_native.program import Op


def concat(call: Call) -> Value:
    views = [call.view(i) for i in range(len(call.inputs))]
    axis = call.axis(0, len(views[0].shape))
    if shared_axes(views) is None and all(math.prod(view.shape[:axis]) == 1 for view in views):
        return _end_to_end(call, views, axis)
    axes = call.builder.common_axes(views)
    operands = [call.builder.arranged(view, axes) for view in views]
    output = call.builder.add_node(Op.CONCATENATION, call.name, operands, axes=(axes.index(axis),))
    return result_view(call, output, axes)


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
    if as_text(call.attributes.get("mode", "constant")) != "constant":
        raise UnsupportedError(f"mode {as_text(call.attributes['mode'])} is not supported")
    view = call.view(0)
    rank = len(view.shape)
    amounts, value = call.either("pads", 1), call.either("value", 2)
    if amounts is None or call.optional(3) is not None or amounts.size != 2 * rank:
        raise UnsupportedError("pads must be given for every axis")
    pairs = [(int(amounts[i]), int(amounts[i + rank])) for i in range(rank)]
    if min(min(pair) for pair in pairs) < 0:
        raise UnsupportedError(f"negative pads {pairs} are not supported")
    axes = call.builder.common_axes([view])
    output = call.builder.add_node(
        Op.PAD, call.name, [call.builder.arranged(view, axes)],
        pads=tuple(pairs[axis] for axis in axes),
        pad_value=0.0 if value is None or value.size == 0 else float(value.reshape(-1)[0]),
    )  # fmt: skip
    return result_view(call, output, axes)


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


def depth_to_space(call: Call) -> Value:
    """Channels become squares of pixels; DCR has the square's channels first, CRD last."""
    view, block = _blocks(call)
    count, channels, height, width = view.shape
    if channels % (block * block):
        raise UnsupportedError(
            f"{channels} channels do not divide into squares of {block} x {block} pixels"
        )
    mode = as_text(call.attributes.get("mode", "DCR"))
    if mode not in ("DCR", "CRD"):
        raise UnsupportedError(f"mode {mode} is not supported, DCR and CRD are")
    rest = channels // (block * block)
    is_first = mode == "DCR"
    split = (block, block, rest) if is_first else (rest, block, block)
    order = (0, 3, 4, 1, 5, 2) if is_first else (0, 1, 4, 2, 5, 3)
    return _moved(
        view,
        lambda index: (
            index.reshape(count, *split, height, width)
            .transpose(order)
            .reshape(count, rest, height * block, width * block)
        ),
    )


def space_to_depth(call: Call) -> Value:
    """Squares of pixels become channels: what DepthToSpace (DCR) undoes."""
    view, block = _blocks(call)
    count, channels, height, width = view.shape
    if height % block or width % block:
        raise UnsupportedError(
            f"an image of {height} x {width} does not divide into squares of {block} x {block}"
        )
    rows, columns = height // block, width // block
    return _moved(
        view,
        lambda index: (
            index.reshape(count, channels, rows, block, columns, block)
            .transpose(0, 3, 5, 1, 2, 4)
            .reshape(count, channels * block * block, rows, columns)
        ),
    )


def _blocks(call: Call) -> tuple[View, int]:
    view, block = call.view(0), int(call.attributes.get("blocksize", 0))
    if len(view.shape) != 4:
        raise UnsupportedError(f"input has shape {list(view.shape)}, must have rank 4")
    if block < 1:
        raise UnsupportedError(f"blocksize {block} must be at least 1")
    return view, block


def _moved(view: View, move: Callable[[Array], Array]) -> View:
    try:
        return View(view.tensor, move(view.index))
    except ValueError as error:
        raise UnsupportedError(f"input {list(view.shape)}: {error}") from error


def identity(call: Call) -> Value:
    return call.view(0)


def cast(call: Call) -> Value:
    view = call.view(0)
    if call.builder.is_position(view.tensor):
        if call.attributes.get("to") not in (onnx.TensorProto.INT32, onnx.TensorProto.INT64):
            raise UnsupportedError("casts positions to something else than int32 or int64")
        return view
    if call.attributes.get("to") not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
        raise UnsupportedError("casts a computed value to something else than float")
    return view


def shape_of(call: Call) -> Value:
    shape = np.asarray(call.view(0).shape, np.int64)
    start = int(call.attributes.get("start", 0))
    end = call.attributes.get("end")
    return shape[start : None if end is None else int(end)]


def softmax(call: Call) -> Value:
    view = call.view(0)
    rank = len(view.shape)
    if call.opset < 13:  # everything from `axis` on is one row
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
        moved = call.builder.arranged(view, axes)
        view = view_of(moved, call.builder.tensors[moved].shape, axes)
    tensor = call.builder.reshaped(view.tensor, (rows.shape[0], row_size))
    return View(call.builder.add_node(Op.SOFTMAX, call.name, [tensor]), view.index)


def global_average_pool(call: Call) -> Value:
    return _mean(call, tuple(range(2, len(call.view(0).shape))), is_kept=True)


def reduce_sum(call: Call) -> Value:
    """The sum over one axis: a depthwise layer of ones whose window is that axis."""
    view = call.view(0)
    rank = len(view.shape)
    wanted = call.either("axes", 1)
    axes = [] if wanted is None else [int(a) % rank for a in wanted.reshape(-1)]
    if len(axes) != 1:
        raise UnsupportedError("sums over one axis are supported")
    view = call.builder.in_file_order(view)
    before = math.prod(view.shape[: axes[0]])
    height, channels = view.shape[axes[0]], math.prod(view.shape[axes[0] + 1 :])
    operands = [
        call.builder.reshaped(view.tensor, (before, height, 1, channels)),
        call.builder.add_constant(f"{call.name}/weights", np.ones((1, height, 1, channels))),
    ]
    window = Window((height, 1))
    output = call.builder.add_node(Op.DEPTHWISE_CONV_2D, call.name, operands, window=window)
    kept = [1 if axis == axes[0] else size for axis, size in enumerate(view.shape)]
    if not bool(call.attributes.get("keepdims", 1)):
        del kept[axes[0]]
    return View(output, np.arange(before * channels, dtype=np.int32).reshape(kept))


def slice_of(call: Call) -> Value:
    view = call.view(0)
    starts, ends = call.either("starts", 1), call.either("ends", 2)
    if starts is None or ends is None:
        raise UnsupportedError("its starts and ends must be constants in the file")
    rank = len(view.shape)
    axes, steps = call.either("axes", 3), call.optional(4)
    chosen = [(0, size, 1) for size in view.shape]
    for i, axis in enumerate(np.arange(starts.size) if axes is None else axes.reshape(-1)):
        step = 1 if steps is None else int(steps.reshape(-1)[i])
        bounds = slice(int(starts.reshape(-1)[i]), int(ends.reshape(-1)[i]), step)
        positions = range(*bounds.indices(view.shape[int(axis) % rank]))
        chosen[int(axis) % rank] = (positions.start, len(positions), step)
    return _sliced(call, view, chosen, call.name)


def split(call: Call) -> tuple[Value, ...]:
    """Parts of given sizes along one axis, or equal ones, of which the last may be smaller."""
    view = call.view(0)
    axis = call.axis(0, len(view.shape))
    wanted, count = call.either("split", 1), call.output_count
    sizes = _equal_parts(call, view.shape[axis]) if wanted is None else wanted.reshape(-1)
    if len(sizes) != count:
        raise UnsupportedError(f"has {len(sizes)} parts for {count} outputs")
    parts, begin = [], 0
    for number, size in enumerate(sizes):
        chosen = [(0, length, 1) for length in view.shape]
        chosen[axis] = (begin, int(size), 1)
        begin += int(size)
        parts.append(_sliced(call, view, chosen, f"{call.name}/{number}"))
    if begin != view.shape[axis]:
        raise UnsupportedError(f"its parts have {begin} elements, the axis has {view.shape[axis]}")
    return tuple(parts)


def _equal_parts(call: Call, length: int) -> list[int]:
    count = int(call.attributes.get("num_outputs", call.output_count))
    size = -(-length // count) if count > 0 else 0
    if size < 1 or length <= (count - 1) * size or (call.opset < 18 and length % count):
        raise UnsupportedError(f"{length} elements do not split into {count} equal parts")
    return [*[size] * (count - 1), length - (count - 1) * size]


def _sliced(call: Call, view: View, chosen: list[tuple[int, int, int]], name: str) -> View:
    """`chosen` has begin, count and step per axis."""
    if not all(count > 0 for _, count, _ in chosen):
        raise UnsupportedError("a slice is empty")
    axes = call.builder.common_axes([view])
    output = call.builder.add_node(
        Op.STRIDED_SLICE, name, [call.builder.arranged(view, axes)],
        slices=tuple(chosen[axis] for axis in axes),
        shape=tuple(chosen[axis][1] for axis in axes),
    )  # fmt: skip
    return result_view(call, output, axes)


def gather(call: Call) -> Value:
    """Elements along one axis, at positions that the file knows."""
    view, wanted = call.view(0), call.constant(1)
    axis = call.axis(0, len(view.shape))
    size = view.shape[axis]
    positions = wanted.reshape(-1).astype(np.int64)
    if not positions.size or positions.min() < -size or positions.max() >= size:
        raise UnsupportedError(
            f"its positions must be at least one, and lie within {size} elements"
        )
    axes = call.builder.common_axes([view])
    operands = [
        call.builder.arranged(view, axes),
        call.builder.add_positions(f"{call.name}/positions", positions % size),
    ]
    output = call.builder.add_node(Op.GATHER, call.name, operands, axes=(axes.index(axis),))
    return result_view(
        call, output, axes, (*view.shape[:axis], *wanted.shape, *view.shape[axis + 1 :])
    )


def arg_max(call: Call) -> Value:
    view = call.view(0)
    axis = call.axis(0, len(view.shape))
    if int(call.attributes.get("select_last_index", 0)):
        raise UnsupportedError("the last of equals is not supported, only the first")
    axes = call.builder.common_axes([view])
    rest = tuple(other for other in axes if other != axis)
    is_kept = bool(call.attributes.get("keepdims", 1))
    kept = tuple(1 if other == axis else view.shape[other] for other in axes)
    output = call.builder.add_node(
        Op.ARG_MAX, call.name, [call.builder.arranged(view, axes)],
        axes=(axes.index(axis),),
        shape=kept if is_kept else tuple(view.shape[other] for other in rest),
    )  # fmt: skip
    return result_view(call, output, axes if is_kept else tuple(np.argsort(np.argsort(rest))))


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
    order = call.builder.common_axes([view])
    tensor = call.builder.arranged(view, order)
    physical = tuple(sorted(order.index(axis) for axis in axes))
    kept = [1 if axis in axes else size for axis, size in enumerate(view.shape)]
    shape = tuple(kept[axis] for axis in order)
    output = call.builder.add_node(Op.MEAN, call.name, [tensor], axes=physical, shape=shape)
    dropped = [size for axis, size in enumerate(view.shape) if axis not in axes]
    return result_view(call, output, order, tuple(kept if is_kept else dropped))
