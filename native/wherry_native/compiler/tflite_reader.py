"""TFLite int8 files as int8 graphs.

Rules, in order:
1. A file is read whole, and its version and identifier are checked.
2. Unsupported operators are all named at once, before anything else is complained about.
3. A float or uint8 shell around the int8 graph (QUANTIZE first, DEQUANTIZE or QUANTIZE last) is
   left out: the program speaks int8, its scales are the contract.
4. A damaged file gives a CompileError and nothing else; flatbuffers' own errors are translated.

Source: TFLite schema version 3 (PyPI `tflite`); padding as in TFLite's padding.h.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tflite  # type: ignore[import-untyped]

from wherry_native.compiler.errors import CompileError
from wherry_native.compiler.ir import (
    OPEN,
    RELU,
    RELU6,
    Clamp,
    Graph,
    Node,
    Quantization,
    Shape,
    Tensor,
    Window,
    pruned,
)
from wherry_native.compiler.shapes import ELEMENTS_MAX
from wherry_native.program import NODES_MAX, TENSORS_MAX, Op

IDENTIFIER: Final = b"TFL3"
DAMAGED: Final = (
    struct.error, IndexError, ValueError, TypeError, OverflowError, AttributeError, KeyError,
    UnicodeDecodeError, MemoryError,
)  # fmt: skip

_DTYPES: Final = {
    tflite.TensorType.FLOAT32: "float32",
    tflite.TensorType.INT8: "int8",
    tflite.TensorType.UINT8: "uint8",
    tflite.TensorType.INT16: "int16",
    tflite.TensorType.INT32: "int32",
    tflite.TensorType.INT64: "int64",
}
_CLAMPS: Final = {
    tflite.ActivationFunctionType.NONE: OPEN,
    tflite.ActivationFunctionType.RELU: RELU,
    tflite.ActivationFunctionType.RELU6: RELU6,
    tflite.ActivationFunctionType.RELU_N1_TO_1: Clamp(-1.0, 1.0),
}
_OPERATOR_NAMES: Final = {
    value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)
}


@dataclass(frozen=True, slots=True)
class _Call:
    """One operator of the file, with its tensors by name; an absent operand is ''."""

    operator: Any
    name: str
    inputs: tuple[str, ...]
    output: str
    tensors: dict[str, Tensor]

    def options(self, kind: Any) -> Any:
        """The operator's option table. Raises CompileError when it is absent or of another kind."""
        table = self.operator.BuiltinOptions()
        wanted = getattr(tflite.BuiltinOptions, kind.__name__)
        if table is None or self.operator.BuiltinOptionsType() != wanted:
            raise CompileError(f"node {self.name!r} has no table {kind.__name__}")
        options = kind()
        options.Init(table.Bytes, table.Pos)
        return options

    def tensor(self, index: int) -> Tensor:
        if index >= len(self.inputs) or not self.inputs[index]:
            raise CompileError(f"node {self.name!r} has no operand {index}")
        return self.tensors[self.inputs[index]]

    def integers(self, index: int) -> list[int]:
        """The values of a constant integer operand (axes, paddings)."""
        tensor = self.tensor(index)
        if tensor.data is None:
            raise CompileError(
                f"node {self.name!r}: operand {tensor.name!r} must be a constant in the file"
            )
        return [int(value) for value in tensor.data.reshape(-1)]


def read_tflite(data: bytes, name: str) -> Graph:
    """The int8 graph of a TFLite file. Raises CompileError."""
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise CompileError(
            f"{name} is no TFLite file: bytes 4 to 8 are {data[4:8]!r}, must be {IDENTIFIER!r}"
        )
    try:
        return _read(data, name)
    except CompileError:
        raise
    except DAMAGED as error:
        raise CompileError(
            f"{name} is damaged: its TFLite structure cannot be read ({type(error).__name__})"
        ) from error


def read_tflite_file(path: Path) -> Graph:
    """As read_tflite, from a file; the graph has the file's name without its suffix."""
    return read_tflite(path.read_bytes(), path.stem)


def _read(data: bytes, name: str) -> Graph:
    model = tflite.Model.GetRootAsModel(data, 0)
    if model.Version() != 3:
        raise CompileError(f"{name} has TFLite schema version {model.Version()}, must be 3")
    if model.SubgraphsLength() != 1:
        raise CompileError(f"{name} has {model.SubgraphsLength()} subgraphs, must have 1")
    subgraph = model.Subgraphs(0)
    _check_counts(subgraph, name)
    codes = [_builtin_code(model, subgraph.Operators(i)) for i in range(subgraph.OperatorsLength())]
    names = _tensor_names(subgraph)
    needed = _needed_operators(subgraph, codes)
    _check_operators(model, subgraph, codes, needed, names)
    tensors = {names[i]: _tensor(model, subgraph.Tensors(i), names[i]) for i in range(len(names))}
    nodes = []
    for index in needed:
        call = _call(subgraph.Operators(index), index, names, tensors)
        nodes.append(_BUILDERS[codes[index]](call))
    graph = Graph(
        name=name,
        tensors=tensors,
        nodes=tuple(nodes),
        inputs=_names_of(subgraph.InputsAsNumpy(), names, "input"),
        outputs=_names_of(subgraph.OutputsAsNumpy(), names, "output"),
    )
    return pruned(graph)


def _check_counts(subgraph: Any, name: str) -> None:
    for what, count, limit in (
        ("tensors", subgraph.TensorsLength(), TENSORS_MAX),
        ("operators", subgraph.OperatorsLength(), NODES_MAX),
    ):
        if not 1 <= count <= limit:
            raise CompileError(f"{name} has {count} {what}, must have 1 to {limit}")


def _builtin_code(model: Any, operator: Any) -> int:
    index = operator.OpcodeIndex()
    if index >= model.OperatorCodesLength():
        raise CompileError(
            f"operator code {index} does not exist, there are {model.OperatorCodesLength()}"
        )
    code = model.OperatorCodes(index)
    # Files written before schema 3a keep the code in the deprecated one-byte field.
    return int(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))


def _tensor_names(subgraph: Any) -> list[str]:
    """Readable and unique: what stands before the first ';' of a fused name, then numbered."""
    names: list[str] = []
    counts: dict[str, int] = {}
    for index in range(subgraph.TensorsLength()):
        raw = (subgraph.Tensors(index).Name() or b"").decode("utf-8", "replace")
        short = raw.split(";")[0].replace("\0", "")[:96] or f"tensor{index}"
        counts[short] = counts.get(short, 0) + 1
        name = short if counts[short] == 1 else f"{short}.{counts[short]}"
        names.append(name if name not in names else f"{short}#{index}")
    return names


def _needed_operators(subgraph: Any, codes: list[int]) -> list[int]:
    """Operators that an output needs. What only computes the new shape of a RESHAPE (SHAPE,
    STRIDED_SLICE, PACK behind a free batch) is not needed: the file has that shape already."""
    wanted = set(_indices(subgraph.OutputsAsNumpy()))
    needed = []
    for index in reversed(range(len(codes))):
        operator = subgraph.Operators(index)
        if wanted.isdisjoint(_indices(operator.OutputsAsNumpy())):
            continue
        operands = _indices(operator.InputsAsNumpy())
        wanted.update(operands[:1] if codes[index] in _SHAPE_ONLY else operands)
        needed.append(index)
    return needed[::-1]


def _indices(vector: Any) -> list[int]:
    return [] if isinstance(vector, int) else list(vector.tolist())  # 0 is an absent vector


def _check_operators(
    model: Any, subgraph: Any, codes: list[int], needed: list[int], names: list[str]
) -> None:
    problems = []
    for index in needed:
        if codes[index] in _BUILDERS:
            continue
        operator = subgraph.Operators(index)
        outputs = _names_of(operator.OutputsAsNumpy(), names, "output")
        problems.append(
            f"node {index} {outputs[0] if outputs else ''!r}: operator "
            f"{_operator_name(model, operator, codes[index])} is not supported"
        )
    if problems:
        raise CompileError(problems)


def _operator_name(model: Any, operator: Any, code: int) -> str:
    custom = model.OperatorCodes(operator.OpcodeIndex()).CustomCode()
    if custom:
        return f"CUSTOM {custom.decode('utf-8', 'replace')}"
    return str(_OPERATOR_NAMES.get(code, code))


def _names_of(indices: Any, names: list[str], what: str) -> tuple[str, ...]:
    result = []
    for index in _indices(indices):
        if index == -1:
            result.append("")
        elif 0 <= index < len(names):
            result.append(names[index])
        else:
            raise CompileError(f"{what} refers to tensor {index}, there are {len(names)}")
    return tuple(result)


def _call(operator: Any, index: int, names: list[str], tensors: dict[str, Tensor]) -> _Call:
    outputs = _names_of(operator.OutputsAsNumpy(), names, f"node {index}")
    if len(outputs) != 1 or not outputs[0]:
        raise CompileError(f"node {index} has {len(outputs)} outputs, must have 1")
    inputs = _names_of(operator.InputsAsNumpy(), names, f"node {index}")
    return _Call(operator, outputs[0], inputs, outputs[0], tensors)


def _tensor(model: Any, record: Any, name: str) -> Tensor:
    dtype = _DTYPES.get(record.Type())
    if dtype is None:
        raise CompileError(f"tensor {name!r} has element type {record.Type()}, not supported")
    if record.IsVariable():
        raise CompileError(f"tensor {name!r} is a variable; state is not supported in TFLite files")
    shape = _shape(record, name)
    return Tensor(
        name, shape, dtype, _quantization(record, shape, name),
        _data(model, record, shape, dtype, name),
    )  # fmt: skip


def _shape(record: Any, name: str) -> Shape:
    if record.ShapeLength() > 5:
        raise CompileError(f"tensor {name!r} has rank {record.ShapeLength()}, limit 5")
    shape = tuple(int(record.Shape(i)) for i in range(record.ShapeLength()))
    count = 1
    for size in shape:
        count *= size
        if size < 0 or count > ELEMENTS_MAX:
            raise CompileError(
                f"tensor {name!r} has shape {list(shape)}, limit {ELEMENTS_MAX} elements"
            )
    return shape


def _quantization(record: Any, shape: Shape, name: str) -> Quantization | None:
    table = record.Quantization()
    if table is None or table.ScaleLength() == 0:
        return None
    count = table.ScaleLength()
    axis = table.QuantizedDimension()
    if count != 1 and not (0 <= axis < len(shape) and shape[axis] == count):
        raise CompileError(f"tensor {name!r} has {count} scales, axis {axis} of {list(shape)}")
    scales = tuple(float(np.float32(table.Scale(i))) for i in range(count))
    if not all(np.isfinite(scale) and scale > 0 for scale in scales):
        raise CompileError(f"tensor {name!r} has a scale that is not a positive number")
    if table.ZeroPointLength() not in (0, count):
        raise CompileError(
            f"tensor {name!r} has {table.ZeroPointLength()} zero points and {count} scales"
        )
    zeros = tuple(int(table.ZeroPoint(i)) for i in range(table.ZeroPointLength())) or (0,) * count
    return Quantization(scales, zeros, axis)


def _data(
    model: Any, record: Any, shape: Shape, dtype: str, name: str
) -> np.ndarray[Any, Any] | None:
    index = record.Buffer()
    if index >= model.BuffersLength():
        raise CompileError(
            f"tensor {name!r} refers to buffer {index}, there are {model.BuffersLength()}"
        )
    buffer = model.Buffers(index)
    if buffer.DataLength() == 0:
        return None
    raw = buffer.DataAsNumpy().tobytes()
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if len(raw) != size:
        raise CompileError(
            f"constant {name!r} has {len(raw)} bytes, "
            f"its shape {list(shape)} of {dtype} needs {size}"
        )
    return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).reshape(shape)


def _present(call: _Call, count: int) -> tuple[str, ...]:
    return tuple(name for name in call.inputs[:count] if name)


def _clamp(code: int, call: _Call) -> Clamp:
    if code not in _CLAMPS:
        raise CompileError(f"node {call.name!r} has fused activation {code}, not supported")
    return _CLAMPS[code]


def _window(call: _Call, options: Any, size: tuple[int, int], dilation: tuple[int, int]) -> Window:
    x = call.tensor(0).shape
    if len(x) != 4:
        raise CompileError(f"node {call.name!r}: input has shape {list(x)}, must have rank 4")
    stride = (options.StrideH(), options.StrideW())
    if min(*stride, *dilation, *size) < 1:
        raise CompileError(
            f"node {call.name!r}: filter {size}, stride {stride} and dilation {dilation} "
            "must be at least 1"
        )
    pads = (0, 0, 0, 0)
    if options.Padding() == tflite.Padding.SAME:
        (top, bottom), (left, right) = (
            _same_padding(*axis) for axis in zip(x[1:3], size, stride, dilation, strict=True)
        )
        pads = (top, left, bottom, right)
    return Window(size, stride, dilation, pads)


def _same_padding(length: int, size: int, stride: int, dilation: int) -> tuple[int, int]:
    """SAME: the output has ceil(length / stride) elements; an odd padding's rest goes behind."""
    count = -(-length // stride)
    total = max((count - 1) * stride + (size - 1) * dilation + 1 - length, 0)
    return total // 2, total - total // 2


def _filter_size(call: _Call) -> tuple[int, int]:
    shape = call.tensor(1).shape
    if len(shape) != 4:
        raise CompileError(f"node {call.name!r}: weights have shape {list(shape)}, rank must be 4")
    return shape[1], shape[2]


def _conv_2d(call: _Call) -> Node:
    options = call.options(tflite.Conv2DOptions)
    dilation = (options.DilationHFactor(), options.DilationWFactor())
    return Node(
        Op.CONV_2D, call.name, _present(call, 3), call.output,
        clamp=_clamp(options.FusedActivationFunction(), call),
        window=_window(call, options, _filter_size(call), dilation),
    )  # fmt: skip


def _depthwise_conv_2d(call: _Call) -> Node:
    options = call.options(tflite.DepthwiseConv2DOptions)
    dilation = (options.DilationHFactor(), options.DilationWFactor())
    return Node(
        Op.DEPTHWISE_CONV_2D, call.name, _present(call, 3), call.output,
        clamp=_clamp(options.FusedActivationFunction(), call),
        window=_window(call, options, _filter_size(call), dilation),
    )  # fmt: skip


def _fully_connected(call: _Call) -> Node:
    options = call.options(tflite.FullyConnectedOptions)
    if options.WeightsFormat() != tflite.FullyConnectedOptionsWeightsFormat.DEFAULT:
        raise CompileError(f"node {call.name!r} has shuffled weights, not supported")
    clamp = _clamp(options.FusedActivationFunction(), call)
    return Node(Op.FULLY_CONNECTED, call.name, _present(call, 3), call.output, clamp=clamp)


def _pool(op: Op) -> Callable[[_Call], Node]:
    def build(call: _Call) -> Node:
        options = call.options(tflite.Pool2DOptions)
        size = (options.FilterHeight(), options.FilterWidth())
        return Node(
            op, call.name, _present(call, 1), call.output,
            clamp=_clamp(options.FusedActivationFunction(), call),
            window=_window(call, options, size, (1, 1)),
        )  # fmt: skip

    return build


def _elementwise(op: Op, kind: Any) -> Callable[[_Call], Node]:
    def build(call: _Call) -> Node:
        clamp = _clamp(call.options(kind).FusedActivationFunction(), call)
        return Node(op, call.name, _present(call, 2), call.output, clamp=clamp)

    return build


def _mean(call: _Call) -> Node:
    rank = len(call.tensor(0).shape)
    axes = tuple(sorted({axis + rank if axis < 0 else axis for axis in call.integers(1)}))
    return Node(Op.MEAN, call.name, _present(call, 1), call.output, axes=axes)


def _concatenation(call: _Call) -> Node:
    options = call.options(tflite.ConcatenationOptions)
    axis = options.Axis()
    axis += len(call.tensor(0).shape) if axis < 0 else 0
    if _clamp(options.FusedActivationFunction(), call) != OPEN:
        raise CompileError(f"node {call.name!r}: fused activation of CONCATENATION not supported")
    return Node(Op.CONCATENATION, call.name, call.inputs, call.output, axes=(axis,))


def _pad(call: _Call) -> Node:
    flat = call.integers(1)
    if len(flat) % 2:
        raise CompileError(f"node {call.name!r}: paddings {flat} do not come in pairs")
    pads = tuple(zip(flat[::2], flat[1::2], strict=True))
    value = 0.0
    if len(call.inputs) > 2 and call.inputs[2]:
        value = _real_value(call, 2)
    return Node(Op.PAD, call.name, _present(call, 1), call.output, pads=pads, pad_value=value)


def _real_value(call: _Call, index: int) -> float:
    tensor = call.tensor(index)
    if tensor.data is None or tensor.data.size != 1 or tensor.quantization is None:
        raise CompileError(f"node {call.name!r}: operand {tensor.name!r} must be one int8 constant")
    quantization = tensor.quantization
    return quantization.scale * (int(tensor.data.reshape(-1)[0]) - quantization.zero_point)


def _reshape(call: _Call) -> Node:
    return Node(Op.RESHAPE, call.name, _present(call, 1), call.output)


def _softmax(call: _Call) -> Node:
    beta = float(np.float32(call.options(tflite.SoftmaxOptions).Beta()))
    return Node(Op.SOFTMAX, call.name, _present(call, 1), call.output, beta=beta)


def _unary(op: Op, clamp: Clamp = OPEN) -> Callable[[_Call], Node]:
    def build(call: _Call) -> Node:
        return Node(op, call.name, _present(call, 1), call.output, clamp=clamp)

    return build


_B: Final = tflite.BuiltinOperator
_SHAPE_ONLY: Final = (_B.RESHAPE, _B.SQUEEZE, _B.EXPAND_DIMS)
"""Operators whose later operands only say the output's shape."""

_BUILDERS: Final[dict[int, Callable[[_Call], Node]]] = {
    _B.FULLY_CONNECTED: _fully_connected,
    _B.CONV_2D: _conv_2d,
    _B.DEPTHWISE_CONV_2D: _depthwise_conv_2d,
    _B.AVERAGE_POOL_2D: _pool(Op.AVERAGE_POOL_2D),
    _B.MAX_POOL_2D: _pool(Op.MAX_POOL_2D),
    _B.MEAN: _mean,
    _B.ADD: _elementwise(Op.ADD, tflite.AddOptions),
    _B.SUB: _elementwise(Op.SUB, tflite.SubOptions),
    _B.MUL: _elementwise(Op.MUL, tflite.MulOptions),
    _B.CONCATENATION: _concatenation,
    _B.PAD: _pad,
    _B.PADV2: _pad,
    _B.RESHAPE: _reshape,
    _B.SQUEEZE: _reshape,
    _B.EXPAND_DIMS: _reshape,
    _B.SOFTMAX: _softmax,
    _B.LOGISTIC: _unary(Op.LOGISTIC),
    _B.TANH: _unary(Op.TANH),
    _B.RELU: _unary(Op.RELU, RELU),
    _B.RELU6: _unary(Op.RELU6, RELU6),
    _B.QUANTIZE: _unary(Op.QUANTIZE),
    _B.DEQUANTIZE: _unary(Op.QUANTIZE),
}
