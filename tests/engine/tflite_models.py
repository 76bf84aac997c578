"""Writes small TFLite models of one operator with PyPI's `tflite` schema.

    data = one_operator("ADD", [a, b], y, {"FusedActivationFunction": 1})

Operand order and options are those of the TFLite schema; options are named as there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import flatbuffers
import numpy as np
import tflite

_TYPES: Final = {
    "int8": tflite.TensorType.INT8,
    "int16": tflite.TensorType.INT16,
    "int32": tflite.TensorType.INT32,
    "int64": tflite.TensorType.INT64,
}

OPTIONS: Final = {
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "CONCATENATION": "ConcatenationOptions",
    "PAD": "PadOptions",
    "PADV2": "PadV2Options",
    "RESHAPE": "ReshapeOptions",
    "SOFTMAX": "SoftmaxOptions",
    "QUANTIZE": "QuantizeOptions",
    "DIV": "DivOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "ABS": "AbsOptions",
    "HARD_SWISH": "HardSwishOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "TRANSPOSE": "TransposeOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SLICE": "SliceOptions",
    "SPLIT": "SplitOptions",
    "GATHER": "GatherOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "ARG_MAX": "ArgMaxOptions",
}
"""The option table of each operator that has one."""


@dataclass(frozen=True)
class Operand:
    """A tensor. With `data` it is a constant; `scales` has one entry or one per channel."""

    name: str
    shape: tuple[int, ...]
    scales: tuple[float, ...] = ()
    zero_point: int = 0
    data: Any = None
    dtype: str = "int8"
    channel_axis: int = 0


def constant_int32(name: str, values: Any, scales: tuple[float, ...] = ()) -> Operand:
    array = np.asarray(values, np.int32)
    return Operand(name, array.shape, scales, data=array, dtype="int32")


def constant_int64(name: str, values: Any, scales: tuple[float, ...] = ()) -> Operand:
    array = np.asarray(values, np.int64)
    return Operand(name, array.shape, scales, data=array, dtype="int64")


def one_operator(
    operator: str, inputs: Sequence[Operand | None], output: Operand | Sequence[Operand],
    options: dict[str, Any],
) -> bytes:  # fmt: skip
    """The file's bytes. None stands for an absent optional operand."""
    outputs = [output] if isinstance(output, Operand) else list(output)
    return _Writer().model(operator, inputs, outputs, options)


class _Writer:
    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1024)

    def model(
        self,
        operator: str,
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
        options: dict[str, Any],
    ) -> bytes:
        operands = [o for o in inputs if o is not None] + list(outputs)
        indices = [-1 if o is None else operands.index(o) for o in inputs]
        written = [operands.index(o) for o in outputs]
        buffers = [self._buffer(None), *(self._buffer(o.data) for o in operands)]
        tensors = [self._tensor(o, i + 1) for i, o in enumerate(operands)]
        fed = [i for i, o in enumerate(operands) if o.data is None and i not in written]
        operators = self._offsets([self._operator(operator, indices, written, options)])
        subgraph = self._table(
            "SubGraph",
            Tensors=self._offsets(tensors),
            Inputs=self._integers(fed),
            Outputs=self._integers(written),
            Operators=operators,
        )
        code = getattr(tflite.BuiltinOperator, operator)
        opcode = self._table(
            "OperatorCode", DeprecatedBuiltinCode=min(code, 127), BuiltinCode=code, Version=1
        )
        model = self._table(
            "Model",
            Version=3,
            OperatorCodes=self._offsets([opcode]),
            Subgraphs=self._offsets([subgraph]),
            Buffers=self._offsets(buffers),
        )
        self._builder.Finish(model, b"TFL3")
        return bytes(self._builder.Output())

    def _operator(
        self, operator: str, inputs: list[int], outputs: list[int], options: dict[str, Any]
    ) -> int:
        fields = {
            "OpcodeIndex": 0,
            "Inputs": self._integers(inputs),
            "Outputs": self._integers(outputs),
        }
        if operator in OPTIONS:
            kind = OPTIONS[operator]
            vectors = {k: self._integers(v) for k, v in options.items() if isinstance(v, list)}
            fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, kind)
            fields["BuiltinOptions"] = self._table(kind, **{**options, **vectors})
        return self._table("Operator", **fields)

    def _tensor(self, operand: Operand, buffer: int) -> int:
        fields = {
            "Shape": self._integers(operand.shape),
            "Type": _TYPES[operand.dtype],
            "Buffer": buffer,
            "Name": self._builder.CreateString(operand.name),
        }
        if operand.scales:
            fields["Quantization"] = self._quantization(operand)
        return self._table("Tensor", **fields)

    def _quantization(self, operand: Operand) -> int:
        zero_points = np.full(len(operand.scales), operand.zero_point, np.int64)
        return self._table(
            "QuantizationParameters",
            Scale=self._builder.CreateNumpyVector(np.asarray(operand.scales, np.float32)),
            ZeroPoint=self._builder.CreateNumpyVector(zero_points),
            QuantizedDimension=operand.channel_axis,
        )

    def _buffer(self, data: Any) -> int:
        if data is None:
            return self._table("Buffer")
        raw = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
        return self._table("Buffer", Data=self._builder.CreateNumpyVector(raw))

    def _integers(self, values: Sequence[int]) -> int:
        return int(self._builder.CreateNumpyVector(np.asarray(values, np.int32)))

    def _offsets(self, offsets: list[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())

    def _table(self, kind: str, **fields: Any) -> int:
        function: Callable[[str], Any] = lambda name: getattr(tflite, kind + name)  # noqa: E731
        function("Start")(self._builder)
        for name, value in fields.items():
            function(f"Add{name}")(self._builder, value)
        return int(function("End")(self._builder))
