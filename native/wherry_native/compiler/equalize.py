"""Cross-layer equalization: channels of one activation are brought to one range before they get
one scale.

Rules, in order:
1. A pair is a layer A and a layer B where B alone reads A's output, directly or through operators
   that treat each channel alike (pools, RESHAPE that keeps the channels, padding with 0), and what
   A's output passes is homogeneous: no clamp, or a ReLU.
2. Channel i of A's output is divided by s_i and B's weights for it are multiplied by s_i, which
   changes nothing in real numbers. s_i = sqrt(a_i / b_i), a_i the largest activation of the channel
   over the samples, b_i the largest weight of B for it, scaled so that the tensor's range stays.
   The engine has one weight scale per output channel, so A's weights lose nothing whatever s_i is.
3. A channel that is dead on either side is left alone.

Source: Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction"
(2019), with observed activations in place of A's weights, as Xiao et al., "SmoothQuant" (2023).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from wherry_native.compiler import ir
from wherry_native.compiler.int8_rules import CHANNEL_AXIS
from wherry_native.compiler.ir import OPEN, RELU, WEIGHTED, Array, Graph, Node, unique_name
from wherry_native.compiler.reference import Floats, run_float
from wherry_native.program import Op

_CHANNELWISE: Final = (Op.MAX_POOL_2D, Op.AVERAGE_POOL_2D, Op.RELU, Op.PAD, Op.RESHAPE)


def equalized(graph: Graph, samples: Sequence[Mapping[str, Floats]]) -> Graph:
    """The same float graph with channels of equal range; a note says how many pairs there were."""
    pairs = _pairs(graph)
    peaks = _peaks(graph, [first.output for first, _ in pairs], samples)
    for first, second in pairs:
        graph = _balanced(graph, first.name, second.name, peaks[first.output])
    named = ", ".join(f"{first.name} → {second.name}" for first, second in pairs)
    note = f"equalized {len(pairs)} pairs of layers: {named}" if pairs else "no layers to equalize"
    return replace(graph, notes=(*graph.notes, note))


def _pairs(graph: Graph) -> list[tuple[Node, Node]]:
    found = []
    for node in graph.nodes:
        if node.op in WEIGHTED and _is_homogeneous(node):
            reader = _reader(graph, node)
            if reader is not None and _weights_by_channel(graph, reader, node) is not None:
                found.append((node, reader))
    return found


def _is_homogeneous(node: Node) -> bool:
    return node.clamp in (OPEN, RELU)


def _reader(graph: Graph, node: Node) -> Node | None:
    """The one layer that reads a node's output, channel by channel."""
    channels = graph.tensors[node.output].shape[-1]
    while True:
        readers = graph.consumers(node.output)
        if len(readers) != 1 or node.output in graph.outputs:
            return None
        node = readers[0]
        if node.op in WEIGHTED:
            return node
        if node.op not in _CHANNELWISE or not _is_homogeneous(node) or node.pad_value != 0.0:
            return None
        shape = graph.tensors[node.output].shape
        if node.op is Op.PAD and node.pads[-1] != (0, 0):
            return None
        if node.op is Op.RESHAPE and (not shape or shape[-1] % channels):
            return None


def _weights_by_channel(graph: Graph, node: Node, before: Node) -> Array | None:
    """Weights of `node` as [rest, channels of `before`'s output, rest]; None where groups mix."""
    weights = graph.constant(node.inputs[1])
    channels = graph.tensors[before.output].shape[-1]
    if node.op is Op.FULLY_CONNECTED and weights.shape[1] % channels == 0:
        return weights.reshape(-1, channels, 1)
    if node.op is Op.CONV_2D and weights.shape[3] == channels:
        return weights.reshape(-1, channels, 1)
    is_whole = graph.tensors[node.inputs[0]].shape[-1] == channels
    if node.op is Op.DEPTHWISE_CONV_2D and is_whole:
        return weights.reshape(-1, channels, weights.shape[3] // channels)
    return None


def _peaks(
    graph: Graph, names: Sequence[str], samples: Sequence[Mapping[str, Floats]]
) -> dict[str, Array]:
    """The largest magnitude of each channel."""
    peaks = {name: np.zeros(graph.tensors[name].shape[-1]) for name in names}
    for sample in samples if names else ():
        values = run_float(graph, sample)
        for name in names:
            rows = np.abs(values[name]).reshape(-1, peaks[name].size)
            peaks[name] = np.maximum(peaks[name], rows.max(axis=0))
    return peaks


def _balanced(graph: Graph, first_name: str, second_name: str, peaks: Array) -> Graph:
    by_name = {node.name: node for node in graph.nodes}
    first, second = by_name[first_name], by_name[second_name]
    by_channel = _weights_by_channel(graph, second, first)
    if by_channel is None:
        raise RuntimeError(f"{second_name} has no weights by channel")
    reach = np.abs(by_channel).max(axis=(0, 2))
    alive = (peaks > 0) & (reach > 0)
    if not alive.any():
        return graph
    factors = np.ones(peaks.size)
    factors[alive] = np.sqrt(peaks[alive] / reach[alive])
    factors[alive] *= (peaks[alive] / factors[alive]).max() / peaks.max()
    factors[alive] = np.maximum(factors[alive], 1e-6)
    tensors = dict(graph.tensors)

    def kept(name: str, data: Array) -> str:
        name = unique_name(name, tensors)
        tensors[name] = ir.constant(name, data.astype(np.float32))
        return name

    column = [1] * len(tensors[first.inputs[1]].shape)
    column[CHANNEL_AXIS[first.op]] = -1
    narrowed = [
        kept(f"{first_name}/weights", graph.constant(first.inputs[1]) / factors.reshape(column))
    ]
    narrowed += [kept(f"{first_name}/bias", graph.constant(n) / factors) for n in first.inputs[2:]]
    moved = (by_channel * factors[None, :, None]).reshape(graph.constant(second.inputs[1]).shape)
    widened = kept(f"{second_name}/weights", moved)
    changed = {
        first_name: replace(first, inputs=(first.inputs[0], *narrowed)),
        second_name: replace(second, inputs=(second.inputs[0], widened, *second.inputs[2:])),
    }
    nodes = tuple(changed.get(node.name, node) for node in graph.nodes)
    return ir.pruned(replace(graph, tensors=tensors, nodes=nodes))
