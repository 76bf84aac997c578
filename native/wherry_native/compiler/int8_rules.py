"""What a quantized graph must keep so that the engine computes it exactly.

Rules, in order:
1. Activations are int8 with one scale and one zero point, or int16 with one scale and zero point 0.
2. Weights are constant int8 with zero point 0, with one scale or one per output channel; a bias
   is a constant of int32, or of int64 where the activations are int16.
3. Operators that only move or compare bytes have the same scale and zero point on both sides.
4. SOFTMAX, LOGISTIC and TANH have the output scales that TFLite fixes.

Source: the TFLite 8-bit quantization specification.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from wherry_native.compiler.ir import INDEX_OPERANDS, WEIGHTED, Graph, Node, Quantization, Tensor
from wherry_native.program import Op

ACTIVATIONS: Final = ("int8", "int16")
FIXED_OUTPUTS: Final = {
    Op.SOFTMAX: Quantization((1 / 256,), (-128,)),
    Op.LOGISTIC: Quantization((1 / 256,), (-128,)),
    Op.TANH: Quantization((1 / 128,), (0,)),
}
FIXED_OUTPUT_16: Final = Quantization((1 / 32768,), (0,))
"""Of the same operators, where they give int16."""
SAME_SCALE: Final = (
    Op.AVERAGE_POOL_2D, Op.MAX_POOL_2D, Op.RESHAPE, Op.PAD, Op.CONCATENATION, Op.TRANSPOSE,
    Op.STRIDED_SLICE, Op.GATHER, Op.RESIZE_NEAREST,
)  # fmt: skip
_ONE_VALUE: Final = (*WEIGHTED, *INDEX_OPERANDS, Op.PRELU)
"""Operators of which only the first operand is a value of the output's width."""
WIDTH_CHANGES: Final = (Op.QUANTIZE, Op.RELU, Op.RELU6)
CHANNEL_AXIS: Final = {
    Op.FULLY_CONNECTED: 0, Op.CONV_2D: 0, Op.DEPTHWISE_CONV_2D: 3,
    Op.TRANSPOSE_CONV: 0,
}  # fmt: skip


def without_shell(graph: Graph) -> Graph:
    """The graph without float or uint8 conversions at its inputs and outputs."""
    inputs, outputs, dropped = list(graph.inputs), list(graph.outputs), []
    for node in graph.nodes:
        if node.op is not Op.QUANTIZE or len(node.inputs) != 1:
            continue
        source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
        if not _same_values(source, target):
            continue
        if source.name in inputs and target.dtype in ACTIVATIONS:
            inputs[inputs.index(source.name)] = target.name
        elif target.name in outputs and source.dtype in ACTIVATIONS:
            outputs[outputs.index(target.name)] = source.name
        else:
            continue
        dropped.append(node)
    notes = tuple(
        f"{node.name}: left out, inputs and outputs of the program are integers" for node in dropped
    )
    used = {name for node in graph.nodes if node not in dropped for name in node.inputs}
    used.update(inputs, outputs, (node.output for node in graph.nodes if node not in dropped))
    return replace(
        graph,
        nodes=tuple(node for node in graph.nodes if node not in dropped),
        tensors={name: tensor for name, tensor in graph.tensors.items() if name in used},
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        notes=(*graph.notes, *notes),
    )


def _same_values(source: Tensor, target: Tensor) -> bool:
    """Whether a conversion only renames values: float on one side, or uint8 shifted by 128."""
    dtypes = {source.dtype, target.dtype}
    if "float32" in dtypes and dtypes & set(ACTIVATIONS):
        return True
    if dtypes != {"uint8", "int8"} or not source.quantization or not target.quantization:
        return False
    shift = abs(source.quantization.zero_point - target.quantization.zero_point)
    return source.quantization.scales == target.quantization.scales and shift == 128


def int8_problems(graph: Graph) -> list[str]:
    """One sentence per breach of the rules; empty when the graph can be lowered."""
    problems = []
    others = {name for node in graph.nodes if node.op in WEIGHTED for name in node.inputs[1:]}
    others |= {name for node in graph.nodes for name in index_names(node)}
    for name in dict.fromkeys((*graph.inputs, *(n for node in graph.nodes for n in node.inputs),
                               *graph.outputs)):  # fmt: skip
        if name not in others:
            problems += _activation_problems(graph.tensors[name])
    if problems:
        return problems
    for node in graph.nodes:
        problems += [
            f"node {node.name!r} ({node.op.name}): {p}" for p in _node_problems(graph, node)
        ]
    return problems


def index_names(node: Node) -> tuple[str, ...]:
    """Operands, and the output, that are int32 positions."""
    operands = tuple(
        node.inputs[i] for i in INDEX_OPERANDS.get(node.op, ()) if i < len(node.inputs)
    )
    return (*operands, node.output) if node.op is Op.ARG_MAX else operands


def _activation_problems(tensor: Tensor) -> list[str]:
    if tensor.dtype not in ACTIVATIONS:
        return [
            f"tensor {tensor.name!r} is {tensor.dtype}; only int8 and int16x8 TFLite models can be "
            "compiled"
        ]
    quantization = tensor.quantization
    if quantization is None or len(quantization.scales) != 1:
        return [f"tensor {tensor.name!r} must have exactly one scale and zero point"]
    if tensor.dtype == "int16" and quantization.zero_point != 0:
        return [f"tensor {tensor.name!r} is int16 with zero point {quantization.zero_point}, not 0"]
    if not -128 <= quantization.zero_point <= 127:
        return [f"tensor {tensor.name!r} has zero point {quantization.zero_point}, not in int8"]
    return []


def _node_problems(graph: Graph, node: Node) -> Iterator[str]:
    output = graph.tensors[node.output]
    for name in index_names(node):
        if graph.tensors[name].dtype != "int32":
            yield f"positions {name!r} must be int32, are {graph.tensors[name].dtype}"
    if node.op is Op.ARG_MAX:
        return
    if output.quantization is None or output.dtype not in ACTIVATIONS:
        yield f"output {output.name!r} must be int8 or int16 with a scale"
        return
    if node.op not in WIDTH_CHANGES:
        for name in node.inputs[:1] if node.op in _ONE_VALUE else node.inputs:
            if graph.tensors[name].dtype != output.dtype:
                yield f"operand {name!r} is {graph.tensors[name].dtype}, the output {output.dtype}"
    if node.op in WEIGHTED:
        yield from _weight_problems(graph, node)
    if node.op in SAME_SCALE:
        for name in node.inputs[:1] if node.op in _ONE_VALUE else node.inputs:
            if not _same_quantization(graph.tensors[name], output):
                yield f"operand {name!r} and output {output.name!r} differ in scale or zero point"
    fixed = FIXED_OUTPUTS.get(node.op)
    if fixed and output.dtype == "int16":
        fixed = FIXED_OUTPUT_16
    if fixed and (output.quantization.scales, output.quantization.zero_points) != (
        fixed.scales,
        fixed.zero_points,
    ):
        yield (
            f"output scale {output.quantization.scale} and zero point "
            f"{output.quantization.zero_point} must be {fixed.scale} and {fixed.zero_point}"
        )


def _same_quantization(a: Tensor, b: Tensor) -> bool:
    if a.quantization is None or b.quantization is None:
        return False
    return (a.quantization.scale, a.quantization.zero_point) == (
        b.quantization.scale,
        b.quantization.zero_point,
    )


def _weight_problems(graph: Graph, node: Node) -> Iterator[str]:
    weights = graph.tensors[node.inputs[1]]
    quantization = weights.quantization
    if weights.data is None or weights.dtype != "int8" or quantization is None:
        yield f"weights {weights.name!r} must be an int8 constant with scales, are {weights.dtype}"
        return
    if any(quantization.zero_points):
        yield f"weights {weights.name!r} have a zero point that is not 0"
    if len(quantization.scales) > 1 and quantization.axis != CHANNEL_AXIS[node.op]:
        yield (
            f"weights {weights.name!r} have scales along axis {quantization.axis}, "
            f"must be axis {CHANNEL_AXIS[node.op]}"
        )
    for name in node.inputs[2:]:
        bias = graph.tensors[name]
        is_wide = graph.tensors[node.output].dtype == "int16"
        allowed = ("int64", "int32") if is_wide else ("int32",)
        if bias.data is None or bias.dtype not in allowed:
            yield f"bias {name!r} must be a constant of {' or '.join(allowed)}, is {bias.dtype}"
