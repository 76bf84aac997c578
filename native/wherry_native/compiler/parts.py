"""A program image as files that a person can read, and back, byte for byte.

Rules, in order:
1. `from_parts(to_parts(image)) == image`. An image that could not be restored is refused.
2. Every datum stands in one place: structure in `architecture`, weights, biases and tables in
   `weights` (one file per layer, the constants one after another in the order of `tensors`),
   scales, zero points, multipliers, clamps and rounding in `quantization`, the arena in
   `optimization`.
3. Tensors are referred to by name, or by position where the name is not unique.
4. Unknown keys are refused by name, and every missing key is named, all at once.

`to_parts` gives what the JSON files hold as plain dicts, lists, strings and numbers.
"""

import re
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from wherry_native.compiler.errors import CompileError
from wherry_native.compiler.ir import WEIGHTED
from wherry_native.compiler.strict_json import Table, TableReader
from wherry_native.program import (
    ALIGNMENT,
    ENGINE_ABI,
    ENGINE_ABI_MIN,
    FORMAT_VERSION,
    NUMERIC_PARAMETERS,
    PARAMETERS,
    DType,
    Kind,
    Node,
    Op,
    ProgramDescription,
    ProgramFormatError,
    Rounding,
    Tensor,
    needed_abi,
    read_program,
    write_program,
)

SUFFIX: Final = ".weights"
_LAYER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

Reference = str | int


@dataclass(frozen=True, slots=True)
class Parts:
    """The content of architecture.json, weights/ (file name → bytes), config/quantization.json
    and config/optimization.json."""

    architecture: dict[str, Any]
    weights: dict[str, bytes] = field(repr=False)
    quantization: dict[str, Any]
    optimization: dict[str, Any]


def to_parts(image: bytes) -> Parts:
    """The parts of a program image. Raises CompileError when the image is damaged, or was not
    written in the one way that can be restored."""
    try:
        program = read_program(image)
        if write_program(program) != image:
            raise CompileError("program image is not in its canonical form, it cannot be extracted")
    except ProgramFormatError as error:
        raise CompileError(str(error)) from error
    for tensor in program.tensors:
        if tensor.kind is Kind.CONSTANT and not _LAYER.fullmatch(tensor.piece):
            raise CompileError(f"layer {tensor.piece!r} of the program cannot be a file name")
    references = _references(program.tensors)
    return Parts(
        _architecture(program, references),
        _weights(program),
        _quantization(program, references),
        _optimization(program, references),
    )


def from_parts(parts: Parts) -> bytes:
    """The program image. Raises CompileError with every unknown, missing or ill-typed key."""
    reader = TableReader()
    program = _Assembly(parts, reader).program()
    reader.finish()
    try:
        return write_program(program)
    except ValueError as error:  # a ProgramFormatError, or a name that is no Unicode text
        raise CompileError(str(error)) from error


def _references(tensors: Sequence[Tensor]) -> list[Reference]:
    counts = Counter(tensor.name for tensor in tensors)
    return [t.name if counts[t.name] == 1 else index for index, t in enumerate(tensors)]


def _channel_constants(program: ProgramDescription) -> list[int]:
    """Tensors with one multiplier or shift per channel: they are written as numbers."""
    operands = {i for node in program.nodes if node.op in WEIGHTED for i in node.operands[3:]}
    return [
        i for i in sorted(operands)
        if program.tensors[i].kind is Kind.CONSTANT and program.tensors[i].dtype is DType.INT32
    ]  # fmt: skip


def _architecture(program: ProgramDescription, references: list[Reference]) -> dict[str, Any]:
    return {
        "format": FORMAT_VERSION,
        "engine_abi": needed_abi(program),
        "name": program.name,
        "macs": program.macs,
        "inputs": [references[i] for i in program.inputs],
        "outputs": [references[i] for i in program.outputs],
        "states": [references[i] for i in program.states],
        "tensors": [
            {
                "name": tensor.name,
                "dtype": tensor.dtype.name.lower(),
                "shape": list(tensor.shape),
                "kind": tensor.kind.name.lower(),
                "layer": tensor.piece,
            }
            for tensor in program.tensors
        ],
        "operators": [
            {
                "name": node.name,
                "op": node.op.name,
                "inputs": [references[i] for i in node.operands],
                "output": references[node.output],
                "options": {k: v for k, v in node.params.items() if k not in NUMERIC_PARAMETERS},
            }
            for node in program.nodes
        ],
    }


def _weights(program: ProgramDescription) -> dict[str, bytes]:
    numbers = set(_channel_constants(program))
    files: dict[str, bytes] = {}
    for index, tensor in enumerate(program.tensors):
        if tensor.kind is Kind.CONSTANT:
            data = b"" if index in numbers else tensor.data
            files[tensor.piece + SUFFIX] = files.get(tensor.piece + SUFFIX, b"") + data
    return files


def _quantization(program: ProgramDescription, references: list[Reference]) -> dict[str, Any]:
    return {
        "tensors": [
            {
                "tensor": references[index],
                "scale": tensor.scale,
                "zero_point": tensor.zero_point,
            }
            for index, tensor in enumerate(program.tensors)
            if tensor.scale != 0.0 or tensor.zero_point != 0
        ],
        "channels": [
            {
                "tensor": references[index],
                "values": [v for (v,) in struct.iter_unpack("<i", program.tensors[index].data)],
            }
            for index in _channel_constants(program)
        ],
        "operators": [
            {
                "operator": node.name,
                "rounding": node.rounding.name,
                "parameters": {k: v for k, v in node.params.items() if k in NUMERIC_PARAMETERS},
            }
            for node in program.nodes
        ],
    }


def _optimization(program: ProgramDescription, references: list[Reference]) -> dict[str, Any]:
    return {
        "arena_bytes": program.arena_bytes,
        "alignment_bytes": ALIGNMENT,
        "tensors": [
            {"tensor": references[index], "offset_bytes": tensor.arena_offset}
            for index, tensor in enumerate(program.tensors)
            if tensor.kind is not Kind.CONSTANT
        ],
    }


class _Assembly:
    """Puts a description together from parts; what is wrong is collected by the reader."""

    def __init__(self, parts: Parts, reader: TableReader) -> None:
        self.reader = reader
        self.files = parts.weights
        self.architecture = reader.table(
            parts.architecture, "architecture",
            {"format": int, "engine_abi": int, "name": str, "macs": int, "inputs": list,
             "outputs": list, "states": list, "tensors": list, "operators": list},
        )  # fmt: skip
        self.quantization = reader.table(
            parts.quantization, "quantization",
            {"tensors": list, "channels": list, "operators": list},
        )  # fmt: skip
        self.optimization = reader.table(
            parts.optimization, "optimization",
            {"arena_bytes": int, "alignment_bytes": int, "tensors": list},
        )  # fmt: skip
        reader.finish()
        reader.equal(self.architecture, "architecture", "format", FORMAT_VERSION)
        reader.integers(
            [self.architecture["engine_abi"]], "architecture.engine_abi",
            ENGINE_ABI_MIN, ENGINE_ABI,
        )  # fmt: skip
        reader.equal(self.optimization, "optimization", "alignment_bytes", ALIGNMENT)

    def program(self) -> ProgramDescription:
        records = self._tensor_records()
        positions = self._positions(records)
        nodes = self._nodes(positions)
        self.reader.finish()
        return ProgramDescription(
            name=self.architecture["name"],
            tensors=self._tensors(records, positions),
            nodes=nodes,
            inputs=self._indices(self.architecture["inputs"], "architecture.inputs", positions),
            outputs=self._indices(self.architecture["outputs"], "architecture.outputs", positions),
            states=self._indices(self.architecture["states"], "architecture.states", positions),
            arena_bytes=self.optimization["arena_bytes"],
            macs=self.architecture["macs"],
        )

    def _tensor_records(self) -> list[Table]:
        fields = {"name": str, "dtype": str, "shape": list, "kind": str, "layer": str}
        records = self.reader.tables(self.architecture, "architecture", "tensors", fields)
        for where, record in self.reader.numbered(records, "architecture.tensors"):
            self.reader.member(record["dtype"], where + ".dtype", [d.name.lower() for d in DType])
            self.reader.member(record["kind"], where + ".kind", [k.name.lower() for k in Kind])
            self.reader.integers(record["shape"], where + ".shape")
            is_constant = record["kind"] == Kind.CONSTANT.name.lower()
            if is_constant != bool(_LAYER.fullmatch(record["layer"])):
                self.reader.problem(f"{where}.layer is {record['layer']!r}, wrong for this kind")
        self.reader.finish()
        return records

    @staticmethod
    def _positions(records: Sequence[Table]) -> dict[Reference, int]:
        counts = Counter(record["name"] for record in records)
        named = {r["name"]: i for i, r in enumerate(records) if counts[r["name"]] == 1}
        numbered = {i: i for i, r in enumerate(records) if counts[r["name"]] != 1}
        return {**named, **numbered}

    def _indices(
        self, references: Sequence[Any], where: str, positions: Mapping[Reference, int]
    ) -> tuple[int, ...]:
        result = []
        for reference in references:
            if isinstance(reference, str | int) and reference in positions:
                result.append(positions[reference])
            else:
                self.reader.problem(f"{where} refers to tensor {reference!r}, which is not there")
        return tuple(result)

    def _nodes(self, positions: Mapping[Reference, int]) -> tuple[Node, ...]:
        fields = {"name": str, "op": str, "inputs": list, "output": object, "options": dict}
        records = self.reader.tables(self.architecture, "architecture", "operators", fields)
        numbers = self.reader.tables(
            self.quantization, "quantization", "operators",
            {"operator": str, "rounding": str, "parameters": dict},
        )  # fmt: skip
        names = [record["name"] for record in records]
        if names != [record["operator"] for record in numbers]:
            self.reader.problem(
                "quantization.operators must name the operators of architecture in their order"
            )
        self.reader.finish()
        return tuple(
            self._node(record, number, f"architecture.operators[{index}]", positions)
            for index, (record, number) in enumerate(zip(records, numbers, strict=True))
        )

    def _node(
        self, record: Table, number: Table, where: str, positions: Mapping[Reference, int]
    ) -> Node:
        self.reader.member(record["op"], where + ".op", [op.name for op in Op])
        self.reader.member(number["rounding"], where + ".rounding", [r.name for r in Rounding])
        self.reader.finish()
        op = Op[record["op"]]
        wanted = PARAMETERS[op]
        options = {key: int for key in wanted if key not in NUMERIC_PARAMETERS}
        parameters = {key: int for key in wanted if key in NUMERIC_PARAMETERS}
        at = f"quantization.operators {number['operator']!r}"
        given = {
            **self.reader.table(record["options"], where + ".options", options),
            **self.reader.table(number["parameters"], at + ".parameters", parameters),
        }
        operands = self._indices(record["inputs"], where + ".inputs", positions)
        output = self._indices([record["output"]], where + ".output", positions)
        self.reader.finish()
        return Node(
            op, record["name"], operands, output[0], {key: given[key] for key in wanted},
            Rounding[number["rounding"]],
        )  # fmt: skip

    def _tensors(
        self, records: Sequence[Table], positions: Mapping[Reference, int]
    ) -> tuple[Tensor, ...]:
        scales = self._by_tensor(
            self.quantization, "quantization", "tensors", {"scale": float, "zero_point": int},
            positions,
        )  # fmt: skip
        channels = self._by_tensor(
            self.quantization, "quantization", "channels", {"values": list}, positions
        )
        offsets = self._by_tensor(
            self.optimization, "optimization", "tensors", {"offset_bytes": int}, positions
        )
        tensors = []
        used: dict[str, int] = {}
        for index, record in enumerate(records):
            scale = scales.get(index, {"scale": 0.0, "zero_point": 0})
            is_constant = Kind[record["kind"].upper()] is Kind.CONSTANT
            if is_constant == (index in offsets):
                self.reader.problem(
                    f"optimization.tensors must have every tensor but constants, once: "
                    f"{record['name']!r}"
                )
                continue
            tensor = Tensor(
                record["name"], DType[record["dtype"].upper()], tuple(record["shape"]),
                Kind[record["kind"].upper()], scale["zero_point"], scale["scale"],
                offsets.get(index, {"offset_bytes": 0})["offset_bytes"], b"", record["layer"],
            )  # fmt: skip
            values = channels.get(index)
            tensors.append(self._with_data(tensor, values, used) if is_constant else tensor)
        self._check_files(used)
        self.reader.finish()
        return tuple(tensors)

    def _by_tensor(
        self, table: Table, where: str, key: str, fields: Mapping[str, type],
        positions: Mapping[Reference, int],
    ) -> dict[int, Table]:  # fmt: skip
        """The records of one list by the tensor that they name."""
        result: dict[int, Table] = {}
        for record in self.reader.tables(table, where, key, {"tensor": object, **fields}):
            for index in self._indices([record["tensor"]], f"{where}.{key}", positions):
                if index in result:
                    self.reader.problem(f"{where}.{key} names {record['tensor']!r} twice")
                result[index] = record
        self.reader.finish()
        return result

    def _with_data(self, tensor: Tensor, values: Table | None, used: dict[str, int]) -> Tensor:
        name = tensor.piece + SUFFIX
        start = used.setdefault(name, 0)
        if values is not None:
            where = f"quantization.channels {tensor.name!r}"
            self.reader.integers(values["values"], where, -(2**31), 2**31 - 1)
            self.reader.finish()
            data = struct.pack(f"<{len(values['values'])}i", *values["values"])
            return _replaced(tensor, data)
        if name not in self.files:
            self.reader.problem(f"weights/{name} is missing, constant {tensor.name!r} is in it")
            return tensor
        used[name] = start + tensor.size_bytes
        data = self.files[name][start : used[name]]
        if len(data) != tensor.size_bytes:
            self.reader.problem(
                f"weights/{name} has {len(self.files[name])} bytes, constant {tensor.name!r} ends "
                f"at {used[name]}"
            )
        return _replaced(tensor, data)

    def _check_files(self, used: Mapping[str, int]) -> None:
        for name, data in self.files.items():
            if name not in used:
                self.reader.problem(f"weights/{name} belongs to no layer of architecture")
            elif len(data) > used[name]:
                self.reader.problem(
                    f"weights/{name} has {len(data)} bytes, its constants need {used[name]}"
                )
        for name in used:
            if name not in self.files:
                self.reader.problem(f"weights/{name} is missing")


def _replaced(tensor: Tensor, data: bytes) -> Tensor:
    return Tensor(
        tensor.name, tensor.dtype, tensor.shape, tensor.kind, tensor.zero_point, tensor.scale,
        tensor.arena_offset, data, tensor.piece,
    )  # fmt: skip
