"""ONNX values in a channels-last graph, without moving a byte.

Rules, in order:
1. A value of the file is a constant (an array, or codes where the file keeps integers), or a view:
   a tensor of our graph and, for every element of the ONNX value, the position where that tensor
   has it.
2. Transpose, Reshape, Flatten, Squeeze and Unsqueeze only change the view; they cost nothing.
3. An operator that needs an arrangement (a convolution: N, H, W, C) gets the tensor itself when
   the view is already so, or a RESHAPE of it; anything else would need bytes to move, which the
   engine does not do, and is refused by name.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from wherry_native.compiler import ir
from wherry_native.compiler.ir import Array, Node, Quantization, Shape, Tensor
from wherry_native.compiler.shapes import ShapeError, output_shape
from wherry_native.program import Op

Axes = tuple[int, ...]

ELEMENTS_MAX: Final = 1 << 23
"""Of one value: every element's position is written down while a file is read."""


class UnsupportedError(ValueError):
    """One node that cannot be imported: a sentence without the node's name."""


class ArrangementError(UnsupportedError):
    """A node that would need its operand's bytes moved."""


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
    """The graph while it is read."""

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

    def add_node(self, op: Op, name: str, inputs: Sequence[str], **fields: Any) -> str:
        """A node and its output, which has the node's name, made unique. Raises UnsupportedError
        when the operands do not fit."""
        declared = fields.pop("shape", ())
        name = ir.unique_name(name, self.tensors)
        node = Node(op, name, tuple(inputs), name, **fields)
        try:
            shape = output_shape(node, [self.tensors[i].shape for i in inputs], declared)
        except ShapeError as error:
            raise UnsupportedError(str(error)) from error
        if math.prod(shape) > ELEMENTS_MAX:
            raise UnsupportedError(f"output {list(shape)} exceeds {ELEMENTS_MAX} elements")
        self.tensors[name] = Tensor(name, shape)
        self.nodes.append(node)
        return name

    def prescribe(self, tensor: str, quantization: Quantization) -> None:
        """Notes which scale and zero point the file has for a tensor."""
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
        if not is_arranged(view, axes):
            raise ArrangementError(
                f"operand {view.tensor!r} of shape {list(view.shape)} would have to be transposed"
            )
        return self.reshaped(view.tensor, tuple(view.shape[axis] for axis in axes))


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


def common_axes(views: Iterable[View]) -> Axes:
    """An arrangement that all views (of one rank) have. Raises ArrangementError."""
    views = list(views)
    rank = max(len(view.shape) for view in views)
    for axes in (channels_last(rank), tuple(range(rank))):
        if all(len(view.shape) == rank and is_arranged(view, axes) for view in views):
            return axes
    names = ", ".join(repr(view.tensor) for view in views)
    raise ArrangementError(f"operands {names} have no common arrangement in memory")


def row_order(view: View, row_size: int) -> Array:
    """For a value seen as rows of `row_size`: the position of each element inside its row, equal
    for all rows. Raises ArrangementError when rows are mixed up."""
    rows = view.index.reshape(-1, row_size)
    order = rows - (np.arange(rows.shape[0]) * row_size)[:, None]
    if not (order == order[0]).all() or order[0].min() != 0 or order[0].max() != row_size - 1:
        raise ArrangementError(
            f"operand {view.tensor!r} of shape {list(view.shape)} would have to be transposed"
        )
    return np.asarray(order[0])
