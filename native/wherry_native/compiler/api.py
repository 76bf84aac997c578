"""From a model file to a program: the one function that everybody else calls.

`compile_model` reads the file, and the calibration samples where there are any; everything behind
it is pure.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from wherry_native.compiler.agreement import dequantized, measured
from wherry_native.compiler.bias_correction import bias_corrected
from wherry_native.compiler.calibration import Samples, coarse_inputs, program_input, read_samples
from wherry_native.compiler.equalize import equalized
from wherry_native.compiler.errors import CompileError
from wherry_native.compiler.fold import folded
from wherry_native.compiler.int8_rules import without_shell
from wherry_native.compiler.ir import Graph
from wherry_native.compiler.lower import lower
from wherry_native.compiler.onnx_reader import read_onnx
from wherry_native.compiler.plan import plan
from wherry_native.compiler.quantize import EVERYTHING, is_prescribed, quantized
from wherry_native.compiler.ranges import Method, Range, observed_ranges
from wherry_native.compiler.report import Advice, Agreement, Report
from wherry_native.compiler.sensitivity import SQNR_ENOUGH_DB, Costs, costs, proposal
from wherry_native.compiler.table_errors import table_notes
from wherry_native.compiler.tflite_reader import read_tflite, says_tflite
from wherry_native.program import (
    Piece,
    ProgramFormatError,
    Rounding,
    Tensor,
    read_pieces,
    write_program,
)

GAIN_MIN_DB: Final = 3.0
"""Advice that gains less is not given."""


@dataclass(frozen=True, slots=True)
class CompiledModel:
    """A program and what it was made of. `image` is the concatenation of `pieces`; `inputs` and
    `outputs` are the contract: name, shape, dtype, scale (real units per step), zero point.
    `sample_inputs` are the calibration samples as the program takes them, one `bytes` per sample
    with all inputs one after another; empty without calibration."""

    image: bytes
    pieces: tuple[Piece, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    report: Report
    sample_inputs: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Quantizing:
    """How a float model is quantized. `percentile` counts for that method only; `wide` names the
    layers of 16-bit activations, or is {"all"}. A model with states is wide altogether."""

    method: Method = Method.MIN_MAX
    percentile: float = 99.99
    is_equalized: bool = False
    is_bias_corrected: bool = False
    wide: frozenset[str] = frozenset()


def compile_model(
    path: Path | str,
    *,
    calibration: Path | str | None = None,
    name: str | None = None,
    quantizing: Quantizing | None = None,
    rounding: Rounding = Rounding.D,
    states: Mapping[str, str] | None = None,
) -> CompiledModel:
    """The program of a TFLite int8, ONNX QDQ or float ONNX file.

    `calibration` is a .npy array (first axis the sample) or a .npz with one array per input; a
    float model needs it, for an int8 or QDQ model it only feeds the report. `name` is the
    program's name, by default the file's without suffix. `quantizing` is for what the file leaves
    in float. `rounding` is the rule of int8 layers: D, or F to give what XNNPACK gives. `states`
    has, per input that is the model's memory, the output that it becomes; the samples are then
    steps in their order. The same files give the same bytes. Raises CompileError when they cannot
    be compiled, OSError when they cannot be read.
    """
    path = Path(path)
    data = path.read_bytes()
    name = (name or path.stem).encode(errors="replace").decode().replace("\0", "")
    samples = None if calibration is None else Path(calibration)
    if says_tflite(data, path):
        if states:
            raise CompileError(f"{name} is a TFLite file: states are read from ONNX files only")
        if quantizing is not None:
            raise CompileError(
                f"{name} is int8 already: nothing is left to quantize in another way"
            )
        return _compile_tflite(data, name, samples, rounding)
    graph = folded(read_onnx(data, name, path.parent, states or {}))
    return _compile_onnx(graph, samples, quantizing or Quantizing(), rounding)


def _compile_tflite(
    data: bytes, name: str, calibration: Path | None, rounding: Rounding
) -> CompiledModel:
    graph = without_shell(read_tflite(data, name))
    model = _finished(graph, "TFLite int8", rounding)
    if calibration is None:
        return model
    return _measured(model, dequantized(graph), graph, read_samples(calibration, graph), rounding)


def _compile_onnx(
    graph: Graph, calibration: Path | None, how: Quantizing, rounding: Rounding
) -> CompiledModel:
    source = "ONNX QDQ" if is_prescribed(graph) else "ONNX float"
    if is_prescribed(graph) and (how != Quantizing() or graph.states):
        raise CompileError(
            f"{graph.name} says itself how it is quantized (QDQ): it stays as it is, without "
            "other ranges, equalization, bias correction, layers of 16 bits and states"
        )
    if calibration is None:
        if not is_prescribed(graph):
            raise CompileError(
                f"{graph.name} is a float model: calibration samples are needed to quantize it, "
                "give a .npy or .npz file with representative inputs"
            )
        return _finished(quantized(graph, {}), source, rounding)
    samples = read_samples(calibration, graph)
    if how.is_equalized:
        graph = equalized(graph, samples)
    ranges = observed_ranges(graph, samples, how.method, how.percentile)
    case = _Case(graph, samples, ranges, how, rounding)
    int8_graph = case.quantized()
    notes = (
        *int8_graph.notes,
        *coarse_inputs(int8_graph, samples),
        *table_notes(int8_graph, ranges),
    )
    int8_graph = replace(int8_graph, notes=notes)
    finished = _finished(int8_graph, source, rounding)
    model = _measured(finished, graph, int8_graph, samples, rounding)
    return _with_costs(model, case, int8_graph)


@dataclass(frozen=True, slots=True)
class _Case:
    """A float model to be quantized, and how."""

    graph: Graph
    samples: Samples
    ranges: Mapping[str, Range]
    how: Quantizing
    rounding: Rounding

    @property
    def wide(self) -> frozenset[str]:
        return frozenset({EVERYTHING}) if self.graph.states else self.how.wide

    def quantized(self, more: Iterable[str] = ()) -> Graph:
        """The graph of integers, with `more` layers in 16 bits than were asked for."""
        int8_graph = quantized(self.graph, self.ranges, self.wide.union(more))
        if self.how.is_bias_corrected:
            return bias_corrected(self.graph, int8_graph, self.samples)
        return int8_graph


def _with_costs(model: CompiledModel, case: _Case, int8_graph: Graph) -> CompiledModel:
    """The model whose report says what each layer costs, and what to do about it."""
    found = costs(case.graph, int8_graph, case.samples)
    total = sum(cost.total for cost in found.values()) or math.inf
    layers = tuple(
        replace(
            layer,
            noise_share=found[layer.node].total / total,
            weights_share=found[layer.node].weights / total,
        )
        for layer in model.report.layers
    )
    advice = _advice(model.report.agreement, case, found)
    return replace(model, report=replace(model.report, layers=layers, advice=advice))


def _advice(agreement: Agreement | None, case: _Case, found: Costs) -> Advice | None:
    """Layers to keep in 16 bits, with the gain as measured; None where there is none to speak of,
    or the model cannot be told so (QDQ)."""
    sqnr_db = agreement.sqnr_db if agreement else None
    if sqnr_db is None or sqnr_db >= SQNR_ENOUGH_DB or is_prescribed(case.graph):
        return None
    layers = () if EVERYTHING in case.wide else proposal(case.graph, found, case.wide)
    if not layers:
        return None
    try:
        told = measured(case.graph, case.quantized(layers), case.samples, case.rounding)
    except CompileError:  # a scale that fits 8 bits and not 16: then there is nothing to advise
        return None
    then_db = told[0].sqnr_db
    if then_db is None or then_db < sqnr_db + GAIN_MIN_DB:
        return None
    return Advice(layers, sqnr_db, then_db)


def _measured(
    model: CompiledModel, float_graph: Graph, graph: Graph, samples: Samples, rounding: Rounding
) -> CompiledModel:
    agreement, layers = measured(float_graph, graph, samples, rounding)
    return replace(
        model,
        report=replace(model.report, agreement=agreement, layers=layers),
        sample_inputs=tuple(program_input(graph, sample) for sample in samples),
    )


def _finished(graph: Graph, source: str, rounding: Rounding) -> CompiledModel:
    """The compiled model of an int8 graph."""
    program = plan(lower(graph, rounding))
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
