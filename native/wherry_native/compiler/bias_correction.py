"""Bias correction: rounding weights shifts the mean of a layer's output; the bias takes it back.

For each layer, the error of its weights (codes times scales, less the float weights) is run on
the float model's own inputs; its mean per output channel over all samples and places is
subtracted from the int32 bias.

Source: Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction"
(2019), equation 17, with means measured on the calibration samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from wherry_native.compiler.int8_rules import CHANNEL_AXIS
from wherry_native.compiler.ir import OPEN, WEIGHTED, Array, Graph, Node
from wherry_native.compiler.reference import Floats, run_float, run_node


def bias_corrected(
    float_graph: Graph, int8_graph: Graph, samples: Sequence[Mapping[str, Floats]]
) -> Graph:
    """The int8 graph with biases that keep each layer's mean output."""
    layers = [node for node in int8_graph.nodes if node.op in WEIGHTED]
    errors = {node.name: _weight_error(float_graph, int8_graph, node) for node in layers}
    sums = {node.name: np.zeros(_channels(int8_graph, node)) for node in layers}
    originals = {node.name: node for node in float_graph.nodes}
    for sample in samples:
        values = run_float(float_graph, sample)
        for node in layers:
            x = values[originals[node.name].inputs[0]]
            bare = replace(originals[node.name], clamp=OPEN)
            shift = run_node(float_graph, bare, [x, errors[node.name]])
            sums[node.name] += shift.reshape(-1, sums[node.name].size).mean(axis=0)
    tensors = dict(int8_graph.tensors)
    for node in layers:
        bias = tensors[node.inputs[2]]
        if bias.data is None or bias.quantization is None:
            raise RuntimeError(f"layer {node.name!r} has no int32 bias")
        steps = sums[node.name] / len(samples) / np.asarray(bias.quantization.scales)
        moved = bias.data.astype(np.int64) - np.round(steps).astype(np.int64)
        limits = np.iinfo(bias.data.dtype)
        data = np.clip(moved, limits.min, limits.max).astype(bias.data.dtype)
        tensors[bias.name] = replace(bias, data=data)
    return replace(int8_graph, tensors=tensors)


def _channels(graph: Graph, node: Node) -> int:
    return graph.tensors[node.inputs[1]].shape[CHANNEL_AXIS[node.op]]


def _weight_error(float_graph: Graph, int8_graph: Graph, node: Node) -> Array:
    original = next(other for other in float_graph.nodes if other.name == node.name)
    weights = int8_graph.tensors[node.inputs[1]]
    if weights.data is None or weights.quantization is None:
        raise RuntimeError(f"layer {node.name!r} has no int8 weights")
    return weights.real_data - float_graph.constant(original.inputs[1])
