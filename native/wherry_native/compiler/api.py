"""From a model file to a program: the one function that everybody else calls.

`compile_model` reads the file, and the calibration samples where there are any; everything behind
it is pure.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from wherry_native.compiler.errors import CompileError
from wherry_native.compiler.int8_rules import without_shell
from wherry_native.compiler.ir import Graph
from wherry_native.compiler.lower import lower
from wherry_native.compiler.plan import plan
from wherry_native.compiler.report import Report
from wherry_native.compiler.tflite_reader import read_tflite
from wherry_native.program import (
    Piece,
    ProgramDescription,
    ProgramFormatError,
    Tensor,
    read_pieces,
    write_program,
)


@dataclass(frozen=True, slots=True)
class CompiledModel:
    """A program and what it was made of. `image` is the concatenation of `pieces`; `inputs` and
    `outputs` are the contract: name, shape, dtype, scale (real units per step), zero point."""

    image: bytes
    pieces: tuple[Piece, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    report: Report


def compile_model(
    path: Path | str, *, calibration: Path | str | None = None, name: str | None = None
) -> CompiledModel:
    """The program of a TFLite int8 or float ONNX file.

    `calibration` is a .npy array (first axis the sample) or a .npz with one array per input; a
    float model needs it. `name` is the program's name, by default the file's without suffix.
    Raises CompileError when the file cannot be compiled, OSError when it cannot be read.
    """
    path = Path(path)
    data = path.read_bytes()
    del calibration
    return _compile_tflite(data, name or path.stem)


def _compile_tflite(data: bytes, name: str) -> CompiledModel:
    graph = without_shell(read_tflite(data, name))
    return finish(graph, plan(lower(graph)), "TFLite int8")


def finish(graph: Graph, program: ProgramDescription, source: str) -> CompiledModel:
    """The compiled model of a planned program."""
    try:
        image = write_program(program)
        pieces = read_pieces(image)
    except ProgramFormatError as error:
        raise CompileError(str(error)) from error
    report = Report(
        name=program.name,
        source=source,
        operators=dict(sorted(Counter(node.op.name for node in program.nodes).items())),
        macs=program.macs,
        arena_bytes=program.arena_bytes,
        image_bytes=len(image),
        piece_count=len(pieces),
        notes=graph.notes,
    )
    return CompiledModel(
        image,
        pieces,
        tuple(program.tensors[index] for index in program.inputs),
        tuple(program.tensors[index] for index in program.outputs),
        report,
    )
