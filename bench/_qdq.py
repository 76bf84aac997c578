"""A TFLite model as ONNX with QDQ, for peers that take ONNX: the same scales, zero points and
weights, so that both compute the same network. Channels first, as ONNX has it.

Takes what the three MLPerf Tiny models are made of, and refuses anything else.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from wherry_native.compiler.ir import Graph, Node, Tensor
from wherry_native.compiler.tflite_reader import read_tflite_file
from wherry_native.program import Op

CHANNELS_FIRST = (0, 3, 1, 2)


class _Writer:
    def __init__(self, graph: Graph, is_unsigned: bool) -> None:
        self.graph = graph
        self.is_unsigned = is_unsigned
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def add(self, op: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def parameters(self, tensor: Tensor) -> list[str]:
        """Names of an activation's scale and zero point."""
        assert tensor.quantization is not None
        zero = tensor.quantization.zero_point
        code = np.uint8(zero + 128) if self.is_unsigned else np.int8(zero)
        return [
            self.constant(f"{tensor.name}/scale", np.float32(tensor.quantization.scale)),
            self.constant(f"{tensor.name}/zero", np.asarray(code)),
        ]

    def quantized(self, value: str, name: str) -> None:
        """Q and DQ behind a node's output: `name` is what later nodes read, `name/q` the codes."""
        parameters = self.parameters(self.graph.tensors[name])
        self.add("QuantizeLinear", [value, *parameters], f"{name}/q")
        self.add("DequantizeLinear", [f"{name}/q", *parameters], name)

    def weights(self, name: str, order: tuple[int, ...], axis: int) -> str:
        tensor = self.graph.tensors[name]
        assert tensor.quantization is not None
        assert tensor.data is not None
        data = np.ascontiguousarray(tensor.data.transpose(order)).astype(np.int8)
        scales = np.asarray(tensor.quantization.scales, np.float32)
        return self._dequantized(f"{name}/w", data, scales, axis)

    def bias(self, node: Node) -> str:
        x, w = (self.graph.tensors[one].quantization for one in node.inputs[:2])
        assert x is not None
        assert w is not None
        data = self.graph.constant(node.inputs[2]).astype(np.int32)
        scales = np.asarray(w.scales, np.float32) * np.float32(x.scale)
        return self._dequantized(f"{node.name}/bias", data, scales, 0)

    def _dequantized(self, name: str, data: np.ndarray, scales: np.ndarray, axis: int) -> str:
        is_per_channel = scales.size > 1
        scale = scales if is_per_channel else scales.reshape(())
        zeros = np.zeros(scale.shape, data.dtype)
        operands = [
            self.constant(f"{name}/q", data),
            self.constant(f"{name}/scale", scale),
            self.constant(f"{name}/zero", zeros),
        ]
        return self.add("DequantizeLinear", operands, name, axis=axis if is_per_channel else 0)

    def node(self, node: Node) -> None:
        value = WRITERS[node.op](self, node)
        low, high = self.graph.tensors[node.output].real_range
        if node.clamp.low > low or node.clamp.high < high:
            bounds = [max(node.clamp.low, low), min(node.clamp.high, high)]
            names = [
                self.constant(f"{node.name}/{i}", np.float32(one)) for i, one in enumerate(bounds)
            ]
            value = self.add("Clip", [value, *names], f"{node.name}/clipped")
        self.quantized(value, node.output)


def _window(node: Node) -> dict[str, object]:
    window = node.sliding
    top, left, bottom, right = window.pads
    return {"strides": window.stride, "pads": [top, left, bottom, right]}


def _convolution(writer: _Writer, node: Node, order: tuple[int, ...], groups: int) -> str:
    operands = [node.inputs[0], writer.weights(node.inputs[1], order, 0), writer.bias(node)]
    window = node.sliding
    return writer.add(
        "Conv", operands, f"{node.name}/real", group=groups,
        kernel_shape=window.size, dilations=window.dilation, **_window(node),
    )  # fmt: skip


def _conv_2d(writer: _Writer, node: Node) -> str:
    return _convolution(writer, node, CHANNELS_FIRST, 1)


def _depthwise(writer: _Writer, node: Node) -> str:
    channels = writer.graph.tensors[node.inputs[0]].shape[3]
    return _convolution(writer, node, (3, 0, 1, 2), channels)


def _fully_connected(writer: _Writer, node: Node) -> str:
    operands = [node.inputs[0], writer.weights(node.inputs[1], (0, 1), 0), writer.bias(node)]
    return writer.add("Gemm", operands, f"{node.name}/real", transB=1)


def _average_pool(writer: _Writer, node: Node) -> str:
    shape = writer.graph.tensors[node.inputs[0]].shape
    if shape[1:3] == node.sliding.size:
        return writer.add("GlobalAveragePool", [node.inputs[0]], f"{node.name}/real")
    return writer.add(
        "AveragePool", [node.inputs[0]], f"{node.name}/real",
        kernel_shape=node.sliding.size, **_window(node),
    )  # fmt: skip


def _add(writer: _Writer, node: Node) -> str:
    return writer.add("Add", list(node.inputs), f"{node.name}/real")


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[i] for i in CHANNELS_FIRST) if len(shape) == 4 else shape


def _reshape(writer: _Writer, node: Node) -> str:
    before, after = (writer.graph.tensors[one].shape for one in (node.inputs[0], node.output))
    for shape in (before, after):
        if len(shape) == 4 and shape[3] != 1 and shape[1] * shape[2] != 1:
            raise NotImplementedError(f"{node.name} reorders elements where channels come first")
    shape = writer.constant(f"{node.name}/shape", np.asarray(_channels_first(after), np.int64))
    return writer.add("Reshape", [node.inputs[0], shape], f"{node.name}/real")


def _softmax(writer: _Writer, node: Node) -> str:
    return writer.add("Softmax", [node.inputs[0]], f"{node.name}/real", axis=-1)


WRITERS: dict[Op, Callable[[_Writer, Node], str]] = {
    Op.CONV_2D: _conv_2d,
    Op.DEPTHWISE_CONV_2D: _depthwise,
    Op.FULLY_CONNECTED: _fully_connected,
    Op.AVERAGE_POOL_2D: _average_pool,
    Op.ADD: _add,
    Op.RESHAPE: _reshape,
    Op.SOFTMAX: _softmax,
}


def write_qdq(model: Path, target: Path, *, is_unsigned: bool) -> None:
    """Input and output of the file are codes, uint8 or int8; the weights are int8."""
    graph = read_tflite_file(model)
    writer = _Writer(graph, is_unsigned)
    dtype = TensorProto.UINT8 if is_unsigned else TensorProto.INT8
    x, y = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    writer.add("DequantizeLinear", [f"{x.name}/q", *writer.parameters(x)], x.name)
    for node in graph.nodes:
        writer.node(node)
    made = helper.make_graph(
        writer.nodes[:-1],  # the last DQ: who takes the output takes codes
        graph.name,
        [helper.make_tensor_value_info(f"{x.name}/q", dtype, _channels_first(x.shape))],
        [helper.make_tensor_value_info(f"{y.name}/q", dtype, _channels_first(y.shape))],
        writer.constants,
    )
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(proto)
    onnx.save(proto, target)
