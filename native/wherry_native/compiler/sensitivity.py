"""What quantization of each layer alone costs at the outputs, and which layers deserve 16 bits.

Rules, in order:
1. One layer at a time gets its int8 weights and rounds its output to its int8 codes; everything
   else stays float. The noise that this makes at the outputs is the layer's cost. An input is a
   layer of its own.
2. A layer's share is its cost over the sum of all costs: noise of different layers adds up in
   power. (An estimate: layers that hide each other's errors are not seen.)
3. Where the outputs have less than SQNR_ENOUGH_DB in all, the costliest layers are advised for
   16 bits, until what the others cost is above it, at most half of the layers.

Over at most SAMPLES_MAX samples, evenly spaced; fewer where there are many layers.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from wherry_native.compiler.ir import Array, Graph, Node, Tensor
from wherry_native.compiler.reference import Floats, run_float, run_node
from wherry_native.compiler.report import Advice
from wherry_native.compiler.requantize import level_range
from wherry_native.program import Op

SAMPLES_MAX: Final = 16
NODE_RUNS_MAX: Final = 20_000
"""A layer's cost runs all layers behind it: long graphs are measured on fewer samples."""
SQNR_ENOUGH_DB: Final = 30.0

_ONLY_MOVE: Final = (Op.MAX_POOL_2D, Op.RESHAPE, Op.PAD, Op.CONCATENATION)
"""These round nothing: their operands' codes are their own."""

Costs = dict[str, float]
"""Noise power at the outputs over their signal power, by input or node."""


def costs(float_graph: Graph, int8_graph: Graph, samples: Sequence[Mapping[str, Floats]]) -> Costs:
    """The cost of every input and layer. Both graphs have the same activations by name."""
    constants = _constants(float_graph)
    lossy = {node.name: _rounded_constants(int8_graph, node) for node in int8_graph.nodes}
    noise = dict.fromkeys((*float_graph.inputs, *(n.name for n in float_graph.nodes)), 0.0)
    signal = 0.0
    node_count = len(float_graph.nodes)
    count = max(1, min(SAMPLES_MAX, 2 * NODE_RUNS_MAX // node_count**2))
    for sample in samples[:: max(len(samples) // count, 1)][:count]:
        exact = constants | run_float(float_graph, sample)
        signal += sum(float(np.square(exact[name]).sum()) for name in float_graph.outputs)
        for name in float_graph.inputs:
            rounded = _rounded(int8_graph.tensors[name], exact[name])
            noise[name] += _noise(float_graph, exact, name, rounded, 0)
        for position, node in enumerate(float_graph.nodes):
            if node.op in _ONLY_MOVE:
                continue
            given = [lossy[node.name].get(i, exact[name]) for i, name in enumerate(node.inputs)]
            output = run_node(float_graph, node, given)
            rounded = _rounded(int8_graph.tensors[node.output], output)
            noise[node.name] += _noise(float_graph, exact, node.output, rounded, position + 1)
    return {name: power / signal if signal > 0 else 0.0 for name, power in noise.items()}


def _constants(graph: Graph) -> dict[str, Array]:
    return {name: t.real_data for name, t in graph.tensors.items() if t.is_constant}


def _rounded_constants(graph: Graph, node: Node) -> dict[int, Array]:
    """What an int8 node's constant operands mean, by position."""
    tensors = enumerate(graph.tensors[name] for name in node.inputs)
    return {i: tensor.real_data for i, tensor in tensors if tensor.is_constant}


def _rounded(tensor: Tensor, values: Array) -> Array:
    """The values that the tensor's codes can say."""
    if tensor.quantization is None:
        raise RuntimeError(f"tensor {tensor.name!r} is not quantized")
    scale, zero_point = tensor.quantization.scale, tensor.quantization.zero_point
    low, high = level_range(tensor.dtype)
    codes = np.clip(np.round(values / np.float32(scale)) + zero_point, low, high)
    return np.asarray((codes - zero_point) * np.float32(scale), np.float32)


def _noise(graph: Graph, exact: Mapping[str, Array], name: str, value: Array, first: int) -> float:
    """Noise power at the outputs when one tensor has another value; `first` is the first node that
    may read it."""
    changed = {name: value}
    for node in graph.nodes[first:]:
        if any(operand in changed for operand in node.inputs):
            operands = [changed.get(operand, exact[operand]) for operand in node.inputs]
            changed[node.output] = run_node(graph, node, operands)
    return sum(
        float(np.square(changed[output] - exact[output]).sum())
        for output in graph.outputs
        if output in changed
    )


def advice(found: Costs) -> Advice | None:
    """The layers that 16 bits would help most; None where int8 is good enough."""
    total = sum(found.values())
    if total <= 0 or _decibels(total) >= SQNR_ENOUGH_DB:
        return None
    left = total
    chosen: list[str] = []
    for name, cost in sorted(found.items(), key=lambda item: -item[1]):
        if _decibels(left) >= SQNR_ENOUGH_DB or 2 * len(chosen) >= len(found) or cost <= 0:
            break
        chosen.append(name)
        left -= cost
    return Advice(tuple(chosen), _decibels(total), _decibels(max(left, total * 1e-12)))


def _decibels(noise: float) -> float:
    return -10 * math.log10(noise)
