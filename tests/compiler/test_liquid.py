"""Liquid networks as `ncps` and PyTorch export them: integers stay with float for 10,000 steps.

The float side is ONNX Runtime's (examples/liquid/expected.npz), computed once by the training
script.
"""

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from wherry_native.compiler import CompiledModel, CompileError, Quantizing, compile_model
from wherry_native.compiler.calibration import samples_of
from wherry_native.compiler.onnx_reader import read_onnx
from wherry_native.compiler.reference import run_float
from wherry_native.engine import Program
from wherry_native.program import DType, Kind, Op, read_program

from tests.compiler.onnx_models import ModelWriter

FOLDER = Path(__file__).parents[2] / "examples" / "liquid"
MEAN_F_MAX = {"cfc-default": 0.12, "cfc-pure": 0.05, "cfc-no-gate": 0.2, "ltc": 0.03}
WORST_F_MAX = 1.5
"""Degrees Fahrenheit, of a series from 45 to 72."""


@cache
def measure() -> ModuleType:
    """examples/liquid/measure.py, as its readers run it."""
    spec = importlib.util.spec_from_file_location("liquid_measure", FOLDER / "measure.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def measured(name: str) -> tuple[CompiledModel, np.ndarray]:
    found: tuple[CompiledModel, np.ndarray] = measure().errors(name)
    return found


@pytest.mark.parametrize("name", MEAN_F_MAX)
def test_the_error_stays_bounded_over_ten_thousand_steps(name: str) -> None:
    _, error = measured(name)
    assert len(error) == 10_000
    windows = np.abs(error).reshape(10, 1000).mean(axis=1)
    assert windows.max() <= MEAN_F_MAX[name]
    assert np.abs(error).max() <= WORST_F_MAX
    # The second year begins at step 8,760: the same hours again, with no more error than before.
    again, before = np.abs(error[8760:]).mean(), np.abs(error[:1240]).mean()
    assert again <= 1.1 * before + 0.001


@pytest.mark.parametrize("name", MEAN_F_MAX)
def test_the_state_is_named_has_sixteen_bits_and_begins_at_zero(name: str) -> None:
    model, _ = measured(name)
    description = read_program(model.image)
    [index] = description.states
    state = description.tensors[index]
    assert (state.name, state.dtype, state.kind) == ("state", DType.INT16, Kind.STATE)
    assert [tensor.name for tensor in model.inputs] == ["temperature"]
    assert [tensor.name for tensor in model.outputs] == ["forecast"]
    program = Program(model.image)
    first, second = program.run(b"\0\x40"), program.run(b"\0\x40")
    assert first != second  # it remembers
    program.reset()
    assert program.run(b"\0\x40") == first


@pytest.mark.parametrize("name", MEAN_F_MAX)
def test_each_table_is_within_two_steps_of_its_function_and_the_report_says_so(name: str) -> None:
    model, _ = measured(name)
    tables = [note for note in model.report.notes if "the table of" in note]
    assert len(tables) == model.report.operators["LOOKUP"]
    for note in tables:
        steps = float(note.partition("at most ")[2].partition(" steps")[0])
        assert steps <= 2, note


def test_ltc_divides_in_fixed_point() -> None:
    model, _ = measured("ltc")
    assert model.report.operators["DIV"] == 6  # one per unfolded step of the solver


def compiled(folder: Path, model: onnx.ModelProto, samples: np.ndarray, **more: object) -> object:
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    np.save(folder / "samples.npy", samples.astype(np.float32))
    return compile_model(
        folder / "m.onnx",
        calibration=folder / "samples.npy",
        **more,  # type: ignore[arg-type]
    )


def wired_cell() -> onnx.ModelProto:
    """What `ncps` wirings add: the state is split into layers; and the functions of `pure`."""
    w = ModelWriter(seed=12)
    sizes = w.constant(np.array([2, 4], np.int64))
    w.nodes.append(onnx.helper.make_node("Split", ["state", sizes], ["a", "b"], "split", axis=1))
    x = w.node("Gemm", w.node("Concat", "x", "a", axis=1), w.weights(5, 2), w.weights(2))
    first = w.node("Exp", w.node("Neg", w.node("Abs", x)))
    y = w.node("Gemm", w.node("Concat", first, "b", axis=1), w.weights(6, 4), w.weights(4))
    second = w.node("Reciprocal", w.node("Add", w.node("Softplus", y), w.constant(np.float32(1))))
    after = w.node("Concat", first, second, axis=1)
    bounds = [w.constant(np.array([value], np.int64)) for value in (1, 6, 1, 2)]
    answer = w.node("Slice", after, *bounds)
    return w.model({"x": [1, 3], "state": [1, 6]}, [answer, after])


def test_splits_slices_and_functions_of_a_wired_cell_agree_with_float(tmp_path: Path) -> None:
    model = wired_cell()
    after = model.graph.output[1].name
    samples = np.random.default_rng(4).normal(0, 1, (60, 3))
    made = compiled(tmp_path, model, samples, states={"state": after})
    assert isinstance(made, CompiledModel)
    assert made.report.agreement is not None
    assert made.report.agreement.max_abs_error < 0.01
    assert {"STRIDED_SLICE", "LOOKUP"} <= made.report.operators.keys()


@pytest.mark.parametrize("length", [4, 6])
def test_what_a_state_becomes_lies_as_the_state_does(length: int) -> None:
    """A square state has the same shape in either order: only its numbers tell."""
    w = ModelWriter(seed=3)
    moved = w.node("MatMul", "state", w.weights(length, length))
    after = w.node("Tanh", w.node("Add", moved, w.node("Conv", "x", w.weights(4, 2, 1))))
    answer = w.node("MaxPool", after, kernel_shape=[2])
    model = w.model({"x": [1, 2, length], "state": [1, 4, length]}, [answer, after])
    graph = read_onnx(model.SerializeToString(), "m", states={"state": after})
    inputs = np.random.default_rng(1).normal(0, 1, (5, 1, 2, length)).astype(np.float32)
    exact, state = ReferenceEvaluator(model), np.zeros((1, 4, length), np.float32)
    for x, sample in zip(inputs, samples_of({"x": inputs}, graph, "inputs"), strict=True):
        wanted, state = exact.run(None, {"x": x, "state": state})
        found = run_float(graph, sample)[answer]
        assert np.allclose(np.moveaxis(found, -1, 1), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ({"memory": "y"}, "state 'memory' must be an input and become an output, here 'y'"),
        ({"x": "gemm0"}, "state 'x' has shape .1, 4., 'gemm0' has .1, 2.; they must be the same"),
    ],
)
def test_a_state_that_is_none_is_refused(
    states: dict[str, str], words: str, tmp_path: Path
) -> None:
    w = ModelWriter()
    model = w.model({"x": [1, 4]}, [w.node("Gemm", "x", w.weights(4, 2))])
    with pytest.raises(CompileError, match=words):
        compiled(tmp_path, model, np.zeros((3, 4)), states=states)


def test_layers_kept_in_sixteen_bits_make_the_error_small_and_the_rest_stays_int8(
    tmp_path: Path,
) -> None:
    w = ModelWriter(seed=6)
    x = w.node("Gemm", "x", w.weights(12, 10), w.weights(10))
    y = w.node("Gemm", w.node("Tanh", x), w.weights(10, 3))
    model = w.model({"x": [1, 12]}, [y])
    samples = np.random.default_rng(2).normal(0, 1, (30, 12))
    errors = {}
    for wide in ((), ("tanh1", "gemm2"), ("all",)):
        made = compiled(tmp_path, model, samples, quantizing=Quantizing(wide=frozenset(wide)))
        assert isinstance(made, CompiledModel)
        assert made.report.agreement is not None
        errors[wide] = made.report.agreement.mean_abs_error
        nodes = read_program(made.image).nodes
        assert any(node.op is Op.QUANTIZE for node in nodes) == (len(wide) == 2)
    assert errors[("all",)] < 0.6 * errors[()]  # weights keep 8 bits
    assert errors[("tanh1", "gemm2")] < errors[()]
    with pytest.raises(CompileError, match="has no layer 'gemm9' to keep in 16 bits"):
        compiled(tmp_path, model, samples, quantizing=Quantizing(wide=frozenset({"gemm9"})))
