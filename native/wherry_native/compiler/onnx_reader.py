"""ONNX files, float or QDQ, as float graphs, channels last.

Rules, in order:
1. A file is parsed and checked; external data and unknown domains are refused.
2. Outputs that are neither float nor 8-bit tensors (a classifier's label) are left out and named
   in a note; what only they need is not looked at. Where there are no others, integers are taken:
   positions that an ArgMax gives.
3. Nodes that have only constant operands are computed here, once.
4. Every node that cannot be imported is named, all at once.
5. An image input is N, H, W, C in the program where the file has N, C, H, W, if that makes the
   import possible without moving bytes; otherwise as in the file. Where bytes have to be moved
   either way, the one that moves fewer. `source_axes` and a note say so.

Source: ONNX IR and operator specifications.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper
from onnx.external_data_helper import load_external_data_for_tensor
from onnx.reference import ReferenceEvaluator

from wherry_native.compiler.errors import AXES_ADVICE, CompileError
from wherry_native.compiler.ir import Array, Graph, Shape, pruned
from wherry_native.compiler.onnx_call import Call
from wherry_native.compiler.onnx_operators import OPERATORS
from wherry_native.compiler.onnx_values import (
    ELEMENTS_MAX,
    ArrangementError,
    Builder,
    Codes,
    UnsupportedError,
    Value,
    View,
    channels_last,
    is_arranged,
)
from wherry_native.program import NODES_MAX, RANK_MAX, Op

OPSET_MIN: Final = 7
FOLDED: Final = (
    "Abs", "Add", "Cast", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Exp", "Expand",
    "Floor", "Gather", "Identity", "Mul", "Neg", "QuantizeLinear", "Range", "ReduceProd", "Reshape",
    "Shape", "Slice", "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
)  # fmt: skip
"""Operators that are computed here when all operands are constants."""

DAMAGED: Final = (
    TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError, FloatingPointError,
    ValueError,
)  # fmt: skip
"""What a node with attributes or constants of the wrong kind makes Python and numpy raise."""

_FLOATS: Final = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
_POSITIONS: Final = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
_BYTES: Final = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
_DOMAINS: Final = ("", "ai.onnx", "ai.onnx.ml")
_RESULT_POSITIONS: Final = {"LinearClassifier": 1}  # the scores; output 0 is the label
_MOVES: Final = ("Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_LAYOUT_OPERATORS: Final = (
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
    "Resize", "Upsample", "DepthToSpace", "SpaceToDepth",
)  # fmt: skip


def read_onnx(
    data: bytes,
    name: str,
    folder: Path | None = None,
    states: Mapping[str, str] = MappingProxyType({}),
) -> Graph:
    """The float graph of an ONNX file. `folder` is where the file lies, for weights that PyTorch
    puts into a file beside it; `states` has inputs that are memory, and the outputs that they
    become. Raises CompileError."""
    return with_states(_read(data, name, folder, states), states)


def with_states(graph: Graph, states: Mapping[str, str]) -> Graph:
    """The graph with these states. Raises CompileError where they are none."""
    for state, after in states.items():
        if state not in graph.inputs or after not in graph.outputs:
            raise CompileError(
                f"state {state!r} must be an input and become an output, here {after!r}; "
                f"{graph.name} has inputs {list(graph.inputs)} and outputs {list(graph.outputs)}"
            )
        if graph.tensors[state].shape != graph.tensors[after].shape:
            raise CompileError(
                f"state {state!r} has shape {list(graph.tensors[state].shape)}, {after!r} has "
                f"{list(graph.tensors[after].shape)}; they must be the same"
            )
    if states and set(states) == set(graph.inputs):
        raise CompileError(f"{graph.name} has no input beside its states")
    return replace(graph, states=dict(states))


def _read(data: bytes, name: str, folder: Path | None, states: Mapping[str, str]) -> Graph:
    model = _parsed(data, name)
    _load_external(model, name, folder)
    opset = _opset(model, name)
    outputs, notes = _float_outputs(model.graph, name)
    nodes = _needed_nodes(model.graph, outputs)
    _check_operators(nodes)
    is_image = any(node.op_type in _LAYOUT_OPERATORS for node in nodes)
    read = partial(_Import, model.graph, opset, nodes, outputs, states)
    first = read(is_image, may_move=False)
    if not first.problems:
        return first.graph(name, notes)
    if not first.needs_transpose:
        raise CompileError(first.problems)
    second = read(not is_image, may_move=False)
    if not second.problems:
        return second.graph(name, notes)
    moved = [read(layout, may_move=True) for layout in (is_image, not is_image)]
    possible = [attempt for attempt in moved if not attempt.problems]
    if not possible:
        raise CompileError(moved[0].problems)
    return min(possible, key=lambda attempt: attempt.builder.moved_elements).graph(name, notes)


def _parsed(data: bytes, name: str) -> onnx.ModelProto:
    try:
        model = onnx.load_from_string(data)
    except (DecodeError, ValueError) as error:
        raise CompileError(
            f"{name} is neither a TFLite file (bytes 4 to 8 are not TFL3) nor an ONNX file (its "
            "protobuf cannot be parsed)"
        ) from error
    if not model.graph.node:
        raise CompileError(f"{name} is no ONNX model: it has no nodes")
    if len(model.graph.node) > NODES_MAX:
        raise CompileError(f"{name} has {len(model.graph.node)} nodes, limit {NODES_MAX}")
    return model


def _load_external(model: onnx.ModelProto, name: str, folder: Path | None) -> None:
    """Reads weights from files beside the model; onnx refuses paths that leave the folder."""
    for tensor in model.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        if folder is None:
            raise CompileError(f"{name} keeps {tensor.name!r} in a file beside it, not given here")
        try:
            load_external_data_for_tensor(tensor, str(folder))
        except (OSError, ValueError, KeyError, onnx.checker.ValidationError) as error:
            where = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
            raise CompileError(
                f"{name} keeps {tensor.name!r} in {where!r} beside it, which cannot be read "
                f"({type(error).__name__})"
            ) from error


def _opset(model: onnx.ModelProto, name: str) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions or versions[0] < OPSET_MIN:
        raise CompileError(f"{name} has opset {versions}, must be at least {OPSET_MIN}")
    return int(versions[0])


def _float_outputs(graph: onnx.GraphProto, name: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Output name → name of the value it stands for, and a note per output left out."""
    maps = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "ZipMap"}
    outputs, notes = {}, []
    for output in graph.output:
        if output.name in maps:
            outputs[output.name] = maps[output.name]
        elif output.type.tensor_type.elem_type in (*_FLOATS, *_BYTES):
            outputs[output.name] = output.name
        else:
            notes.append(f"output {output.name!r} of the file is no float tensor and was left out")
        if output.type.tensor_type.elem_type == onnx.TensorProto.UINT8:
            notes.append(_byte_note("output", output.name))
    if outputs:
        return outputs, tuple(notes)
    positions = {
        output.name: output.name
        for output in graph.output
        if output.type.tensor_type.elem_type in _POSITIONS
    }
    if not positions:
        raise CompileError(f"{name} has no output of floats or of positions")
    return positions, tuple(f"output {name!r} is int32 in the program" for name in positions)


def _needed_nodes(graph: onnx.GraphProto, outputs: Mapping[str, str]) -> list[onnx.NodeProto]:
    needed = set(outputs.values())
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    return nodes[::-1]


def _label(node: onnx.NodeProto) -> str:
    return node.name or (node.output[0] if node.output else node.op_type)


def _check_operators(nodes: Sequence[onnx.NodeProto]) -> None:
    problems = [
        f"node {_label(node)!r}: operator "
        f"{f'{node.domain}.' if node.domain else ''}{node.op_type} is not supported"
        for node in nodes
        if node.domain not in _DOMAINS or node.op_type not in (*OPERATORS, *FOLDED)
    ]
    if problems:
        raise CompileError(problems)


class _Import:
    """One pass over the nodes with one choice of input layout."""

    def __init__(
        self,
        graph: onnx.GraphProto,
        opset: int,
        nodes: Sequence[onnx.NodeProto],
        outputs: Mapping[str, str],
        states: Mapping[str, str],
        is_image: bool,
        *,
        may_move: bool,
    ) -> None:
        self.builder = Builder(may_move=may_move)
        self.opset = opset
        self.problems: list[str] = []
        self.needs_transpose = False
        self.values: dict[str, Value] = {}
        self.source_axes: dict[str, tuple[int, ...]] = {}
        self.notes: list[str] = []
        self.states = {after: state for state, after in states.items()}
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        for tensor in graph.initializer:
            self.values[tensor.name] = _array(tensor)
        for entry in graph.input:
            if entry.name not in self.values:
                self._add_input(entry, is_image)
        self._add_all(nodes)
        if not self.problems:
            self._add_outputs(outputs)

    def graph(self, name: str, notes: tuple[str, ...]) -> Graph:
        """The finished graph, where there were no problems."""
        if self.builder.moved_elements:
            self.notes.append(
                f"moves {self.builder.moved_elements} elements in every inference (TRANSPOSE): the "
                "file's operators need them in different orders"
            )
        return pruned(
            Graph(
                name, self.builder.tensors, tuple(self.builder.nodes), tuple(self.inputs),
                tuple(self.outputs), (*notes, *self.notes), self.source_axes,
            )
        )  # fmt: skip

    def _add_all(self, nodes: Sequence[onnx.NodeProto]) -> None:
        """Imports what can be imported; what reads a failed node's output is left out silently."""
        missing: set[str] = set()
        for node in nodes:
            if missing.intersection(node.input):
                missing.update(node.output)
                continue
            try:
                with np.errstate(over="raise", invalid="raise", divide="raise"):
                    self._add_node(node)
            except UnsupportedError as error:
                self.needs_transpose |= isinstance(error, ArrangementError)
                self.problems.append(f"node {_label(node)!r} ({node.op_type}): {error}")
                missing.update(node.output)
            except DAMAGED as error:
                self.problems.append(
                    f"node {_label(node)!r} ({node.op_type}): an attribute or a constant is "
                    f"damaged ({type(error).__name__})"
                )
                missing.update(node.output)

    def _add_input(self, entry: onnx.ValueInfoProto, is_image: bool) -> None:
        shape = _input_shape(entry)
        axes = channels_last(len(shape)) if is_image else tuple(range(len(shape)))
        self.values[entry.name] = self.builder.add_input(entry.name, shape, axes)
        self.inputs.append(entry.name)
        if entry.type.tensor_type.elem_type == onnx.TensorProto.UINT8:
            self.notes.append(_byte_note("input", entry.name))
        if axes != tuple(range(len(shape))):
            self.source_axes[entry.name] = axes
            self.notes.append(_layout_note("input", entry.name, shape, axes))

    def _add_node(self, node: onnx.NodeProto) -> None:
        operands = tuple(self._operand(name) for name in node.input)
        if node.op_type in FOLDED and not any(isinstance(value, View) for value in operands):
            self._fold(node)
            return
        if node.op_type not in OPERATORS:
            raise UnsupportedError("is supported for constants only")
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        call = Call(self.builder, self.opset, _label(node), operands, attributes, len(node.output))
        position = _RESULT_POSITIONS.get(node.op_type, 0)
        result = OPERATORS[node.op_type](call)
        results = result if isinstance(result, tuple) else (result,)
        self.values.update(zip(node.output[position:], results, strict=False))

    def _operand(self, name: str) -> Value | None:
        if not name:
            return None
        if name not in self.values:
            raise UnsupportedError(f"operand {name!r} is written by no node before it")
        return self.values[name]

    def _fold(self, node: onnx.NodeProto) -> None:
        feeds = {name: self.values[name] for name in node.input if name}
        codes = feeds.get(node.input[0]) if node.input else None
        if isinstance(codes, Codes) and node.op_type in _MOVES:
            self.values[node.output[0]] = self._moved(node, codes, feeds)
            return
        results = self._computed(node, {name: _plain(value) for name, value in feeds.items()})
        self.values.update(zip(node.output, results, strict=False))

    def _moved(self, node: onnx.NodeProto, codes: Codes, feeds: Mapping[str, Value]) -> Value:
        """Codes that stay codes where only their places change."""
        quantization = codes.quantization
        if len(quantization.scales) > 1 and node.op_type == "Transpose":
            order = [list(a.ints) for a in node.attribute if a.name == "perm"]
            axes = order[0] if order else list(range(codes.data.ndim))[::-1]
            quantization = replace(quantization, axis=axes.index(quantization.axis))
        elif len(quantization.scales) > 1 and node.op_type != "Identity":
            return self._computed(node, {name: _plain(value) for name, value in feeds.items()})[0]
        return Codes(self._computed(node, {**feeds, node.input[0]: codes.data})[0], quantization)

    def _computed(self, node: onnx.NodeProto, feeds: Mapping[str, Value]) -> list[Array]:
        try:
            evaluator = ReferenceEvaluator(node, opsets={"": self.opset})
            results = evaluator.run(None, dict(feeds))
        except Exception as error:  # the evaluator raises whatever numpy or a bad attribute raises
            raise UnsupportedError(f"cannot be computed ({type(error).__name__})") from error
        return [np.asarray(result) for result in results]

    def _add_outputs(self, outputs: Mapping[str, str]) -> None:
        for wanted, source in outputs.items():
            try:
                self.outputs.append(self._output(wanted, source))
            except UnsupportedError as error:
                self.needs_transpose |= isinstance(error, ArrangementError)
                self.problems.append(f"output {wanted!r}: {error}")

    def _output(self, wanted: str, source: str) -> str:
        """The output under the file's name. Raises UnsupportedError when it cannot be had."""
        value = self.values.get(source)
        if not isinstance(value, View) or wanted in self.inputs:
            raise UnsupportedError("is not computed from any input")
        # Another output may have given its name to the tensor.
        value = replace(value, tensor=self.builder.renamed.get(value.tensor, value.tensor))
        possible = self._orders(wanted, len(value.shape))
        axes = next((axes for axes in possible if is_arranged(value, axes)), possible[0])
        is_there = is_arranged(value, axes)
        tensor = value.tensor if is_there else self.builder.arranged(value, axes)
        if axes != tuple(range(len(axes))):
            self.notes.append(_layout_note("output", wanted, value.shape, axes))
        self._name_output(tensor, wanted, tuple(value.shape[axis] for axis in axes))
        return wanted

    def _orders(self, wanted: str, rank: int) -> tuple[tuple[int, ...], ...]:
        """In which orders an output may lie; what a state becomes lies as the state does."""
        in_file = tuple(range(rank))
        if self.states.get(wanted) in self.inputs:
            axes = self.source_axes.get(self.states[wanted], in_file)
            return (axes,) if len(axes) == rank else (in_file,)
        return in_file, channels_last(rank)

    def _name_output(self, tensor: str, wanted: str, shape: Shape) -> None:
        """Renames a tensor, or a RESHAPE of it where the tensor itself must stay. Positions, which
        nothing reshapes, keep the shape that they are found in."""
        is_taken = tensor in self.inputs or tensor in self.outputs
        had = self.builder.tensors[tensor].shape
        if self.builder.is_position(tensor) and not is_taken and had != shape:
            self.notes.append(
                f"output {wanted!r} has shape {list(had)} in the program (the same bytes)"
            )
        elif is_taken or had != shape:
            tensor = self.builder.add_node(Op.RESHAPE, f"{wanted}/shape", [tensor], shape=shape)
        self.builder.rename(tensor, wanted)


def _plain(value: Value) -> Value:
    return value.real.astype(np.float32) if isinstance(value, Codes) else value


def _array(tensor: onnx.TensorProto) -> np.ndarray[Any, Any]:
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise CompileError(
            f"constant {tensor.name!r} of shape {list(tensor.dims)} cannot be read: its data are "
            "cut short or of an unknown type"
        ) from error


def _input_shape(entry: onnx.ValueInfoProto) -> Shape:
    """The static shape; a free first axis is the sample and becomes 1."""
    kind = entry.type.tensor_type
    if kind.elem_type not in (*_FLOATS, *_BYTES):
        raise CompileError(f"input {entry.name!r} is no float tensor (type {kind.elem_type})")
    shape = [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else -1
        for dim in kind.shape.dim
    ]
    if shape and shape[0] == -1:
        shape[0] = 1
    if len(shape) > RANK_MAX:
        raise CompileError(
            f"input {entry.name!r} has {len(shape)} axes of at most {RANK_MAX}; {AXES_ADVICE}"
        )
    if not shape or -1 in shape or np.prod(shape, dtype=object) > ELEMENTS_MAX:
        named = [d.dim_value or d.dim_param or "?" for d in kind.shape.dim]
        raise CompileError(
            f"input {entry.name!r} has shape {named}; needs 1 to {RANK_MAX} axes, all but the "
            f"first fixed, at most {ELEMENTS_MAX} elements"
        )
    return tuple(shape)


def _byte_note(what: str, name: str) -> str:
    return f"{what} {name!r} is uint8 in the file and int8 in the program: its codes less 128"


def _layout_note(what: str, name: str, shape: Shape, axes: tuple[int, ...]) -> str:
    moved = [axis for axis in axes if shape[axis] != 1]
    is_same = moved == sorted(moved)
    return (
        f"{what} {name!r} has shape {list(shape)} in the file and "
        f"{[shape[axis] for axis in axes]} in the program (channels last"
        f"{', the same bytes' if is_same else ''})"
    )
