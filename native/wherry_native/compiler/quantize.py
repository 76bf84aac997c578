"""Quantization: a float graph and the ranges of its activations give a graph of integers.

Rules, in order:
1. What the file prescribes (ONNX QDQ) holds; everything else follows from the ranges.
2. Activations are int8 with one scale and zero point; 0 is exact.
3. Weights are int8 in [-127, 127], symmetric, one scale per output channel; biases are int32 with
   scale input scale * weight scale. A weight scale is widened where the bias would not fit.
4. Pools, RESHAPE and PAD keep their operand's scale, which a QUANTIZE before a PAD widens where
   its padding lies outside; SOFTMAX, LOGISTIC and TANH have the output
   scales that TFLite fixes; operands of CONCATENATION are brought to the output's scale, by the
   layer that makes them where that layer serves nobody else, otherwise by a QUANTIZE. So is an
   output for which the file prescribes another scale than its operator gives.
5. A node that is asked to be wide has int16 activations with zero point 0 on both sides, int8
   weights and int64 biases; a QUANTIZE stands where the width changes. A state and what it becomes
   have one scale.

Source: the TFLite 8-bit quantization specification; Jacob et al., "Quantization and Training of
Neural Networks for Efficient Integer-Arithmetic-Only Inference" (2018).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from wherry_native.compiler import ir
from wherry_native.compiler.errors import CompileError
from wherry_native.compiler.int8_rules import CHANNEL_AXIS, FIXED_OUTPUT_16, FIXED_OUTPUTS
from wherry_native.compiler.ir import (
    INDEX_OPERANDS,
    WEIGHTED,
    Array,
    Graph,
    Node,
    Quantization,
    Tensor,
    unique_name,
)
from wherry_native.compiler.ranges import Range
from wherry_native.compiler.requantize import level_range
from wherry_native.program import Op

TABLE_HEADROOM: Final = 1.04
"""Of a LOOKUP's output: a table is cut off at the ends of its type, and the line between the last
value inside and the first one cut off is no line of the function."""
BIAS_MAX: Final = 2**30
BIAS_MAX_64: Final = 2**40
"""Of layers behind 16-bit activations."""
WEIGHT_SCALE_MIN: Final = 1e-12
_KEEPS_SCALE: Final = (
    Op.AVERAGE_POOL_2D, Op.MAX_POOL_2D, Op.RESHAPE, Op.PAD, Op.TRANSPOSE, Op.STRIDED_SLICE,
    Op.GATHER, Op.RESIZE_NEAREST,
)  # fmt: skip
_RESCALES: Final = (
    *WEIGHTED, Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.MEAN, Op.RELU, Op.RELU6, Op.QUANTIZE, Op.LOOKUP,
    Op.PRELU,
)  # fmt: skip
"""Operators that can write any scale."""


EVERYTHING: Final = "all"
"""Among the layers to keep in 16 bits: the whole model."""


def quantized(
    graph: Graph, ranges: Mapping[str, Range], wide: frozenset[str] = frozenset()
) -> Graph:
    """The quantized graph. `ranges` has every activation for which the file prescribes nothing;
    `wide` names the nodes and inputs of 16 bits. Raises CompileError when some are missing."""
    known = {*graph.inputs, *(node.name for node in graph.nodes)}
    if unknown := wide - known - {EVERYTHING}:
        raise CompileError(
            f"{graph.name} has no layer {', '.join(map(repr, sorted(unknown)))} to keep in 16 "
            "bits; the report names its layers"
        )
    return _Quantizer(graph, ranges, frozenset(known) if EVERYTHING in wide else wide).graph()


def is_prescribed(graph: Graph) -> bool:
    """Whether the file says how its activations are quantized (ONNX QDQ)."""
    return any(t.quantization and not t.is_constant for t in graph.tensors.values())


class _Quantizer:
    """Walks the float graph once, in order, and writes the int8 graph."""

    def __init__(self, graph: Graph, ranges: Mapping[str, Range], wide: frozenset[str]) -> None:
        self.source = graph
        self.ranges = ranges
        self.chosen = _chosen(graph, ranges, wide)
        self.wide = wide
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.notes: list[str] = []

    def graph(self) -> Graph:
        kept: dict[str, str] = {}
        for name in self.source.inputs:
            self._add_activation(name, self.chosen[name], self._dtype(name))
        for node in self.source.nodes:
            self._add_node(node)
        for state, after in self.source.states.items():
            kept[state] = self._brought_to(
                after, self._activation(state), self.tensors[state].dtype
            )
        return replace(
            self.source,
            tensors=self.tensors,
            nodes=tuple(self.nodes),
            outputs=self.source.answers,  # here, where a state still becomes what the file says
            states=kept,
            notes=(*self.source.notes, *self.notes),
        )

    def _dtype(self, name: str) -> str:
        """Of a node's output, by the node's name, or of an input."""
        return "int16" if name in self.wide else "int8"

    def _add_node(self, node: Node) -> None:
        dtype = self._dtype(node.name)
        inputs = self._operands(node, dtype)
        if node.op is Op.ARG_MAX:
            self.tensors[node.output] = self.source.tensors[node.output]
            self.nodes.append(replace(node, inputs=inputs))
            return
        if node.op is Op.PAD:
            inputs = (self._with_room_for_padding(node, inputs[0], dtype),)
        natural = self._natural_output(node, inputs, dtype)
        if node.op is Op.CONCATENATION:
            inputs = tuple(self._brought_to(name, natural, dtype) for name in inputs)
        wanted = self.chosen.get(node.output, natural)
        output = node.output
        if natural != wanted:
            output = unique_name(f"{node.output}/unscaled", (*self.tensors, *self.source.tensors))
            self.tensors[output] = replace(
                self.source.tensors[node.output], name=output, dtype=dtype, quantization=natural
            )
        self.nodes.append(replace(node, inputs=inputs, output=output))
        self._add_activation(node.output, wanted, dtype)
        if natural != wanted:
            name = f"{node.name}/rescaled"
            self.nodes.append(Node(Op.QUANTIZE, name, (output,), node.output))

    def _operands(self, node: Node, dtype: str) -> tuple[str, ...]:
        """A node's operands as integers; slopes have 8 bits with either width, positions 32."""
        if node.op in WEIGHTED:
            x = self._operand(node.inputs[0], dtype)
            return (x, *self._weights(node, x))
        inputs = []
        for position, name in enumerate(node.inputs):
            if position in INDEX_OPERANDS.get(node.op, ()):
                self.tensors[name] = self.source.tensors[name]
                inputs.append(name)
            else:
                is_slope = node.op is Op.PRELU and position == 1
                inputs.append(self._operand(name, "int8" if is_slope else dtype))
        return tuple(inputs)

    def _with_room_for_padding(self, node: Node, x: str, dtype: str) -> str:
        """The operand of a PAD in a scale that has the padding, too. Behind a MAX_POOL padding
        below all values is as good at the lowest step."""
        had = self._activation(x)
        low, high = ((level - had.zero_point) * had.scale for level in level_range(dtype))
        is_below = node.pad_value < low
        readers = self.source.consumers(node.output)
        if low - had.scale / 2 <= node.pad_value <= high + had.scale / 2 or (
            is_below and readers and all(reader.op is Op.MAX_POOL_2D for reader in readers)
        ):
            return x
        widened = Range(low, high).widened(np.asarray(node.pad_value)).quantization(dtype)
        return self._brought_to(x, self.chosen.get(node.output, widened), dtype)

    def _natural_output(self, node: Node, inputs: tuple[str, ...], dtype: str) -> Quantization:
        """What the operator gives by itself; for most it is whatever is wanted."""
        if node.op in FIXED_OUTPUTS:
            return FIXED_OUTPUT_16 if dtype == "int16" else FIXED_OUTPUTS[node.op]
        if node.op in _KEEPS_SCALE:
            return self._activation(inputs[0])
        return self.chosen[node.output]

    def _activation(self, name: str) -> Quantization:
        quantization = self.tensors[name].quantization
        if quantization is None:
            raise RuntimeError(f"tensor {name!r} is not quantized yet")
        return quantization

    def _add_activation(self, name: str, quantization: Quantization, dtype: str) -> None:
        self.tensors[name] = replace(
            self.source.tensors[name], dtype=dtype, quantization=quantization
        )

    def _operand(self, name: str, dtype: str) -> str:
        """An operand in the width of its node; a constant one becomes integers here."""
        data = self.source.tensors[name].data
        if data is not None:
            return self._constant_operand(name, data, dtype)
        if self.tensors[name].dtype == dtype:
            return name
        converted = f"{name}/{dtype}"
        if converted not in self.tensors:
            wanted = self.ranges[name].quantization(dtype)
            self._add_conversion(name, converted, wanted, dtype)
        return converted

    def _constant_operand(self, name: str, data: Array, dtype: str) -> str:
        called = name if dtype == "int8" else f"{name}/{dtype}"
        if called not in self.tensors:
            prescribed = self.source.tensors[name].quantization
            quantization = prescribed or Range().widened(data).quantization(dtype)
            steps = np.round(data.astype(np.float64) / quantization.scale)
            low, high = level_range(dtype)
            codes = np.clip(steps + quantization.zero_point, low, high).astype(dtype)
            self.tensors[called] = ir.constant(called, codes, quantization)
        return called

    def _brought_to(self, name: str, wanted: Quantization, dtype: str) -> str:
        if self._activation(name) == wanted and self.tensors[name].dtype == dtype:
            return name
        rescaled = unique_name(f"{name}/rescaled", (*self.tensors, *self.source.tensors))
        self._add_conversion(name, rescaled, wanted, dtype)
        return rescaled

    def _add_conversion(self, name: str, called: str, wanted: Quantization, dtype: str) -> None:
        self.tensors[called] = replace(
            self.tensors[name], name=called, quantization=wanted, dtype=dtype, data=None
        )
        self.nodes.append(Node(Op.QUANTIZE, called, (name,), called))

    def _weights(self, node: Node, x: str) -> tuple[str, ...]:
        """Names of the int8 weights and of the bias of a layer: int32, int64 behind int16."""
        weights = self.source.constant(node.inputs[1]).astype(np.float64)
        axis = CHANNEL_AXIS[node.op]
        channels = weights.shape[axis]
        bias = np.zeros(channels)
        if len(node.inputs) == 3:
            bias = self.source.constant(node.inputs[2]).astype(np.float64)
        if not np.isfinite(weights).all() or not np.isfinite(bias).all():
            raise CompileError(f"node {node.name!r} has weights that are not finite")
        input_scale = self._activation(x).scale
        bias_type = np.int64 if self.tensors[x].dtype == "int16" else np.int32
        scales = self._prescribed_scales(node, weights, bias, input_scale)
        if scales is None:
            bias_max = BIAS_MAX if bias_type is np.int32 else BIAS_MAX_64
            scales = weight_scales(weights, bias, input_scale, axis, bias_max)
        column = [1] * weights.ndim
        column[axis] = channels
        codes = np.clip(np.round(weights / scales.reshape(column)), -128, 127).astype(np.int8)
        steps = np.round(bias / (input_scale * scales)).astype(np.int64).astype(bias_type)
        return (
            self._add_constant(f"{node.name}/weights", codes, scales, axis),
            self._add_constant(f"{node.name}/bias", steps, input_scale * scales, 0),
        )

    def _prescribed_scales(
        self, node: Node, weights: Array, bias: Array, input_scale: float
    ) -> Array | None:
        """The file's weight scales, one per channel, where the engine can keep them."""
        prescribed = self.source.tensors[node.inputs[1]].quantization
        if prescribed is None:
            return None
        axis = CHANNEL_AXIS[node.op]
        is_symmetric = not any(prescribed.zero_points)
        if is_symmetric and (len(prescribed.scales) == 1 or prescribed.axis == axis):
            scales = np.broadcast_to(np.asarray(prescribed.scales), (weights.shape[axis],))
            if (np.abs(bias) < input_scale * scales * 2**31).all():
                return scales
        self.notes.append(
            f"weights of {node.name!r} are quantized anew, symmetric with one scale per output "
            "channel: the file gives them a zero point, scales of another axis, or a bias that "
            "does not fit in int32"
        )
        return None

    def _add_constant(self, wanted: str, data: Array, scales: Array, axis: int) -> str:
        name = unique_name(wanted, self.tensors)
        exact = tuple(float(np.float32(scale)) for scale in scales)
        self.tensors[name] = ir.constant(name, data, Quantization(exact, (0,) * len(exact), axis))
        return name


def weight_scales(
    weights: Array, bias: Array, input_scale: float, axis: int, bias_max: int = BIAS_MAX
) -> Array:
    """One float32 scale per channel: the largest weight becomes 127, and the bias fits."""
    others = tuple(i for i in range(weights.ndim) if i != axis)
    largest = np.abs(weights).max(axis=others, initial=0.0)
    needed = np.maximum(largest / 127, np.abs(bias) / (input_scale * bias_max))
    needed = np.where(needed > 0, needed, 1.0)  # a dead channel: any scale says 0
    return np.maximum(needed, WEIGHT_SCALE_MIN).astype(np.float32).astype(np.float64)


def _chosen(
    graph: Graph, ranges: Mapping[str, Range], wide: frozenset[str]
) -> dict[str, Quantization]:
    """The quantization of every activation that is not given by its operator alone: what the file
    prescribes, else from the ranges. Raises CompileError with every tensor that has neither."""
    chosen = _prescribed(graph)
    free = [name for name in _freely_scaled(graph) if name not in chosen]
    missing = [name for name in free if name not in ranges]
    if missing:
        raise CompileError(
            [
                f"tensor {name!r} has no QuantizeLinear behind it: give calibration samples, or "
                "quantize the model whole"
                for name in missing
            ]
        )
    joined = _with_joined(graph, {name: ranges[name] for name in free})
    for state, after in graph.states.items():
        both = ranges[state].joined(ranges[after])
        joined.update(dict.fromkeys({state, after} & joined.keys(), both))
    for node in graph.nodes:
        if node.op is Op.LOOKUP and node.output in joined:
            joined[node.output] = joined[node.output].stretched(TABLE_HEADROOM)
    writers = {node.output: node.name for node in graph.nodes}
    dtypes = {name: "int16" if writers.get(name, name) in wide else "int8" for name in free}
    return {**{name: joined[name].quantization(dtypes[name]) for name in free}, **chosen}


def _freely_scaled(graph: Graph) -> list[str]:
    bound = (*FIXED_OUTPUTS, *_KEEPS_SCALE, Op.ARG_MAX)
    return [*graph.inputs, *(node.output for node in graph.nodes if node.op not in bound)]


def _prescribed(graph: Graph) -> dict[str, Quantization]:
    """What the file says, carried backwards through operators that keep their operand's scale."""
    found = {
        name: tensor.quantization
        for name, tensor in graph.tensors.items()
        if tensor.quantization is not None and not tensor.is_constant
    }
    for node in reversed(graph.nodes):
        if node.output not in found or node.op not in (*_KEEPS_SCALE, Op.CONCATENATION):
            continue
        for name in node.inputs:
            if name not in found and graph.consumers(name) == (node,):
                found[name] = found[node.output]
    return found


def _with_joined(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Ranges in which operands of a CONCATENATION that can take its output's range have it."""
    joined = dict(ranges)
    for node in graph.nodes:
        if node.op is not Op.CONCATENATION or node.output not in joined:
            continue
        for name in (name for name in node.inputs if name in joined):
            joined[node.output] = joined[node.output].joined(joined[name])
        for name in node.inputs:
            producer = graph.producer(name)
            if producer is None or producer.op not in _RESCALES or name not in joined:
                continue
            if graph.consumers(name) == (node,) and name not in graph.outputs:
                joined[name] = joined[node.output]
    return joined
