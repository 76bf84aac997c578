"""What quantization of each layer alone costs at the outputs, and which layers deserve 16 bits.

Rules, in order:
1. A layer has two costs, each measured alone while everything else stays float: the noise that its
   8-bit weights make at the outputs, and the noise of rounding: of its activation's codes, as each
   of its readers gets them (an int8 reader of a 16-bit layer gets 8 bits), and of constants that
   are no weights. An input is a layer of its own.
2. A layer's share is its cost over the sum of all costs: noise of different layers adds up in
   power. (An estimate: layers that hide each other's errors are not seen.)
3. In 16 bits weights keep their 8: only the second cost can be taken away, and only where the layer
   and all that read it, through operators that only move, have 16 bits. Such sets are proposed, the
   costliest activation first, until what is left is SQNR_ENOUGH_DB below the signal or nearly all
   noise of weights, for at most half of the activations.

Over at most SAMPLES_MAX samples, evenly spaced; fewer where there are many layers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from wherry_native.compiler.ir import WEIGHTED, Array, Graph, Node, Tensor
from wherry_native.compiler.reference import Floats, run_float, run_node
from wherry_native.compiler.requantize import level_range
from wherry_native.program import Op

SAMPLES_MAX: Final = 16
NODE_RUNS_MAX: Final = 20_000
"""A layer's cost runs all layers behind it: long graphs are measured on fewer samples."""
SQNR_ENOUGH_DB: Final = 30.0
FLOOR_PART: Final = 0.1
"""Less noise of rounding than this part of the weights' is not worth 16 bits: 0.4 dB."""

_ONLY_MOVE: Final = (
    Op.MAX_POOL_2D, Op.RESHAPE, Op.PAD, Op.CONCATENATION, Op.TRANSPOSE, Op.STRIDED_SLICE,
    Op.GATHER, Op.RESIZE_NEAREST,
)  # fmt: skip
"""These round nothing: their operands' codes are their own."""

_KEEPS_8_BITS: Final = (*WEIGHTED, Op.PRELU)
"""Their constants have 8 bits in wide layers, too."""

Given = Callable[[Node, int], Array | None]
"""What a node gets as its operand at a position in place of the exact value; None where exact."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Noise power at the outputs over their signal power."""

    weights: float
    rounding: float

    @property
    def total(self) -> float:
        return self.weights + self.rounding


Costs = dict[str, Cost]
"""By input or node."""


def costs(float_graph: Graph, int8_graph: Graph, samples: Sequence[Mapping[str, Floats]]) -> Costs:
    """The cost of every input and layer. Both graphs have the same activations by name."""
    measuring = _Measuring(float_graph, int8_graph)
    node_count = len(float_graph.nodes)
    count = max(1, min(SAMPLES_MAX, NODE_RUNS_MAX // node_count**2))
    for sample in samples[:: max(len(samples) // count, 1)][:count]:
        measuring.add(sample)
    return measuring.costs()


class _Measuring:
    """Sums over samples."""

    def __init__(self, float_graph: Graph, int8_graph: Graph) -> None:
        self.graph = float_graph
        self.quantized = int8_graph
        self.readers = {node.name: node for node in int8_graph.nodes}
        self.constants = {
            name: tensor.real_data
            for name, tensor in float_graph.tensors.items()
            if tensor.is_constant
        }
        self.lossy = {node.name: _rounded_constants(int8_graph, node) for node in int8_graph.nodes}
        self.outputs = value_outputs(float_graph)
        names = (*float_graph.inputs, *(node.name for node in float_graph.nodes))
        self.weights = dict.fromkeys(names, 0.0)
        self.rounding = dict.fromkeys(names, 0.0)
        self.signal = 0.0

    def costs(self) -> Costs:
        power = self.signal or math.inf
        return {
            name: Cost(self.weights[name] / power, self.rounding[name] / power)
            for name in self.rounding
        }

    def add(self, sample: Mapping[str, Floats]) -> None:
        exact = self.constants | run_float(self.graph, sample)
        self.signal += sum(float(np.square(exact[name]).sum()) for name in self.outputs)
        for name in self.graph.inputs:
            self.rounding[name] += self._rounding(exact, name, is_moved=False)
        for node in self.graph.nodes:
            is_moved = node.op in _ONLY_MOVE
            self.rounding[node.name] += self._rounding(exact, node.output, is_moved=is_moved)
            kind = self.weights if node.op in _KEEPS_8_BITS else self.rounding
            kind[node.name] += self._constants(exact, node)

    def _constants(self, exact: Mapping[str, Array], node: Node) -> float:
        """Noise of what an int8 node makes of its constants."""
        rounded = self.lossy[node.name]
        if not rounded or node.op in _ONLY_MOVE:
            return 0.0
        given = [rounded.get(i, exact[name]) for i, name in enumerate(node.inputs)]
        return self._noise(exact, {node.output: run_node(self.graph, node, given)})

    def _rounding(self, exact: Mapping[str, Array], name: str, *, is_moved: bool) -> float:
        """Noise of a tensor's codes, where each reader has them."""
        own = self.quantized.tensors[name]
        value = exact[name] if is_moved else _rounded(own, exact[name])

        def given(reader: Node, position: int) -> Array | None:
            if reader.inputs[position] != name:
                return None
            found = self.readers[reader.name].inputs[position]
            return value if found == name else _rounded(self.quantized.tensors[found], value)

        return self._noise(exact, {name: value} if name in self.outputs else {}, given)

    def _noise(
        self,
        exact: Mapping[str, Array],
        changed: dict[str, Array],
        given: Given | None = None,
    ) -> float:
        """Noise power at the outputs when some tensors, or what some readers get, are changed."""
        for node in self.graph.nodes:
            others = [given(node, i) if given else None for i in range(len(node.inputs))]
            pairs = list(zip(node.inputs, others, strict=True))
            if all(other is None and name not in changed for name, other in pairs):
                continue
            changed[node.output] = run_node(self.graph, node, [
                changed.get(name, exact[name]) if other is None else other for name, other in pairs
            ])  # fmt: skip
        return sum(
            float(np.square(changed[output] - exact[output]).sum())
            for output in self.outputs
            if output in changed
        )


def value_outputs(graph: Graph) -> tuple[str, ...]:
    """The outputs without positions (ARG_MAX), which have no scale and no noise."""
    positions = {node.output for node in graph.nodes if node.op is Op.ARG_MAX}
    return tuple(name for name in graph.outputs if name not in positions)


def _rounded_constants(graph: Graph, node: Node) -> dict[int, Array]:
    """What an int8 node's constant operands mean, by position."""
    tensors = enumerate(graph.tensors[name] for name in node.inputs)
    return {i: tensor.real_data for i, tensor in tensors if tensor.is_constant}


def _rounded(tensor: Tensor, values: Array) -> Array:
    """The values that the tensor's codes can say; positions (ARG_MAX) are what they are."""
    if tensor.quantization is None:
        return values
    scale, zero_point = tensor.quantization.scale, tensor.quantization.zero_point
    low, high = level_range(tensor.dtype)
    codes = np.clip(np.round(values / np.float32(scale)) + zero_point, low, high)
    return np.asarray((codes - zero_point) * np.float32(scale), np.float32)


def proposal(graph: Graph, found: Costs, wide: frozenset[str]) -> tuple[str, ...]:
    """The layers (and inputs) to keep in 16 bits beside those of `wide`, costliest first, each with
    what reads it; empty where the costs say that 16 bits do not help. `graph` is the float one."""
    floor = sum(cost.weights for cost in found.values())
    needed = {name: _reached(graph, name) for name in found}
    chosen: list[str] = []
    left = {name: cost.rounding for name, cost in found.items() if needed[name].keys() - wide}
    for count, name in enumerate(sorted(left, key=lambda name: -left[name])):
        rest = sum(left[other] for other in left if needed[other].keys() - wide - {*chosen})
        is_enough = rest + floor <= 10 ** (-SQNR_ENOUGH_DB / 10) or rest <= FLOOR_PART * floor
        if is_enough or 2 * count >= len(found):
            break
        chosen += [other for other in needed[name] if other not in (*wide, *chosen)]
    return tuple(chosen)


def _reached(graph: Graph, name: str) -> dict[str, None]:
    """A layer or input, and what must be wide with it: its readers, through movers."""
    outputs = {node.name: node.output for node in graph.nodes}
    reached: dict[str, None] = {name: None}
    waiting = [outputs.get(name, name)]
    while waiting:
        for reader in graph.consumers(waiting.pop()):
            reached[reader.name] = None
            if reader.op in _ONLY_MOVE:
                waiting.append(reader.output)
    return reached
