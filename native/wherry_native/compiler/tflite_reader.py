"""TFLite int8 files as int8 graphs.

Rules, in order:
1. A file is read whole, and its version and identifier are checked.
2. Unsupported operators are all named at once, before anything else is complained about.
3. A float or uint8 shell around the int8 graph (QUANTIZE first, DEQUANTIZE or QUANTIZE last) is
   left out: the program speaks int8, its scales are the contract.
4. A damaged file gives a CompileError and nothing else; flatbuffers' own errors are translated.

Source: TFLite schema version 3 (PyPI `tflite`).
"""

import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
import tflite  # type: ignore[import-untyped]

from wherry_native.compiler.errors import AXES_ADVICE, CompileError
from wherry_native.compiler.ir import Graph, Node, Quantization, Shape, Tensor, pruned
from wherry_native.compiler.shapes import ELEMENTS_MAX
from wherry_native.compiler.tflite_call import Call
from wherry_native.compiler.tflite_operators import BUILDERS, SHAPE_ONLY
from wherry_native.program import NODES_MAX, RANK_MAX, TENSORS_MAX

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
_TYPE_NAMES: Final = {
    value: name for name, value in vars(tflite.TensorType).items() if isinstance(value, int)
}
_OPERATOR_NAMES: Final = {
    value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)
}


def says_tflite(data: bytes, path: Path) -> bool:
    """Whether a file says that it is a TFLite model, by its identifier or its name."""
    return data[4:8] == IDENTIFIER or path.suffix == ".tflite"


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
    tensors = {
        names[i]: _tensor(model, subgraph.Tensors(i), names[i])
        for i in _used_tensors(subgraph, needed, len(names))
    }
    nodes: list[Node] = []
    for index in needed:
        call = _call(subgraph.Operators(index), codes[index], index, names, tensors)
        built = BUILDERS[codes[index]](call)
        nodes += [built] if isinstance(built, Node) else built
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
        wanted.update(operands[:1] if codes[index] in SHAPE_ONLY else operands)
        needed.append(index)
    return needed[::-1]


def _used_tensors(subgraph: Any, needed: list[int], count: int) -> list[int]:
    used = {*_indices(subgraph.InputsAsNumpy()), *_indices(subgraph.OutputsAsNumpy())}
    for index in needed:
        operator = subgraph.Operators(index)
        used.update(_indices(operator.InputsAsNumpy()), _indices(operator.OutputsAsNumpy()))
    return sorted(index for index in used if 0 <= index < count)


def _indices(vector: Any) -> list[int]:
    return [] if isinstance(vector, int) else list(vector.tolist())  # 0 is an absent vector


def _check_operators(
    model: Any, subgraph: Any, codes: list[int], needed: list[int], names: list[str]
) -> None:
    problems = []
    for index in needed:
        if codes[index] in BUILDERS:
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


def _call(
    operator: Any, code: int, index: int, names: list[str], tensors: dict[str, Tensor]
) -> Call:
    outputs = _names_of(operator.OutputsAsNumpy(), names, f"node {index}")
    is_split = code in (tflite.BuiltinOperator.SPLIT, tflite.BuiltinOperator.SPLIT_V)
    if not all(outputs) or not outputs or (len(outputs) > 1 and not is_split):
        raise CompileError(f"node {index} has {len(outputs)} outputs, must have 1")
    inputs = _names_of(operator.InputsAsNumpy(), names, f"node {index}")
    return Call(operator, outputs[0], inputs, outputs[0], tensors, outputs[1:])


def _tensor(model: Any, record: Any, name: str) -> Tensor:
    dtype = _DTYPES.get(record.Type())
    if dtype is None:
        type_name = _TYPE_NAMES.get(record.Type(), record.Type())
        raise CompileError(f"tensor {name!r} has element type {type_name}, not supported")
    if record.IsVariable():
        raise CompileError(f"tensor {name!r} is a variable; state is not supported in TFLite files")
    shape = _shape(record, name)
    return Tensor(
        name, shape, dtype, _quantization(record, shape, name),
        _data(model, record, shape, dtype, name),
    )  # fmt: skip


def _shape(record: Any, name: str) -> Shape:
    if record.ShapeLength() > RANK_MAX:
        raise CompileError(
            f"tensor {name!r} has {record.ShapeLength()} axes of at most {RANK_MAX}; {AXES_ADVICE}"
        )
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
