"""The compiler's graph: named tensors and nodes, the same for float and for int8.

Rules, in order:
1. Every tensor has a static shape; activations are channels-last (N, H, W, C or N, C).
2. A tensor with `data` is a constant; the others are written by exactly one node or are inputs.
3. Nodes stand in an order in which they can run.
4. In a float graph a tensor has a quantization only where the file prescribes one (ONNX QDQ); in a
   graph of integers every activation is int8 with one scale and one zero point, or int16 with one
   scale and zero point 0; weights are int8 with zero point 0, biases are int32, or int64 behind
   int16; positions (ARG_MAX, indices) are int32 without a scale.
5. Operators are those of the engine (`wherry_native.program.Op`).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from wherry_native.program import Op

Array = npt.NDArray[Any]
Curve = tuple[tuple[str, float], ...]
"""A function of one activation: steps of functions.py one after the other, each with its number."""
Shape = tuple[int, ...]

WEIGHTED: Final = (
    Op.FULLY_CONNECTED, Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.TRANSPOSE_CONV,
)  # fmt: skip
"""Operators whose operands are x, weights, bias (bias may be absent)."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """real = scale * (q - zero_point). One scale per tensor, or one per slice along `axis`.
    Scales are exact float32 values."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int = 0

    @property
    def scale(self) -> float:
        return self.scales[0]

    @property
    def zero_point(self) -> int:
        return self.zero_points[0]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value in the graph; a constant when `data` is there."""

    name: str
    shape: Shape
    dtype: str = "float32"
    quantization: Quantization | None = None
    data: Array | None = field(default=None, repr=False, compare=False)

    @property
    def is_constant(self) -> bool:
        return self.data is not None

    @property
    def real_data(self) -> Array:
        """A constant in real units, float32. Raises RuntimeError when the tensor is none."""
        if self.data is None:
            raise RuntimeError(f"tensor {self.name!r} is no constant")
        if self.quantization is None:
            return self.data.astype(np.float32)
        column = [1] * self.data.ndim
        if len(self.quantization.scales) > 1:
            column[self.quantization.axis] = -1
        scales = np.asarray(self.quantization.scales).reshape(column or [1])
        zeros = np.asarray(self.quantization.zero_points).reshape(column or [1])
        real = (self.data.astype(np.float64) - zeros) * scales
        return np.asarray(real.astype(np.float32).reshape(self.data.shape))

    @property
    def real_range(self) -> tuple[float, float]:
        """The least and the largest value that an activation of a float graph can hold: those of
        the int8 codes that the file prescribes, or no bounds where it prescribes none."""
        if self.quantization is None:
            return -math.inf, math.inf
        scale, zero_point = self.quantization.scale, self.quantization.zero_point
        return (-128 - zero_point) * scale, (127 - zero_point) * scale

    @property
    def element_count(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Clamp:
    """Fused activation: the output is limited to [low, high] in real units."""

    low: float = -math.inf
    high: float = math.inf

    @property
    def is_open(self) -> bool:
        return self.low == -math.inf and self.high == math.inf

    def within(self, other: "Clamp") -> "Clamp":
        """This clamp, then the other one."""
        low = min(max(self.low, other.low), other.high)
        high = min(max(self.high, other.low), other.high)
        return Clamp(low, high)


OPEN: Final = Clamp()
RELU: Final = Clamp(0.0, math.inf)
RELU6: Final = Clamp(0.0, 6.0)


@dataclass(frozen=True, slots=True)
class Window:
    """How a convolution or pool slides: (height, width) pairs; pads are top, left, bottom, right.
    `size` is the filter's; for convolutions it equals that of the weights."""

    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Node:
    """One operator. Of the fields below `output`, only those of its operator have a meaning."""

    op: Op
    name: str
    inputs: tuple[str, ...]
    output: str
    clamp: Clamp = OPEN
    window: Window | None = None
    axes: tuple[int, ...] = ()
    """MEAN: reduced axes; CONCATENATION, GATHER, ARG_MAX: the one axis; TRANSPOSE: which axis of
    the operand each axis of the output is. Never negative."""
    pads: tuple[tuple[int, int], ...] = ()  # PAD: (before, after) per axis
    pad_value: float = 0.0  # PAD: in real units
    beta: float = 1.0  # SOFTMAX
    alpha: float = 0.0  # LEAKY_RELU: the slope below 0
    slices: tuple[tuple[int, int, int], ...] = ()  # STRIDED_SLICE: begin, extent, step per axis
    curve: Curve = ()  # LOOKUP

    @property
    def sliding(self) -> Window:
        if self.window is None:
            raise RuntimeError(f"node {self.name!r} ({self.op.name}) has no window")
        return self.window


@dataclass(frozen=True, slots=True)
class Graph:
    """A model. `states` has, per input that is the model's memory, the tensor that it becomes after
    an inference; these inputs are not fed. `notes` are sentences for the person who compiles it.
    `source_axes` has, per input that was rearranged, the file's axes in the program's order:
    (0, 2, 3, 1) for N, C, H, W."""

    name: str
    tensors: Mapping[str, Tensor]
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    notes: tuple[str, ...] = ()
    source_axes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)

    @property
    def fed(self) -> tuple[str, ...]:
        """The inputs that somebody gives."""
        return tuple(name for name in self.inputs if name not in self.states)

    @property
    def answers(self) -> tuple[str, ...]:
        """The outputs that somebody reads: a state only where there is nothing else."""
        afterwards = set(self.states.values())
        return tuple(name for name in self.outputs if name not in afterwards) or self.outputs

    def consumers(self, tensor: str) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if tensor in node.inputs)

    def producer(self, tensor: str) -> Node | None:
        return next((node for node in self.nodes if node.output == tensor), None)

    def constant(self, tensor: str) -> Array:
        """The data of a constant. Raises RuntimeError when the tensor is none."""
        data = self.tensors[tensor].data
        if data is None:
            raise RuntimeError(f"tensor {tensor!r} is no constant")
        return data


INDEX_OPERANDS: Final = {Op.GATHER: (1,), Op.RESIZE_NEAREST: (1, 2)}
"""Operands that are int32 positions, not values."""


def pruned(graph: Graph) -> Graph:
    """The graph without nodes and tensors that no output needs; inputs stay."""
    needed = set(graph.outputs)
    nodes: list[Node] = []
    for node in reversed(graph.nodes):
        if node.output in needed:
            nodes.append(node)
            needed.update(node.inputs)
    needed.update(graph.inputs)
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name in needed}
    return replace(graph, nodes=tuple(reversed(nodes)), tensors=tensors)


def unique_name(wanted: str, taken: Iterable[str]) -> str:
    """`wanted`, or `wanted.2`, `wanted.3` … where it is taken."""
    names = set(taken)
    if wanted not in names:
        return wanted
    count = 2
    while f"{wanted}.{count}" in names:
        count += 1
    return f"{wanted}.{count}"


def constant(name: str, data: Array, quantization: Quantization | None = None) -> Tensor:
    """A constant tensor with the shape and dtype of its data."""
    return Tensor(
        name, tuple(data.shape), str(data.dtype), quantization, np.ascontiguousarray(data)
    )
