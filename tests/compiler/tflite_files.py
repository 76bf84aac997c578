"""Small TFLite files of several operators, written with PyPI's `tflite` schema.

    data = tflite_file([("in", "float32", (1, 4), (0.5,), 3, None), …], [("QUANTIZE", [0], [1]), …])

Only operators that need no option table, or the few in `OPTIONS`.
"""

from collections.abc import Sequence
from typing import Any, Final

import flatbuffers
import numpy as np
import tflite

TYPES: Final = {
    "float32": tflite.TensorType.FLOAT32,
    "int8": tflite.TensorType.INT8,
    "uint8": tflite.TensorType.UINT8,
    "int16": tflite.TensorType.INT16,
    "int32": tflite.TensorType.INT32,
}
OPTIONS: Final = {
    "FULLY_CONNECTED": (tflite.BuiltinOptions.FullyConnectedOptions, "FullyConnectedOptions"),
    "MAX_POOL_2D": (tflite.BuiltinOptions.Pool2DOptions, "Pool2DOptions"),
}

TensorRow = tuple[str, str, tuple[int, ...], Sequence[float], int, Any]
"""Name, dtype, shape, scales, zero point, data or None."""

OperatorRow = tuple[str, Sequence[int], Sequence[int]]
"""Operator, input tensors, output tensors."""


def tflite_file(
    tensors: Sequence[TensorRow],
    operators: Sequence[OperatorRow],
    inputs: Sequence[int] = (0,),
    outputs: Sequence[int] | None = None,
) -> bytes:
    """The file's bytes; outputs default to the last operator's."""
    b = flatbuffers.Builder(1024)
    chosen = operators[-1][2] if outputs is None else outputs
    buffers = [_buffer(b, None), *(_buffer(b, row[5]) for row in tensors)]
    tensor_tables = [_tensor(b, row, index + 1) for index, row in enumerate(tensors)]
    codes = [_code(b, row[0]) for row in operators]
    operator_tables = [_operator(b, row, index) for index, row in enumerate(operators)]
    vectors = [
        _tables(b, tflite.SubGraphStartTensorsVector, tensor_tables),
        _integers(b, tflite.SubGraphStartInputsVector, inputs),
        _integers(b, tflite.SubGraphStartOutputsVector, chosen),
        _tables(b, tflite.SubGraphStartOperatorsVector, operator_tables),
    ]
    tflite.SubGraphStart(b)
    tflite.SubGraphAddTensors(b, vectors[0])
    tflite.SubGraphAddInputs(b, vectors[1])
    tflite.SubGraphAddOutputs(b, vectors[2])
    tflite.SubGraphAddOperators(b, vectors[3])
    subgraph = tflite.SubGraphEnd(b)
    parts = [
        _tables(b, tflite.ModelStartOperatorCodesVector, codes),
        _tables(b, tflite.ModelStartSubgraphsVector, [subgraph]),
        _tables(b, tflite.ModelStartBuffersVector, buffers),
    ]
    tflite.ModelStart(b)
    tflite.ModelAddVersion(b, 3)
    tflite.ModelAddOperatorCodes(b, parts[0])
    tflite.ModelAddSubgraphs(b, parts[1])
    tflite.ModelAddBuffers(b, parts[2])
    b.Finish(tflite.ModelEnd(b), b"TFL3")
    return bytes(b.Output())


def _buffer(b: Any, data: Any) -> int:
    vector = None if data is None else b.CreateByteVector(np.ascontiguousarray(data).tobytes())
    tflite.BufferStart(b)
    if vector is not None:
        tflite.BufferAddData(b, vector)
    return int(tflite.BufferEnd(b))


def _tensor(b: Any, row: TensorRow, buffer: int) -> int:
    name, dtype, shape, scales, zero_point, _ = row
    label = b.CreateString(name)
    dims = _integers(b, tflite.TensorStartShapeVector, shape)
    quantization = _quantization(b, scales, zero_point) if scales else None
    tflite.TensorStart(b)
    tflite.TensorAddShape(b, dims)
    tflite.TensorAddType(b, TYPES[dtype])
    tflite.TensorAddBuffer(b, buffer)
    tflite.TensorAddName(b, label)
    if quantization is not None:
        tflite.TensorAddQuantization(b, quantization)
    return int(tflite.TensorEnd(b))


def _quantization(b: Any, scales: Sequence[float], zero_point: int) -> int:
    tflite.QuantizationParametersStartScaleVector(b, len(scales))
    for scale in reversed(scales):
        b.PrependFloat32(scale)
    scale_vector = b.EndVector()
    tflite.QuantizationParametersStartZeroPointVector(b, len(scales))
    for _ in scales:
        b.PrependInt64(zero_point)
    zero_vector = b.EndVector()
    tflite.QuantizationParametersStart(b)
    tflite.QuantizationParametersAddScale(b, scale_vector)
    tflite.QuantizationParametersAddZeroPoint(b, zero_vector)
    return int(tflite.QuantizationParametersEnd(b))


def _code(b: Any, operator: str) -> int:
    code = getattr(tflite.BuiltinOperator, operator)
    custom = b.CreateString("MyOwnOperator") if operator == "CUSTOM" else None
    tflite.OperatorCodeStart(b)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(code, 127))
    tflite.OperatorCodeAddBuiltinCode(b, code)
    tflite.OperatorCodeAddVersion(b, 1)
    if custom is not None:
        tflite.OperatorCodeAddCustomCode(b, custom)
    return int(tflite.OperatorCodeEnd(b))


def _operator(b: Any, row: OperatorRow, index: int) -> int:
    operator, inputs, outputs = row
    input_vector = _integers(b, tflite.OperatorStartInputsVector, inputs)
    output_vector = _integers(b, tflite.OperatorStartOutputsVector, outputs)
    options = _options(b, operator)
    tflite.OperatorStart(b)
    tflite.OperatorAddOpcodeIndex(b, index)
    tflite.OperatorAddInputs(b, input_vector)
    tflite.OperatorAddOutputs(b, output_vector)
    if options is not None:
        tflite.OperatorAddBuiltinOptionsType(b, OPTIONS[operator][0])
        tflite.OperatorAddBuiltinOptions(b, options)
    return int(tflite.OperatorEnd(b))


def _options(b: Any, operator: str) -> int | None:
    if operator not in OPTIONS:
        return None
    table = OPTIONS[operator][1]
    getattr(tflite, f"{table}Start")(b)
    if table == "Pool2DOptions":
        for field in ("StrideH", "StrideW", "FilterHeight", "FilterWidth"):
            getattr(tflite, f"Pool2DOptionsAdd{field}")(b, 2)
    return int(getattr(tflite, f"{table}End")(b))


def _integers(b: Any, start: Any, values: Sequence[int]) -> int:
    start(b, len(values))
    for value in reversed(values):
        b.PrependInt32(value)
    return int(b.EndVector())


def _tables(b: Any, start: Any, offsets: Sequence[int]) -> int:
    start(b, len(offsets))
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())
