"""ONNX values in a channels-last graph, with as few bytes moved as can be.

Rules, in order:
1. A value of the file is a constant (an array, or codes where the file keeps integers), or a view:
   a tensor of our graph and, for every element of the ONNX value, the position where that tensor
   has it.
2. Transpose, Reshape, Flatten, Squeeze and Unsqueeze only change the view; they cost nothing
   themselves.
3. An operator that needs an arrangement (a convolution: N, H, W, C) gets the tensor itself when
   the view is already so, or a RESHAPE of it.
4. Anything else needs bytes to move: a TRANSPOSE, where the builder may (onnx_reader.py lets it
   only where the file cannot be read without); of more than RANK_MAX axes it is refused by name.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from wherry_native.compiler import ir
from wherry_native.compiler.ir import Array, Node, Quantization, Shape, Tensor
from wherry_native.compiler.shapes import ShapeError, output_shape
from wherry_native.program import RANK_MAX, Op

Axes = tuple[int, ...]

ELEMENTS_MAX: Final = 1 << 23
"""Of one value: every element's position is written down while a file is read."""


class UnsupportedError(ValueError):
    """One node that cannot be imported: a sentence without the node's name."""


SCATTERED: Final = (
    f", and no transposition of at most {RANK_MAX} axes does that; join axes that stay together by "
    "a Reshape before their Transpose, or do it outside of the model"
)


class ArrangementError(UnsupportedError):
    """A node that would need its operand's bytes moved. `why`: why they are not."""

    def __init__(self, view: "View", why: str = "") -> None:
        super().__init__(
            f"operand {view.tensor!r} of shape {list(view.shape)} would have to be transposed{why}"
        )


@dataclass(frozen=True, slots=True)
class View:
    """`index` has the ONNX value's shape; element i of the value is element index[i] of the flat
    `tensor`. Every position occurs exactly once."""

    tensor: str
    index: Array

    @property
    def shape(self) -> Shape:
        return tuple(self.index.shape)


@dataclass(frozen=True, slots=True)
class Codes:
    """A constant that the file keeps in integers behind a DequantizeLinear: int8 or int32 codes
    (uint8 ones less 128, and their zero points with them) and what they mean."""

    data: Array
    quantization: Quantization

    @property
    def real(self) -> Array:
        """float64, exact but for the scales' own rounding."""
        column = [1] * self.data.ndim
        if len(self.quantization.scales) > 1:
            column[self.quantization.axis] = -1
        scales = np.asarray(self.quantization.scales).reshape(column)
        zeros = np.asarray(self.quantization.zero_points).reshape(column)
        return np.asarray((self.data.astype(np.float64) - zeros) * scales).reshape(self.data.shape)


Value = View | Array | Codes


@dataclass(slots=True)
class Builder:
    """The graph while it is read. `moved_elements` counts what TRANSPOSE moves."""

    may_move: bool = False
    moved_elements: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)  # name at first → name now

    def add_input(self, name: str, shape: Shape, axes: Axes) -> View:
        """A graph input whose tensor is the ONNX value transposed by `axes`."""
        physical = tuple(shape[axis] for axis in axes)
        self.tensors[name] = Tensor(name, physical)
        return view_of(name, physical, axes)

    def add_constant(self, name: str, data: Array, quantization: Quantization | None = None) -> str:
        """A float32 constant, with the quantization that the file prescribes; returns its name,
        made unique. Raises UnsupportedError when a value is not finite."""
        if not np.isfinite(data).all():
            raise UnsupportedError("has constants that are not finite")
        name = ir.unique_name(name, self.tensors)
        self.tensors[name] = ir.constant(name, data.astype(np.float32), quantization)
        return name

    def add_positions(self, name: str, positions: Array) -> str:
        """A constant of positions along an axis, int32; returns its name, made unique."""
        name = ir.unique_name(name, self.tensors)
        self.tensors[name] = ir.constant(name, positions.astype(np.int32))
        return name

    def add_node(self, op: Op, name: str, inputs: Sequence[str], **fields: Any) -> str:
        """A node and its output, which has the node's name, made unique. Raises UnsupportedError
        when the operands do not fit."""
        declared = fields.pop("shape", ())
        if any(self.is_position(tensor) for tensor in inputs):
            raise UnsupportedError("positions (of an ArgMax) can be an output and nothing else")
        name = ir.unique_name(name, self.tensors)
        node = Node(op, name, tuple(inputs), name, **fields)
        try:
            shape = output_shape(node, [self.tensors[i].shape for i in inputs], declared)
        except ShapeError as error:
            raise UnsupportedError(str(error)) from error
        if math.prod(shape) > ELEMENTS_MAX:
            raise UnsupportedError(f"output {list(shape)} exceeds {ELEMENTS_MAX} elements")
        self.tensors[name] = Tensor(name, shape, "int32" if op is Op.ARG_MAX else "float32")
        self.nodes.append(node)
        return name

    def is_position(self, name: str) -> bool:
        """Whether a computed tensor holds positions instead of values."""
        return self.tensors[name].dtype == "int32" and not self.tensors[name].is_constant

    def prescribe(self, tensor: str, quantization: Quantization) -> None:
        """Notes which scale and zero point the file has for a tensor. Raises UnsupportedError for
        positions, which have none."""
        if self.is_position(tensor):
            raise UnsupportedError("positions (of an ArgMax) have no scale")
        self.tensors[tensor] = replace(self.tensors[tensor], quantization=quantization)

    def rename(self, tensor: str, wanted: str) -> None:
        """Gives a tensor the name that the file has for it; whoever had that name makes room.
        Nodes keep their own names."""
        if tensor == wanted:
            return
        if wanted in self.tensors:
            self.rename(wanted, ir.unique_name(f"{wanted}/inner", self.tensors))
        self.tensors[wanted] = replace(self.tensors.pop(tensor), name=wanted)
        originals = [old for old, new in self.renamed.items() if new == tensor] or [tensor]
        self.renamed.update(dict.fromkeys(originals, wanted))
        self.nodes = [
            replace(
                node,
                inputs=tuple(wanted if name == tensor else name for name in node.inputs),
                output=wanted if node.output == tensor else node.output,
            )
            for node in self.nodes
        ]

    def reshaped(self, tensor: str, shape: Shape) -> str:
        """The tensor, or a RESHAPE of it."""
        if self.tensors[tensor].shape == shape:
            return tensor
        return self.add_node(Op.RESHAPE, f"{tensor}/reshape", [tensor], shape=shape)

    def arranged(self, view: View, axes: Axes) -> str:
        """A tensor that is the ONNX value transposed by `axes`. Raises ArrangementError."""
        shape = tuple(view.shape[axis] for axis in axes)
        if is_arranged(view, axes):
            return self.reshaped(view.tensor, shape)
        parts = transposition(view.index.transpose(axes).reshape(-1)) if self.may_move else None
        if parts is None:
            raise ArrangementError(view, SCATTERED if self.may_move else "")
        self.moved_elements += view.index.size
        whole = self.reshaped(view.tensor, parts[0])
        moved = self.add_node(Op.TRANSPOSE, f"{view.tensor}/transposed", [whole], axes=parts[1])
        return self.reshaped(moved, shape)

    def in_file_order(self, view: View) -> View:
        """The view of a tensor that has the elements as the file does. Raises ArrangementError."""
        axes = tuple(range(len(view.shape)))
        return view_of(self.arranged(view, axes), view.shape, axes)

    def common_axes(self, views: Sequence[View]) -> Axes:
        """An arrangement that all views (of one rank) have, or can be given with the fewest bytes
        moved. Raises ArrangementError."""
        shared = shared_axes(views)
        if shared is not None:
            return shared
        odd = next((view for view in views if len(view.shape) != len(views[0].shape)), None)
        if odd is not None or not self.may_move:
            raise ArrangementError(odd or views[0])
        return min(
            _candidates(views),
            key=lambda axes: sum(v.index.size for v in views if not is_arranged(v, axes)),
        )


def view_of(tensor: str, physical: Shape, axes: Axes) -> View:
    """The view of a tensor that is its ONNX value transposed by `axes`."""
    inverse = np.argsort(axes)
    return View(
        tensor, np.arange(math.prod(physical), dtype=np.int32).reshape(physical).transpose(inverse)
    )


def is_arranged(view: View, axes: Axes) -> bool:
    """Whether the view's tensor already is its ONNX value transposed by `axes`."""
    flat = view.index.transpose(axes).reshape(-1)
    return bool(np.array_equal(flat, np.arange(flat.size)))


def channels_last(rank: int) -> Axes:
    """N, C, … to N, …, C."""
    return (0, *range(2, rank), 1) if rank >= 3 else tuple(range(rank))


def _candidates(views: Sequence[View]) -> list[Axes]:
    """Arrangements for views of one rank: the usual ones, then those that the views have."""
    rank = len(views[0].shape)
    return [channels_last(rank), tuple(range(rank)), *(_own_axes(view) for view in views)]


def _own_axes(view: View) -> Axes:
    """The arrangement of a view that is a plain transposition: the widest stride first."""
    start = view.index[(0,) * len(view.shape)]
    strides = [
        int(view.index.take(1, axis).flat[0] - start) if size > 1 else view.index.size + 1
        for axis, size in enumerate(view.shape)
    ]
    return tuple(sorted(range(len(strides)), key=lambda axis: -strides[axis]))


def shared_axes(views: Sequence[View]) -> Axes | None:
    """An arrangement that all views (of one rank) have; None where there is none."""
    if any(len(view.shape) != len(views[0].shape) for view in views):
        return None
    fits = (axes for axes in _candidates(views) if all(is_arranged(v, axes) for v in views))
    return next(fits, None)


def transposition(flat: Array) -> tuple[Shape, Axes] | None:
    """Shape and axes with `arange(n).reshape(shape).transpose(axes).reshape(-1) == flat`; None
    where there are none, or more than the engine has."""
    factors: list[tuple[int, int]] = []  # stride and size, the innermost axis first
    rest = flat
    while rest.size > 1:
        size = _regular_run(rest)
        if size < 2:
            return None
        factors.append((int(rest[1] - rest[0]), size))
        rest = rest[::size]
    if len(factors) > RANK_MAX:
        return None
    outermost_first = sorted(factors, reverse=True)
    shape = tuple(size for _, size in outermost_first)
    axes = tuple(outermost_first.index(factor) for factor in reversed(factors))
    is_right = np.array_equal(np.arange(flat.size).reshape(shape).transpose(axes).reshape(-1), flat)
    return (shape, axes) if is_right else None


def _regular_run(values: Array) -> int:
    """How many values from the first one on have equal distances, so that all that follows falls
    into such runs of the same distance; 1 where there is no such number."""
    distances = np.diff(values)
    breaks = np.flatnonzero(distances != distances[0])
    longest = int(breaks[0]) + 1 if breaks.size else values.size
    for size in range(longest, 1, -1):
        if values.size % size == 0:
            rows = values.reshape(-1, size)
            if (np.diff(rows, axis=1) == distances[0]).all():
                return size
    return 1


def row_order(view: View, row_size: int) -> Array:
    """For a value seen as rows of `row_size`: the position of each element inside its row, equal
    for all rows. Raises ArrangementError when rows are mixed up."""
    rows = view.index.reshape(-1, row_size)
    order = rows - (np.arange(rows.shape[0]) * row_size)[:, None]
    if not (order == order[0]).all() or order[0].min() != 0 or order[0].max() != row_size - 1:
        raise ArrangementError(view)
    return np.asarray(order[0])
