"""Float graphs made smaller: what can be merged before quantization is merged.

Rules, in order, each until nothing changes:
1. MUL, ADD or SUB by one constant per channel goes into the weights and bias of the layer before
   (this is how batch normalization disappears).
2. One that finds no such layer becomes a depthwise convolution of size 1, which the next ones then
   fold into; so a normalized input costs one multiply-accumulate per element.
   A RESHAPE that keeps the channels lets them pass, and two RESHAPEs in a row become one.
   In recurrent cells, functions of one activation are joined before that (fold_curves.py).
3. A clamp (RELU, RELU6, Clip) goes into the layer before.
4. Zero padding goes into the convolution after it.

A layer is only changed when nobody else reads its output, and when the file does not prescribe how
its output is quantized (ONNX QDQ): what is rounded there stays rounded there.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from wherry_native.compiler import ir
from wherry_native.compiler.errors import CompileError
from wherry_native.compiler.fold_curves import join_curves
from wherry_native.compiler.ir import (
    OPEN,
    WEIGHTED,
    Array,
    Graph,
    Node,
    Tensor,
    Window,
    pruned,
    unique_name,
)
from wherry_native.program import Op

_AFFINE: Final = (Op.MUL, Op.ADD, Op.SUB)
_CLAMPED: Final = (*WEIGHTED, *_AFFINE, Op.AVERAGE_POOL_2D, Op.MAX_POOL_2D)


def folded(graph: Graph) -> Graph:
    """The smaller graph; its outputs are the same but for float rounding. Raises CompileError when
    merged weights overflow."""
    try:
        with np.errstate(over="raise", invalid="raise"):
            for rules in _RULES:
                while (changed := _first_change(graph, rules)) is not None:
                    graph = changed
    except FloatingPointError as error:
        raise CompileError(f"{graph.name}: weights leave the range of float32: {error}") from error
    return pruned(graph)


class _Links:
    """Who writes and who reads each tensor; built once per change, so that a change costs one
    walk over the graph."""

    def __init__(self, graph: Graph) -> None:
        self.tensors = graph.tensors
        self.producers = {node.output: node for node in graph.nodes}
        self.outputs = frozenset(graph.outputs)
        self.readers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in dict.fromkeys(node.inputs):
                self.readers.setdefault(name, []).append(node)

    def only_producer(self, node: Node, tensor: str) -> Node | None:
        """The node that writes `tensor`, if `node` is its only reader and nothing is rounded
        between them."""
        if tensor in self.outputs or self.readers.get(tensor) != [node]:
            return None
        producer = self.producers.get(tensor)
        return None if producer is None or self.is_rounded(producer) else producer

    def is_rounded(self, node: Node) -> bool:
        """Whether the file prescribes a quantization of the output that is not its operand's."""
        prescribed = self.tensors[node.output].quantization
        moves_only = node.op in (Op.PAD, Op.RESHAPE)
        if moves_only and prescribed == self.tensors[node.inputs[0]].quantization:
            return False
        return prescribed is not None


Rule = Callable[[Graph, _Links], Graph | None]
"""The graph after one change, or None where there is nothing to change."""


def _first_change(graph: Graph, rules: tuple[Rule, ...]) -> Graph | None:
    links = _Links(graph)
    return next((changed for rule in rules if (changed := rule(graph, links)) is not None), None)


def _merged(graph: Graph, first: Node, second: Node, merged: Node) -> Graph:
    """`merged` in place of both: it writes what `second` wrote."""
    nodes = tuple(merged if node is first else node for node in graph.nodes if node is not second)
    return replace(graph, nodes=nodes)


def _factor_and_offset(graph: Graph, node: Node) -> tuple[str, Array, Array] | None:
    """The computed operand x, and a, b with output = a * x + b per channel."""
    if node.op not in _AFFINE or node.clamp != OPEN:
        return None
    x, other = node.inputs
    if not graph.tensors[other].is_constant:
        return None
    shape, constant = graph.tensors[x].shape, graph.tensors[other].shape
    if not shape or constant not in ((), (1,), shape[-1:]):
        return None
    data = graph.constant(other).astype(np.float64)
    vector = np.broadcast_to(data.reshape(-1), (shape[-1],))
    if node.op is Op.MUL:
        return x, vector, np.zeros(shape[-1])
    return x, np.ones(shape[-1]), vector if node.op is Op.ADD else -vector


def _fold_affine(graph: Graph, links: _Links) -> Graph | None:
    for node in graph.nodes:
        layer = links.only_producer(node, node.inputs[0])
        if layer is None or layer.op not in WEIGHTED or layer.clamp != OPEN:
            continue
        affine = _factor_and_offset(graph, node)
        if affine is not None:
            return _with_weights(graph, layer, node, *affine[1:])
    return None


def _with_weights(graph: Graph, layer: Node, node: Node, factor: Array, offset: Array) -> Graph:
    weights = graph.constant(layer.inputs[1]).astype(np.float64)
    bias = graph.constant(layer.inputs[2]).astype(np.float64) if len(layer.inputs) == 3 else 0.0
    column = (1, 1, 1, -1) if layer.op is Op.DEPTHWISE_CONV_2D else (-1, *(1,) * (weights.ndim - 1))
    tensors = dict(graph.tensors)
    names = [
        _add_constant(tensors, f"{layer.name}/weights", weights * factor.reshape(column)),
        _add_constant(tensors, f"{layer.name}/bias", bias * factor + offset),
    ]
    merged = replace(layer, inputs=(layer.inputs[0], *names), output=node.output)
    return pruned(_merged(replace(graph, tensors=tensors), layer, node, merged))


def _add_constant(tensors: dict[str, Tensor], wanted: str, data: Array) -> str:
    name = unique_name(wanted, tensors)
    tensors[name] = ir.constant(name, data.astype(np.float32))
    return name


def _affine_to_depthwise(graph: Graph, links: _Links) -> Graph | None:
    del links
    for position, node in enumerate(graph.nodes):
        affine = _factor_and_offset(graph, node)
        if affine is None:
            continue
        nodes, tensors = _depthwise(graph, node, *affine)
        before, after = graph.nodes[:position], graph.nodes[position + 1 :]
        return pruned(replace(graph, nodes=(*before, *nodes, *after), tensors=tensors))
    return None


def _depthwise(
    graph: Graph, node: Node, x: str, factor: Array, offset: Array
) -> tuple[list[Node], dict[str, Tensor]]:
    tensors = dict(graph.tensors)
    shape, prescribed = graph.tensors[x].shape, graph.tensors[node.output].quantization
    channels = factor.shape[0]
    image = shape if len(shape) == 4 else (1, 1, math.prod(shape) // channels, channels)
    operands = (
        _add_constant(tensors, f"{node.name}/weights", factor.reshape(1, 1, 1, channels)),
        _add_constant(tensors, f"{node.name}/bias", offset),
    )
    window = Window((1, 1))
    if image == shape:
        layer = Node(Op.DEPTHWISE_CONV_2D, node.name, (x, *operands), node.output, window=window)
        return [layer], tensors
    inner = [unique_name(f"{node.name}/{part}", tensors) for part in ("rows", "scaled")]
    tensors[inner[0]] = Tensor(inner[0], image)
    tensors[inner[1]] = Tensor(inner[1], image, quantization=prescribed)
    return [
        Node(Op.RESHAPE, inner[0], (x,), inner[0]),
        Node(Op.DEPTHWISE_CONV_2D, node.name, (inner[0], *operands), inner[1], window=window),
        Node(Op.RESHAPE, f"{node.name}/shape", (inner[1],), node.output),
    ], tensors


def _fold_clamp(graph: Graph, links: _Links) -> Graph | None:
    for node in graph.nodes:
        if node.op not in (Op.RELU, Op.RELU6):
            continue
        layer = links.only_producer(node, node.inputs[0])
        if layer is None or layer.op not in _CLAMPED:
            continue
        merged = replace(layer, clamp=layer.clamp.within(node.clamp), output=node.output)
        return pruned(_merged(graph, layer, node, merged))
    return None


def _fold_padding(graph: Graph, links: _Links) -> Graph | None:
    for node in graph.nodes:
        if node.op not in (Op.CONV_2D, Op.DEPTHWISE_CONV_2D):
            continue
        pad = links.only_producer(node, node.inputs[0])
        if pad is None or pad.op is not Op.PAD or pad.pad_value != 0.0:
            continue
        if pad.pads[0] != (0, 0) or pad.pads[3] != (0, 0):
            continue
        top, left, bottom, right = node.sliding.pads
        (above, below), (ahead, behind) = pad.pads[1:3]
        pads = (top + above, left + ahead, bottom + below, right + behind)
        window = replace(node.sliding, pads=pads)
        reach = [(k - 1) * d for k, d in zip(window.size, window.dilation, strict=True)] * 2
        if any(amount > most for amount, most in zip(pads, reach, strict=True)):
            continue  # a window would see nothing but padding, which the engine refuses
        merged = replace(node, inputs=(pad.inputs[0], *node.inputs[1:]), window=window)
        nodes = tuple(
            merged if other is node else other for other in graph.nodes if other is not pad
        )
        return pruned(replace(graph, nodes=nodes))
    return None


def _lift_affine(graph: Graph, links: _Links) -> Graph | None:
    """RESHAPE then affine becomes affine then RESHAPE, where the channels stay the same."""
    for node in graph.nodes:
        move = links.only_producer(node, node.inputs[0])
        if move is None or move.op is not Op.RESHAPE:
            continue
        before = graph.tensors[move.inputs[0]].shape
        affine = _factor_and_offset(graph, node)
        if affine is None or before[-1:] != affine[1].shape:
            continue
        prescribed = graph.tensors[node.output].quantization
        lifted = replace(graph.tensors[move.output], shape=before, quantization=prescribed)
        tensors = {**graph.tensors, move.output: lifted}
        swap = {
            move.name: replace(node, inputs=(move.inputs[0], node.inputs[1]), output=move.output),
            node.name: replace(move, inputs=(move.output,), output=node.output),
        }
        nodes = tuple(swap.get(other.name, other) for other in graph.nodes)
        return replace(graph, nodes=nodes, tensors=tensors)
    return None


def _join_reshapes(graph: Graph, links: _Links) -> Graph | None:
    for node in graph.nodes:
        if node.op is not Op.RESHAPE:
            continue
        first = links.producers.get(node.inputs[0])
        if first is not None and first.op is Op.RESHAPE and not links.is_rounded(first):
            joined = replace(node, inputs=first.inputs)
            nodes = tuple(joined if other is node else other for other in graph.nodes)
            return pruned(replace(graph, nodes=nodes))
        if (
            node.output not in graph.outputs
            and graph.tensors[node.output].shape == graph.tensors[node.inputs[0]].shape
            and not links.is_rounded(node)
        ):
            return _bypassed(graph, node)
    return None


def _bypassed(graph: Graph, node: Node) -> Graph:
    """The graph without a node that changes nothing."""
    nodes = tuple(
        replace(
            other,
            inputs=tuple(node.inputs[0] if n == node.output else n for n in other.inputs),
        )
        for other in graph.nodes
        if other is not node
    )
    return pruned(replace(graph, nodes=nodes))


def _join_curves(graph: Graph, links: _Links) -> Graph | None:
    del links
    return join_curves(graph)


_RULES: Final[tuple[tuple[Rule, ...], ...]] = (
    (_lift_affine, _fold_affine, _join_curves, _affine_to_depthwise),
    (_join_reshapes,),
    (_fold_clamp, _fold_padding),
)
