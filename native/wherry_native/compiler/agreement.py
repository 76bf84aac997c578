"""How far the int8 program is from the float graph, measured, per layer and at the outputs.

The program runs in the engine itself, once more with every activation as an output (its own arena
plan, the same nodes); the float graph runs in reference.py. Nothing here is estimated.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wherry_native.compiler.calibration import program_input
from wherry_native.compiler.ir import Array, Graph, Tensor
from wherry_native.compiler.lower import lower
from wherry_native.compiler.plan import plan
from wherry_native.compiler.reference import Floats, run_float
from wherry_native.compiler.report import Agreement, LayerError
from wherry_native.compiler.sensitivity import value_outputs
from wherry_native.engine import Program
from wherry_native.program import Kind, ProgramDescription, Rounding, write_program


def measured(
    float_graph: Graph,
    int8_graph: Graph,
    samples: Sequence[Mapping[str, Floats]],
    rounding: Rounding = Rounding.D,
) -> tuple[Agreement, tuple[LayerError, ...]]:
    """Agreement at the outputs and error per node of the program whose int8 layers round by
    `rounding`. Both graphs have the same activations by name, but for conversions that only the
    int8 graph has."""
    description = observed(lower(int8_graph, rounding))
    program = Program(write_program(description))
    layers = {node.output: _Errors() for node in float_graph.nodes}
    outputs, values = _Errors(), _Errors()
    first, with_values = float_graph.answers[0], value_outputs(float_graph)
    same_argmax = 0
    for sample in samples:
        wanted = run_float(float_graph, sample)
        found = _run_int8(program, description, int8_graph, sample)
        for name, errors in layers.items():
            errors.add(wanted[name], found[name])
        for name in float_graph.answers:
            outputs.add(wanted[name], found[name])
            if name in with_values:
                values.add(wanted[name], found[name])
        same_argmax += _have_same_answer(wanted[first], found[first], first in with_values)
    has_argmax = float_graph.tensors[first].element_count > 1 or first not in with_values
    agreement = Agreement(
        sample_count=len(samples),
        argmax_fraction=same_argmax / len(samples) if has_argmax else None,
        max_abs_error=outputs.largest,
        mean_abs_error=outputs.total / max(outputs.count, 1),
        sqnr_db=values.sqnr_db,
    )
    return agreement, tuple(
        layers[node.output].layer(node.name, node.op.name) for node in float_graph.nodes
    )


def _have_same_answer(wanted: Array, found: Array, is_value: bool) -> bool:
    """The same largest element, or the same positions."""
    if is_value:
        return bool(np.argmax(wanted) == np.argmax(found))
    return bool(np.array_equal(wanted.reshape(-1), found.reshape(-1)))


def observed(program: ProgramDescription) -> ProgramDescription:
    """The same program with every activation as an output, in their order, planned anew."""
    outputs = tuple(
        index
        for index, tensor in enumerate(program.tensors)
        if tensor.kind is Kind.ARENA and index not in program.inputs
    )
    return plan(replace(program, outputs=outputs))


def dequantized(graph: Graph) -> Graph:
    """The float graph of an int8 graph: the same nodes, constants in real units."""
    tensors = {name: _as_float(tensor) for name, tensor in graph.tensors.items()}
    for node in graph.nodes:
        if len(node.inputs) == 3 and (graph.tensors[node.inputs[2]].dtype in ("int32", "int64")):
            bias, x, weights = (graph.tensors[node.inputs[i]] for i in (2, 0, 1))
            if bias.data is not None and x.quantization and weights.quantization:
                scales = np.asarray(weights.quantization.scales) * x.quantization.scale
                real = (bias.data * scales).astype(np.float32)
                tensors[bias.name] = replace(tensors[bias.name], data=real)
    return replace(graph, tensors=tensors)


def _as_float(tensor: Tensor) -> Tensor:
    data = None if tensor.data is None else tensor.real_data
    return replace(tensor, dtype="float32", quantization=None, data=data)


@dataclass(slots=True)
class _Errors:
    """Sums over all elements and samples of one tensor."""

    signal: float = 0.0
    noise: float = 0.0
    total: float = 0.0
    largest: float = 0.0
    count: int = 0

    def add(self, wanted: Array, found: Array) -> None:
        exact = wanted.astype(np.float64).reshape(-1)
        error = np.abs(exact - found.reshape(-1))
        self.signal += float(exact @ exact)
        self.noise += float(error @ error)
        self.total += float(error.sum())
        self.largest = max(self.largest, float(error.max(initial=0.0)))
        self.count += error.size

    @property
    def sqnr_db(self) -> float | None:
        is_measurable = self.noise > 0 and self.signal > 0
        return 10 * math.log10(self.signal / self.noise) if is_measurable else None

    def layer(self, node: str, op: str) -> LayerError:
        return LayerError(
            node,
            op,
            sqnr_db=self.sqnr_db,
            relative_rms=math.sqrt(self.noise / self.signal) if self.signal > 0 else 0.0,
            max_abs_error=self.largest,
        )


def _run_int8(
    program: Program,
    description: ProgramDescription,
    graph: Graph,
    sample: Mapping[str, Floats],
) -> dict[str, Array]:
    """Every activation in real units."""
    return dict(_real_values(description, program.run(program_input(graph, sample))))


def _real_values(description: ProgramDescription, data: bytes) -> Iterator[tuple[str, Array]]:
    position = 0
    for index in description.outputs:
        tensor = description.tensors[index]
        dtype = np.dtype(f"<i{tensor.dtype.size_bytes}")
        count = tensor.size_bytes // dtype.itemsize
        codes = np.frombuffer(data, dtype, count, position).astype(np.float64)
        # Positions (ARG_MAX) have no scale: they are what they say.
        yield tensor.name, (codes - tensor.zero_point) * (tensor.scale or 1.0)
        position += tensor.size_bytes
