"""Small TFLite files of several operators, written with PyPI's `tflite` schema.

data = tflite_file([Row("x", "int8", (1, 4), (0.5,), 3)], [("TANH", [0], [1], {})])
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import flatbuffers
import numpy as np
import tflite

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
"""The option table of each operator that needs one; fields are named as in the schema."""


@dataclass(frozen=True)
class Row:
    """A tensor. With `data` it is a constant; `scales` has one entry or one per channel."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scales: tuple[float, ...] = ()
    zero_point: int = 0
    data: Any = None
    axis: int = 0


Operator = tuple[str, Sequence[int], Sequence[int], dict[str, Any]]
"""Name, input tensors, output tensors, options."""


def tflite_file(
    rows: Sequence[Row],
    operators: Sequence[Operator],
    inputs: Sequence[int] = (0,),
    outputs: Sequence[int] | None = None,
) -> bytes:
    """The file's bytes; outputs default to the last operator's."""
    return _Writer().model(rows, operators, inputs, outputs or operators[-1][2])


class _Writer:
    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1024)

    def model(
        self,
        rows: Sequence[Row],
        operators: Sequence[Operator],
        inputs: Sequence[int],
        outputs: Sequence[int],
    ) -> bytes:
        buffers = [self._table("Buffer"), *(self._buffer(row.data) for row in rows)]
        tensors = [self._tensor(row, index + 1) for index, row in enumerate(rows)]
        codes = [self._code(name) for name, *_ in operators]
        calls = [self._operator(operator, index) for index, operator in enumerate(operators)]
        subgraph = self._table(
            "SubGraph",
            Tensors=self._offsets(tensors),
            Inputs=self._integers(inputs),
            Outputs=self._integers(outputs),
            Operators=self._offsets(calls),
        )
        model = self._table(
            "Model",
            Version=3,
            OperatorCodes=self._offsets(codes),
            Subgraphs=self._offsets([subgraph]),
            Buffers=self._offsets(buffers),
        )
        self._builder.Finish(model, b"TFL3")
        return bytes(self._builder.Output())

    def _buffer(self, data: Any) -> int:
        if data is None:
            return self._table("Buffer")
        raw = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
        return self._table("Buffer", Data=self._builder.CreateNumpyVector(raw))

    def _tensor(self, row: Row, buffer: int) -> int:
        fields = {
            "Shape": self._integers(row.shape),
            "Type": getattr(tflite.TensorType, row.dtype.upper()),
            "Buffer": buffer,
            "Name": self._builder.CreateString(row.name),
        }
        if row.scales:
            zero_points = np.full(len(row.scales), row.zero_point, np.int64)
            fields["Quantization"] = self._table(
                "QuantizationParameters",
                Scale=self._builder.CreateNumpyVector(np.asarray(row.scales, np.float32)),
                ZeroPoint=self._builder.CreateNumpyVector(zero_points),
                QuantizedDimension=row.axis,
            )
        return self._table("Tensor", **fields)

    def _code(self, operator: str) -> int:
        code = getattr(tflite.BuiltinOperator, operator)
        fields = {"DeprecatedBuiltinCode": min(code, 127), "BuiltinCode": code, "Version": 1}
        if operator == "CUSTOM":
            fields["CustomCode"] = self._builder.CreateString("MyOwnOperator")
        return self._table("OperatorCode", **fields)

    def _operator(self, operator: Operator, index: int) -> int:
        name, inputs, outputs, options = operator
        fields = {
            "OpcodeIndex": index,
            "Inputs": self._integers(inputs),
            "Outputs": self._integers(outputs),
        }
        if name in OPTIONS:
            fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, OPTIONS[name])
            vectors = {k: self._integers(v) for k, v in options.items() if isinstance(v, list)}
            fields["BuiltinOptions"] = self._table(OPTIONS[name], **options | vectors)
        return self._table("Operator", **fields)

    def _integers(self, values: Sequence[int]) -> int:
        return int(self._builder.CreateNumpyVector(np.asarray(values, np.int32)))

    def _offsets(self, offsets: list[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())

    def _table(self, kind: str, **fields: Any) -> int:
        def call(name: str) -> Callable[..., Any]:
            return getattr(tflite, kind + name)  # type: ignore[no-any-return]

        call("Start")(self._builder)
        for name, value in fields.items():
            call(f"Add{name}")(self._builder, value)
        return int(call("End")(self._builder))
