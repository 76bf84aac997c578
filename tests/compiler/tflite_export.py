"""An int8 graph of ours as a TFLite file, so that an independent runtime can run it.

Padding that TFLite cannot say (neither SAME nor VALID) becomes a PAD with the zero point in front
of a convolution, which is the same sum; in front of a pool it cannot be said and is refused.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import tflite
from wherry_native.compiler.ir import OPEN, RELU, RELU6, WEIGHTED, Clamp, Graph, Node, Tensor
from wherry_native.program import Op

from tests.compiler.tflite_files import Operator, Row, tflite_file

_CLAMPS: Final = {
    OPEN: tflite.ActivationFunctionType.NONE,
    RELU: tflite.ActivationFunctionType.RELU,
    RELU6: tflite.ActivationFunctionType.RELU6,
    Clamp(-1.0, 1.0): tflite.ActivationFunctionType.RELU_N1_TO_1,
}
_WINDOWED: Final = (Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.AVERAGE_POOL_2D, Op.MAX_POOL_2D)


def exported(graph: Graph) -> bytes:
    """The TFLite file. Raises ValueError where TFLite cannot say it."""
    return _Export(graph).file()


class _Export:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.rows: list[Row] = []
        self.operators: list[Operator] = []
        self.index: dict[str, int] = {}

    def file(self) -> bytes:
        for tensor in self.graph.tensors.values():
            self.index[tensor.name] = self._add(_row(tensor))
        for node in self.graph.nodes:
            self._add_node(node)
        inputs = [self.index[name] for name in self.graph.inputs]
        return tflite_file(self.rows, self.operators, inputs, [self.index[self.graph.outputs[0]]])

    def _add(self, row: Row) -> int:
        self.rows.append(row)
        return len(self.rows) - 1

    def _integers(self, values: Any) -> int:
        array = np.asarray(values, np.int32)
        return self._add(Row(f"constant{len(self.rows)}", "int32", array.shape, data=array))

    def _add_node(self, node: Node) -> None:
        inputs = [self.index[name] for name in node.inputs]
        options: dict[str, Any] = {}
        if node.op in (*WEIGHTED, Op.ADD, Op.SUB, Op.MUL, Op.AVERAGE_POOL_2D, Op.MAX_POOL_2D):
            options["FusedActivationFunction"] = _CLAMPS[node.clamp]
        if node.op in _WINDOWED:
            inputs[0] = self._window(node, inputs[0], options)
        elif node.op is Op.MEAN:
            inputs.append(self._integers(node.axes))
            rank = len(self.graph.tensors[node.inputs[0]].shape)
            options["KeepDims"] = len(self.graph.tensors[node.output].shape) == rank
        elif node.op is Op.CONCATENATION:
            options["Axis"] = node.axes[0]
        elif node.op is Op.PAD:
            inputs.append(self._integers(node.pads))
        elif node.op is Op.RESHAPE:
            inputs.append(self._integers(self.graph.tensors[node.output].shape))
        elif node.op is Op.SOFTMAX:
            options["Beta"] = node.beta
        self.operators.append((node.op.name, inputs, [self.index[node.output]], options))

    def _window(self, node: Node, x: int, options: dict[str, Any]) -> int:
        """Fills the options, and returns the operand, padded where that must be said apart."""
        window = node.sliding
        options |= {"StrideH": window.stride[0], "StrideW": window.stride[1]}
        if node.op in WEIGHTED:
            options |= {
                "DilationHFactor": window.dilation[0],
                "DilationWFactor": window.dilation[1],
            }
        else:
            options |= {"FilterHeight": window.size[0], "FilterWidth": window.size[1]}
        if node.op is Op.DEPTHWISE_CONV_2D:
            channels = self.rows[x].shape[3]
            options["DepthMultiplier"] = self.graph.tensors[node.output].shape[3] // channels
        options["Padding"] = tflite.Padding.VALID
        if not any(window.pads):
            return x
        if window.pads == _same_pads(node, self.rows[x].shape):
            options["Padding"] = tflite.Padding.SAME
            return x
        if node.op not in WEIGHTED:
            raise ValueError(f"TFLite has no padding {window.pads} for {node.op.name}")
        return self._padded(x, window.pads)

    def _padded(self, x: int, pads: Sequence[int]) -> int:
        top, left, bottom, right = pads
        row = self.rows[x]
        n, h, w, c = row.shape
        shape = (n, top + h + bottom, left + w + right, c)
        output = self._add(Row(f"{row.name}/padded", "int8", shape, row.scales, row.zero_point))
        paddings = self._integers([(0, 0), (top, bottom), (left, right), (0, 0)])
        self.operators.append(("PAD", [x, paddings], [output], {}))
        return output


def _row(tensor: Tensor) -> Row:
    quantization = tensor.quantization
    if quantization is None:
        return Row(tensor.name, tensor.dtype, tensor.shape, data=tensor.data)
    return Row(
        tensor.name, tensor.dtype, tensor.shape, quantization.scales, quantization.zero_point,
        tensor.data, quantization.axis,
    )  # fmt: skip


def _same_pads(node: Node, shape: Sequence[int]) -> tuple[int, ...]:
    window = node.sliding
    totals = []
    for length, size, stride, dilation in zip(
        shape[1:3], window.size, window.stride, window.dilation, strict=True
    ):
        count = -(-length // stride)
        totals.append(max((count - 1) * stride + (size - 1) * dilation + 1 - length, 0))
    return (*(t // 2 for t in totals), *(t - t // 2 for t in totals))
