"""A quantized graph as a program: every scale becomes the integers that the engine computes with.

Rules, in order:
1. The graph keeps shapes.py and int8_rules.py; that is checked first, all breaches at once.
2. Tensors stand in the order inputs, then as nodes write them; a layer's constants (weights, bias,
   multipliers, shifts) follow each other and travel in a piece of their own, `layer0`, `layer1` …
3. Arena offsets are not set here (plan.py does that).
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import numpy as np

from wherry_native.compiler import requantize
from wherry_native.compiler.errors import AXES_ADVICE, CompileError
from wherry_native.compiler.functions import Lookup, int8_table, int16_table
from wherry_native.compiler.int8_rules import ACTIVATIONS, int8_problems
from wherry_native.compiler.ir import WEIGHTED, Array, Graph, Node, Quantization, Tensor
from wherry_native.compiler.shapes import shape_problems
from wherry_native.compiler.tables import (
    logistic_table,
    sigmoid_table_16,
    softmax_tables_16,
    tanh_table,
)
from wherry_native.program import RANK_MAX, DType, Kind, Op, ProgramDescription, Rounding
from wherry_native.program import Node as ProgramNode
from wherry_native.program import Tensor as ProgramTensor

_DTYPES: Final = {
    "int8": DType.INT8,
    "int16": DType.INT16,
    "int32": DType.INT32,
    "int64": DType.INT64,
}
_TABLES: Final = {Op.LOGISTIC: logistic_table, Op.TANH: tanh_table}


def lower(graph: Graph, layers: Rounding = Rounding.D) -> ProgramDescription:
    """The program without arena offsets; int8 layers round by `layers`, D or F. Raises CompileError
    with every problem found."""
    problems = _use_problems(graph) + shape_problems(graph)
    problems = problems or int8_problems(graph)
    if problems:
        raise CompileError(problems)
    return _Lowering(graph, layers).program()


def node_macs(graph: Graph, node: Node) -> int:
    """Multiply-accumulates of one node: convolutions and fully connected layers only."""
    if node.op not in WEIGHTED:
        return 0
    weights = graph.tensors[node.inputs[1]].shape
    outputs = graph.tensors[node.output].element_count
    if node.op is Op.TRANSPOSE_CONV:
        pixels = graph.tensors[node.inputs[0]].element_count // weights[3]
        return pixels * math.prod(weights)
    per_output = (
        weights[1] * weights[2] if node.op is Op.DEPTHWISE_CONV_2D else (math.prod(weights[1:]))
    )
    return outputs * per_output


def _use_problems(graph: Graph) -> list[str]:
    """Tensors that nobody writes, or twice, or before they are there."""
    problems = []
    written = {name for name, tensor in graph.tensors.items() if tensor.is_constant}
    written.update(graph.inputs)
    for node in graph.nodes:
        problems += [
            f"node {node.name!r} ({node.op.name}) reads {name!r} before anything writes it"
            for name in node.inputs
            if name not in written
        ]
        if node.output in written:
            problems.append(f"node {node.name!r} ({node.op.name}) writes {node.output!r} again")
        written.add(node.output)
    problems += [
        f"output {name!r} is never written" for name in graph.outputs if name not in written
    ]
    for what, names in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        if not names or len(set(names)) != len(names):
            problems.append(f"the model has {what} {list(names)}, needs at least one, each once")
    return problems


class _Lowering:
    """Collects tensors and nodes of the program while it walks the graph once."""

    def __init__(self, graph: Graph, layers: Rounding) -> None:
        self.graph = graph
        self.layers = layers
        self.tensors: list[ProgramTensor] = []
        self.nodes: list[ProgramNode] = []
        self.index: dict[str, int] = {}
        self.layer_count = 0

    def program(self) -> ProgramDescription:
        for name in self.graph.fed:
            self._add_activation(self.graph.tensors[name])
        for name in self.graph.states:
            self._add_activation(self.graph.tensors[name], Kind.STATE)
        for node in self.graph.nodes:
            self._add_node(node)
        for state, after in self.graph.states.items():
            operands = (self.index[after],)
            self.nodes.append(ProgramNode(Op.RESHAPE, f"{state}/kept", operands, self.index[state]))
        return ProgramDescription(
            name=self.graph.name,
            tensors=tuple(self.tensors),
            nodes=tuple(self.nodes),
            inputs=tuple(self.index[name] for name in self.graph.fed),
            outputs=tuple(self.index[name] for name in self.graph.answers),
            states=tuple(self.index[name] for name in self.graph.states),
            macs=sum(node_macs(self.graph, node) for node in self.graph.nodes),
        )

    def _add_node(self, node: Node) -> None:
        piece = f"layer{self.layer_count}"
        operands = [self._operand(name, piece) for name in node.inputs]
        rounding = _rounding(self.graph, node, self.layers)
        for suffix, data in _extra_constants(self.graph, node, rounding):
            operands.append(self._add_constant(f"{node.name}/{suffix}", data, piece))
        for name, data in _shared_constants(self.graph, node):
            if name not in self.index:
                self.index[name] = self._add_constant(name, data, piece)
            operands.append(self.index[name])
        if any(self.tensors[i].piece == piece for i in operands):
            self.layer_count += 1
        output = self._add_activation(self.graph.tensors[node.output])
        params = _PARAMETERS[node.op](self.graph, node)
        self.nodes.append(
            ProgramNode(node.op, node.name, tuple(operands), output, params, rounding)
        )

    def _operand(self, name: str, piece: str) -> int:
        if name not in self.index:
            tensor = self.graph.tensors[name]
            self.index[name] = self._add_constant(
                name, self.graph.constant(name), piece,
                tensor.quantization if tensor.dtype in ACTIVATIONS else None,
            )  # fmt: skip
        return self.index[name]

    def _add_activation(self, tensor: Tensor, kind: Kind = Kind.ARENA) -> int:
        quantization = tensor.quantization or Quantization((0.0,), (0,))
        self.index[tensor.name] = len(self.tensors)
        self.tensors.append(
            ProgramTensor(
                tensor.name, _DTYPES[tensor.dtype], _shape(tensor), kind,
                quantization.zero_point, quantization.scale,
            )
        )  # fmt: skip
        return self.index[tensor.name]

    def _add_constant(
        self, name: str, data: Array, piece: str, quantization: Quantization | None = None
    ) -> int:
        scaled = quantization if quantization and len(quantization.scales) == 1 else None
        dtype = _DTYPES[str(data.dtype)]
        little = np.ascontiguousarray(data).astype(data.dtype.newbyteorder("<"), copy=False)
        self.tensors.append(
            ProgramTensor(
                name, dtype, tuple(data.shape), Kind.CONSTANT,
                scaled.zero_point if scaled else 0, scaled.scale if scaled else 0.0,
                data=little.tobytes(), piece=piece,
            )
        )  # fmt: skip
        return len(self.tensors) - 1


def _shape(tensor: Tensor) -> tuple[int, ...]:
    if len(tensor.shape) > RANK_MAX:
        raise CompileError(
            f"tensor {tensor.name!r} has shape {list(tensor.shape)}, {len(tensor.shape)} axes of "
            f"at most {RANK_MAX}; {AXES_ADVICE}"
        )
    return tensor.shape


def _quantization(tensor: Tensor) -> Quantization:
    if tensor.quantization is None:
        raise RuntimeError(f"tensor {tensor.name!r} is not quantized")
    return tensor.quantization


def _extra_constants(graph: Graph, node: Node, rounding: Rounding) -> list[tuple[str, Array]]:
    """Constants that the file does not have: absent bias, multipliers and shifts, tables."""
    if node.op in _TABLES and not _is_wide(graph, node):
        x = _quantization(graph.tensors[node.inputs[0]])
        table = np.frombuffer(_TABLES[node.op](x.scale, x.zero_point), np.int8)
        return [("table", table)]
    if node.op is Op.LOOKUP:
        return [("table", _looked_up(graph, node))]
    if node.op not in WEIGHTED:
        return []
    pairs = np.array(_weight_multipliers(graph, node, rounding), np.int32)
    extra = [("multipliers", pairs[:, 0]), ("shifts", pairs[:, 1])]
    if len(node.inputs) == 3:
        return extra
    dtype = np.int64 if rounding is Rounding.W else np.int32
    return [("bias", np.zeros(len(pairs), dtype)), *extra]


def _looked_up(graph: Graph, node: Node) -> Array:
    x, y = (_quantization(graph.tensors[name]) for name in (node.inputs[0], node.output))
    (function, alpha), *then = node.curve
    lookup = Lookup(function, x, y, alpha, tuple(then))
    try:
        return int16_table(lookup) if _is_wide(graph, node) else int8_table(lookup)
    except ValueError as error:
        raise CompileError(f"node {node.name!r} ({function}): {error}") from error


def _shared_constants(graph: Graph, node: Node) -> list[tuple[str, Array]]:
    """Tables that every node of their kind has in common; they travel with the first one."""
    if not _is_wide(graph, node):
        return []
    if node.op in (Op.LOGISTIC, Op.TANH):
        return [("sigmoid_table", sigmoid_table_16())]
    if node.op is Op.SOFTMAX:
        exponentials, reciprocals = softmax_tables_16()
        return [("softmax_exponentials", exponentials), ("softmax_reciprocals", reciprocals)]
    return []


def _is_wide(graph: Graph, node: Node) -> bool:
    return graph.tensors[node.output].dtype == "int16"


def _rounding(graph: Graph, node: Node, layers: Rounding) -> Rounding:
    """W where TFLite accumulates in 64 bits: layers of 16-bit activations, unless their bias has
    32 bits; its CONV_2D without any bias accumulates in 32 as well."""
    if node.op not in WEIGHTED:
        return Rounding.D
    if not _is_wide(graph, node):
        return Rounding.D if node.op is Op.TRANSPOSE_CONV else layers
    if len(node.inputs) == 3:
        return Rounding.D if graph.tensors[node.inputs[2]].dtype == "int32" else Rounding.W
    return Rounding.D if node.op is Op.CONV_2D else Rounding.W


def _weight_multipliers(graph: Graph, node: Node, rounding: Rounding) -> list[tuple[int, int]]:
    x, weights, y = (_quantization(graph.tensors[name]) for name in (*node.inputs[:2], node.output))
    channels = graph.tensors[node.output].shape[-1]
    try:
        if rounding is Rounding.F:
            scales = weights.scales if len(weights.scales) > 1 else weights.scales * channels
            return requantize.float_multipliers(x.scale, scales, y.scale)
        if len(weights.scales) > 1 or node.op is not Op.FULLY_CONNECTED:
            scales = weights.scales if len(weights.scales) > 1 else weights.scales * channels
            return requantize.channel_multipliers(x.scale, scales, y.scale)
        return [requantize.tensor_multiplier(x.scale, weights.scale, y.scale)] * channels
    except ValueError as error:
        raise CompileError(f"node {node.name!r} ({node.op.name}): {error}") from error


Parameters = dict[str, int]
T = TypeVar("T")


def _act(graph: Graph, node: Node) -> Parameters:
    output = graph.tensors[node.output]
    y = _quantization(output)
    low, high = requantize.clamp_range(node.clamp, y.scale, y.zero_point, output.dtype)
    return {"act_min": low, "act_max": high}


def _fully_connected(graph: Graph, node: Node) -> Parameters:
    return _act(graph, node)


def _conv(graph: Graph, node: Node) -> Parameters:
    window = node.sliding
    return {
        "stride_h": window.stride[0], "stride_w": window.stride[1],
        "dilation_h": window.dilation[0], "dilation_w": window.dilation[1],
        "pad_top": window.pads[0], "pad_left": window.pads[1], **_act(graph, node),
    }  # fmt: skip


def _pool(graph: Graph, node: Node) -> Parameters:
    window = node.sliding
    return {
        "filter_h": window.size[0], "filter_w": window.size[1],
        "stride_h": window.stride[0], "stride_w": window.stride[1],
        "pad_top": window.pads[0], "pad_left": window.pads[1], **_act(graph, node),
    }  # fmt: skip


def _scales(graph: Graph, node: Node) -> list[float]:
    """Scales of the operands, then of the output."""
    return [_quantization(graph.tensors[name]).scale for name in (*node.inputs, node.output)]


def _sum(graph: Graph, node: Node) -> Parameters:
    a, b, y = _scales(graph, node)
    is_wide = _is_wide(graph, node)
    left = requantize.SUM_LEFT_SHIFT_16 if is_wide else requantize.SUM_LEFT_SHIFT
    return {**_checked(node, requantize.sum_multipliers, a, b, y, left), **_act(graph, node)}


def _product(graph: Graph, node: Node) -> Parameters:
    a, b, y = _scales(graph, node)
    return {**_checked(node, _pair, a * b / y), **_act(graph, node)}


def _rescale(graph: Graph, node: Node) -> Parameters:
    x, y = _scales(graph, node)
    return {**_checked(node, _pair, x / y), **_act(graph, node)}


def _quotient(graph: Graph, node: Node) -> Parameters:
    a, b, y = (np.float32(scale) for scale in _scales(graph, node))
    return {**_checked(node, _pair, float(a / (b * y))), **_act(graph, node)}


def _slopes(node: Node, above: float, below: float) -> Parameters:
    alpha = _checked(node, _pair, below)
    return {
        **_checked(node, _pair, above),
        "multiplier_alpha": alpha["multiplier"], "shift_alpha": alpha["shift"],
    }  # fmt: skip


def _leaky_relu(graph: Graph, node: Node) -> Parameters:
    x, y = _scales(graph, node)
    return _slopes(node, x / y, x * node.alpha / y)


def _prelu(graph: Graph, node: Node) -> Parameters:
    x, alpha, y = _scales(graph, node)
    return _slopes(node, x / y, x * alpha / y)


def _transpose_conv(graph: Graph, node: Node) -> Parameters:
    window = node.sliding
    return {
        "stride_h": window.stride[0], "stride_w": window.stride[1],
        "pad_top": window.pads[0], "pad_left": window.pads[1], **_act(graph, node),
    }  # fmt: skip


def _per_axis(name: str, values: Sequence[int]) -> Parameters:
    padded = (*values, *(0,) * (RANK_MAX - len(values)))
    return {f"{name}_{axis}": value for axis, value in enumerate(padded)}


def _transpose(graph: Graph, node: Node) -> Parameters:
    del graph
    return _per_axis("from", node.axes)


def _strided_slice(graph: Graph, node: Node) -> Parameters:
    del graph
    # A step that is never taken is 1 in the format.
    taken = [(begin, extent, step if extent > 1 else 1) for begin, extent, step in node.slices]
    begins, extents, steps = zip(*taken, strict=True)
    return {
        **_per_axis("begin", begins), **_per_axis("extent", extents), **_per_axis("step", steps)
    }  # fmt: skip


def _mean(graph: Graph, node: Node) -> Parameters:
    x, y = _scales(graph, node)
    count = math.prod(graph.tensors[node.inputs[0]].shape[axis] for axis in node.axes)
    multiplier, shift = _checked(node, requantize.mean_multiplier, x, y, count)
    axis_mask = sum(1 << axis for axis in node.axes)
    return {"axis_mask": axis_mask, "multiplier": multiplier, "shift": shift}


def _pair(real: float) -> Parameters:
    multiplier, shift = requantize.quantize_multiplier(real)
    return {"multiplier": multiplier, "shift": shift}


def _checked(node: Node, function: Callable[..., T], *scales: float) -> T:
    try:
        return function(*scales)
    except ValueError as error:
        raise CompileError(f"node {node.name!r} ({node.op.name}): {error}") from error


def _one_axis(graph: Graph, node: Node) -> Parameters:
    del graph
    return {"axis": node.axes[0]}


def _pad(graph: Graph, node: Node) -> Parameters:
    y = _quantization(graph.tensors[node.output])
    before = _per_axis("before", [pair[0] for pair in node.pads])
    value = y.zero_point + requantize.round_half_away(node.pad_value / y.scale)
    low, high = requantize.level_range(graph.tensors[node.output].dtype)
    return {**before, "value": min(max(value, low), high)}


def _softmax(graph: Graph, node: Node) -> Parameters:
    rule = (
        requantize.softmax_multiplier_16 if _is_wide(graph, node) else requantize.softmax_multiplier
    )
    return _checked(node, rule, _scales(graph, node)[0], node.beta)


def _sigmoid(graph: Graph, node: Node) -> Parameters:
    if not _is_wide(graph, node):
        return {"multiplier": 0, "shift": 0}
    scale, keeps_double = _scales(graph, node)[0], node.op is Op.TANH
    return _checked(node, requantize.sigmoid_multiplier_16, scale, keeps_double)


def _nothing(graph: Graph, node: Node) -> Parameters:
    del graph, node
    return {}


_PARAMETERS: Final[dict[Op, Callable[[Graph, Node], Parameters]]] = {
    Op.FULLY_CONNECTED: _fully_connected,
    Op.CONV_2D: _conv,
    Op.DEPTHWISE_CONV_2D: _conv,
    Op.AVERAGE_POOL_2D: _pool,
    Op.MAX_POOL_2D: _pool,
    Op.MEAN: _mean,
    Op.ADD: _sum,
    Op.SUB: _sum,
    Op.MUL: _product,
    Op.CONCATENATION: _one_axis,
    Op.PAD: _pad,
    Op.RESHAPE: _nothing,
    Op.SOFTMAX: _softmax,
    Op.LOGISTIC: _sigmoid,
    Op.TANH: _sigmoid,
    Op.RELU: _rescale,
    Op.RELU6: _rescale,
    Op.QUANTIZE: _rescale,
    Op.LOOKUP: _nothing,
    Op.DIV: _quotient,
    Op.LEAKY_RELU: _leaky_relu,
    Op.PRELU: _prelu,
    Op.TRANSPOSE_CONV: _transpose_conv,
    Op.TRANSPOSE: _transpose,
    Op.STRIDED_SLICE: _strided_slice,
    Op.GATHER: _one_axis,
    Op.RESIZE_NEAREST: _nothing,
    Op.ARG_MAX: _one_axis,
}
