"""TFLite operators that choose or move elements: what each is in our graph.

Source: TFLite schema version 3 (PyPI `tflite`); TFLite's strided_slice_logic.h and
resize_nearest_neighbor.h.
"""

from collections.abc import Sequence

import numpy as np
import tflite  # type: ignore[import-untyped]

from wherry_native.compiler import ir
from wherry_native.compiler.errors import CompileError
from wherry_native.compiler.ir import Node
from wherry_native.compiler.tflite_call import Call
from wherry_native.program import Op

Slice = tuple[int, int, int]
"""Begin, extent, step along one axis."""


def transpose(call: Call) -> Node:
    rank = len(call.tensor(0).shape)
    axes = tuple(_axis(call, axis, rank) for axis in call.integers(1))
    return Node(Op.TRANSPOSE, call.name, call.inputs[:1], call.output, axes=axes)


def _axis(call: Call, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise CompileError(f"node {call.name!r}: axis {axis} does not fit rank {rank}")
    return axis + rank if axis < 0 else axis


def _sliced(call: Call, output: str, slices: Sequence[Slice], operand: int = 0) -> Node:
    return Node(
        Op.STRIDED_SLICE, output, (call.tensor(operand).name,), output, slices=tuple(slices)
    )


def strided_slice(call: Call) -> Node:
    options = call.options(tflite.StridedSliceOptions)
    if options.EllipsisMask() or options.NewAxisMask():
        raise CompileError(f"node {call.name!r}: an ellipsis or a new axis is not supported")
    shape = call.tensor(0).shape
    begins, ends, steps = (call.integers(i) for i in (1, 2, 3))
    if not len(begins) == len(ends) == len(steps) <= len(shape):
        raise CompileError(f"node {call.name!r}: slices do not fit rank {len(shape)}")
    slices = [(0, size, 1) for size in shape]
    for axis, (begin, end, step) in enumerate(zip(begins, ends, steps, strict=True)):
        bit, size = 1 << axis, shape[axis]
        if options.ShrinkAxisMask() & bit:
            position = begin + size if begin < 0 else begin
            slices[axis] = (min(max(position, 0), size - 1), 1, 1)
            continue
        if step == 0:
            raise CompileError(f"node {call.name!r}: the step along axis {axis} is 0")
        first, last, _ = slice(
            None if options.BeginMask() & bit else begin,
            None if options.EndMask() & bit else end,
            step,
        ).indices(size)
        slices[axis] = (first, len(range(first, last, step)), step)
    return _sliced(call, call.output, _nonempty(call, slices))


def _nonempty(call: Call, slices: Sequence[Slice]) -> Sequence[Slice]:
    if any(extent < 1 for _, extent, _ in slices):
        raise CompileError(f"node {call.name!r}: a slice is empty")
    return slices


def slice_of(call: Call) -> Node:
    shape, begins, sizes = call.tensor(0).shape, call.integers(1), call.integers(2)
    if not len(begins) == len(sizes) == len(shape):
        raise CompileError(f"node {call.name!r}: slices do not fit rank {len(shape)}")
    slices = [
        (begin, whole - begin if size == -1 else size, 1)
        for begin, size, whole in zip(begins, sizes, shape, strict=True)
    ]
    return _sliced(call, call.output, _nonempty(call, slices))


def split(call: Call) -> tuple[Node, ...]:
    """Operands: the axis, then x."""
    shape, count = call.tensor(1).shape, 1 + len(call.others)
    axis = _axis(call, call.integers(0)[0], len(shape))
    if shape[axis] % count:
        raise CompileError(f"node {call.name!r}: {shape[axis]} elements do not split into {count}")
    return _split(call, 1, axis, [shape[axis] // count] * count)


def split_by_sizes(call: Call) -> tuple[Node, ...]:
    """Operands: x, the sizes, the axis."""
    shape, sizes = call.tensor(0).shape, call.integers(1)
    axis = _axis(call, call.integers(2)[0], len(shape))
    if -1 in sizes:
        sizes[sizes.index(-1)] = shape[axis] - sum(size for size in sizes if size != -1)
    if len(sizes) != 1 + len(call.others) or sum(sizes) != shape[axis] or min(sizes) < 1:
        raise CompileError(f"node {call.name!r}: sizes {sizes} do not fit {shape[axis]} elements")
    return _split(call, 0, axis, sizes)


def _split(call: Call, operand: int, axis: int, sizes: Sequence[int]) -> tuple[Node, ...]:
    """One slice per output."""
    shape = call.tensor(operand).shape
    nodes, begin = [], 0
    for output, size in zip((call.output, *call.others), sizes, strict=True):
        slices = [(0, whole, 1) for whole in shape]
        slices[axis] = (begin, size, 1)
        nodes.append(_sliced(call, output, slices, operand))
        begin += size
    return tuple(nodes)


def gather(call: Call) -> Node:
    options = call.options(tflite.GatherOptions)
    if options.BatchDims():
        raise CompileError(f"node {call.name!r}: batch dimensions are not supported")
    axis = _axis(call, options.Axis(), len(call.tensor(0).shape))
    return Node(Op.GATHER, call.name, call.inputs[:2], call.output, axes=(axis,))


def resize_nearest(call: Call) -> Node:
    """Which row and column each output comes from is worked out here, in float32 as TFLite does."""
    options = call.options(tflite.ResizeNearestNeighborOptions)
    x, y = call.tensor(0).shape, call.tensors[call.output].shape
    if len(x) != 4 or len(y) != 4:
        raise CompileError(f"node {call.name!r}: input and output must have rank 4")
    names = []
    for what, axis in (("rows", 1), ("columns", 2)):
        sources = _nearest(x[axis], y[axis], options.AlignCorners(), options.HalfPixelCenters())
        name = ir.unique_name(f"{call.name}/{what}", call.tensors)
        call.tensors[name] = ir.constant(name, sources)
        names.append(name)
    inputs = (call.inputs[0], *names)
    return Node(Op.RESIZE_NEAREST, call.name, inputs, call.output)


def _nearest(size: int, wanted: int, is_aligned: bool, is_centred: bool) -> ir.Array:
    one = np.float32(1)
    scale = np.float32(size) / np.float32(wanted)
    if is_aligned and wanted > 1:
        scale = np.float32(size - 1) / np.float32(wanted - 1)
    offset = one / 2 if is_centred else np.float32(0)
    at = (np.arange(wanted).astype(np.float32) + offset) * scale
    sources = np.floor(at + one / 2) if is_aligned else np.floor(at)
    found: ir.Array = np.clip(sources, 0, size - 1).astype(np.int32)
    return found


def arg_max(call: Call) -> Node:
    if call.tensors[call.output].dtype != "int32":
        raise CompileError(f"node {call.name!r}: only int32 indices are supported")
    axis = _axis(call, call.integers(1)[0], len(call.tensor(0).shape))
    return Node(Op.ARG_MAX, call.name, call.inputs[:1], call.output, axes=(axis,))
