"""Single ONNX operators: in float what ONNX Runtime gives, as a program as near as 8 bits are."""

import subprocess
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from wherry_native.compiler import CompiledModel, CompileError, Quantizing, compile_model
from wherry_native.compiler.fold import folded
from wherry_native.compiler.ir import Graph
from wherry_native.compiler.onnx_reader import read_onnx
from wherry_native.compiler.onnx_values import transposition
from wherry_native.compiler.reference import run_float
from wherry_native.engine import Program
from wherry_native.program import DType, Op

from tests.compiler.onnx_models import NETWORKS, ModelWriter
from tests.compiler.onnx_operators import COMPUTES, MOVES, POSITIONS, conv_transpose, positions_of

ORACLE = Path(__file__).parent / "onnxruntime_oracle.py"
SAMPLE_COUNT = 20
MODELS = MOVES | COMPUTES | POSITIONS
STEPS_MAX = 3.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, oracle_python: Path) -> Path:
    """Every model, samples for it, and what ONNX Runtime gives."""
    made = tmp_path_factory.mktemp("operators")
    random = np.random.default_rng(5)
    for name, build in MODELS.items():
        model = build()
        (made / f"{name}.onnx").write_bytes(model.SerializeToString())
        shapes = {
            e.name: [d.dim_value for d in e.type.tensor_type.shape.dim] for e in model.graph.input
        }
        arrays = {
            key: random.normal(0, 1, (SAMPLE_COUNT, *shape[1:])).astype(np.float32)
            for key, shape in shapes.items()
        }
        np.savez(made / f"{name}.npz", **arrays)
    done = subprocess.run(
        [str(oracle_python), str(ORACLE), str(made), "--float"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return made


def wanted(folder: Path, name: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """ONNX Runtime's outputs in the program's order: the file's shape, or channels last."""
    found = {}
    with np.load(folder / f"{name}.float.npz") as outputs:
        for key, shape in shapes.items():
            value = outputs[key]
            if value.shape[1:] != shape:
                value = np.moveaxis(value, 2, -1)
            assert value.shape[1:] == shape
            found[key] = value
    return found


def float_outputs(folder: Path, name: str, graph: Graph) -> dict[str, np.ndarray]:
    with np.load(folder / f"{name}.npz") as arrays:
        inputs = {
            key: arrays[key][:, None].transpose(
                0,
                1,
                *(axis + 1 for axis in graph.source_axes.get(key, range(arrays[key].ndim))[1:]),
            )
            for key in graph.inputs
        }
    rows = [
        run_float(graph, {key: value[i] for key, value in inputs.items()})
        for i in range(SAMPLE_COUNT)
    ]
    return {key: np.stack([row[key] for row in rows]) for key in graph.outputs}


@pytest.mark.parametrize("name", MODELS)
def test_an_operator_computes_in_float_what_onnxruntime_gives(name: str, folder: Path) -> None:
    content = (folder / f"{name}.onnx").read_bytes()
    for graph in (read_onnx(content, name), folded(read_onnx(content, name))):
        real = wanted(folder, name, {key: graph.tensors[key].shape for key in graph.outputs})
        for key, found in float_outputs(folder, name, graph).items():
            np.testing.assert_allclose(found, real[key], rtol=1e-4, atol=1e-5)


def program_outputs(model: CompiledModel) -> dict[str, np.ndarray]:
    """In real units, for the calibration samples."""
    program, outputs = Program(model.image), {}
    rows = [program.run(sample) for sample in model.sample_inputs]
    begin = 0
    for y in program.outputs:
        parts = [row[begin : begin + y.size_bytes] for row in rows]
        codes = np.stack([np.frombuffer(part, y.dtype).reshape(y.shape) for part in parts])
        outputs[y.name] = (codes.astype(np.float64) - y.zero_point) * (y.scale or 1.0)
        begin += y.size_bytes
    return outputs


def steps_apart(folder: Path, name: str) -> float:
    """The largest distance of the program from ONNX Runtime's float, in steps of the output."""
    model = compile_model(folder / f"{name}.onnx", calibration=folder / f"{name}.npz")
    real = wanted(folder, name, {y.name: y.shape for y in model.outputs})
    scales = {y.name: y.scale for y in model.outputs}
    found = program_outputs(model)
    assert found.keys() == real.keys()
    return max(float(np.abs(found[key] - real[key]).max()) / scales[key] for key in found)


@pytest.mark.parametrize("name", MOVES)
def test_a_program_that_only_moves_is_half_a_step_from_onnxruntime(name: str, folder: Path) -> None:
    assert steps_apart(folder, name) <= 0.501


@pytest.mark.parametrize("name", COMPUTES)
def test_a_program_is_a_few_steps_from_onnxruntime(name: str, folder: Path) -> None:
    assert steps_apart(folder, name) <= STEPS_MAX


@pytest.mark.parametrize("name", [*MOVES, *COMPUTES])
def test_sixteen_bits_bring_an_operator_nearer(name: str, folder: Path) -> None:
    """What the 8 bits of weights leave; what only moves loses next to nothing."""
    model = compile_model(
        folder / f"{name}.onnx",
        calibration=folder / f"{name}.npz",
        quantizing=Quantizing(wide=frozenset({"all"})),
    )
    assert {y.dtype for y in model.outputs} == {DType.INT16}
    assert model.report.agreement is not None
    sqnr_db = model.report.agreement.sqnr_db
    assert sqnr_db is not None
    assert sqnr_db > (80 if name in MOVES else 40)


@pytest.mark.parametrize("name", POSITIONS)
def test_a_program_finds_the_positions_that_onnxruntime_finds(name: str, folder: Path) -> None:
    """Where two elements are a step apart, 8 bits may see the other one first."""
    model = compile_model(folder / f"{name}.onnx", calibration=folder / f"{name}.npz")
    [output] = model.outputs
    found = program_outputs(model)[output.name]
    [real] = wanted(folder, name, {output.name: output.shape}).values()
    assert output.dtype is DType.INT32
    assert (found == real).mean() > 0.95
    assert model.report.agreement is not None
    assert model.report.agreement.mean_abs_error == pytest.approx(np.abs(found - real).mean())


@pytest.mark.parametrize("is_squeezed", [False, True])
def test_positions_whose_one_axis_stands_elsewhere_are_an_output(is_squeezed: bool) -> None:
    w = ModelWriter()
    x = w.node("ArgMax", w.node("Conv", "x", w.weights(6, 4, 1, 1)), axis=1)
    if is_squeezed:
        x = w.node("Squeeze", x, w.constant(np.array([0, 1], np.int64)))
    model = positions_of(w, (1, 4, 6, 5), x)
    graph = read_onnx(model.SerializeToString(), "m")
    image = np.random.default_rng(2).normal(0, 1, (1, 4, 6, 5)).astype(np.float32)
    [wanted] = ReferenceEvaluator(model).run(None, {"x": image})
    found = run_float(graph, {"x": image.transpose(0, 2, 3, 1)})[x]
    assert np.array_equal(found.reshape(-1), wanted.reshape(-1))
    assert f"output {x!r} has shape [1, 6, 5, 1] in the program (the same bytes)" in graph.notes


def test_a_gemm_whose_offset_is_a_column_is_refused() -> None:
    """One offset per row of the input, not per output."""
    w = ModelWriter()
    model = w.model({"x": [3, 4]}, [w.node("Gemm", "x", w.weights(4, 3), w.weights(3, 1))])
    with pytest.raises(CompileError, match=r"operand C has shape \[3, 1\], must be one row"):
        read_onnx(model.SerializeToString(), "m")


def test_a_conv_transpose_that_loses_a_whole_filter_is_refused() -> None:
    content = conv_transpose(size=(1, 2), pads=[1, 0, 1, 0])().SerializeToString()
    with pytest.raises(CompileError, match=r"cut off a whole filter of \[1, 2\]"):
        read_onnx(content, "m")


@pytest.mark.parametrize(
    ("op", "shape", "attributes", "words"),
    [
        ("DepthToSpace", (1, 6, 2, 2), {"blocksize": 2}, "6 channels do not divide into squares"),
        (
            "DepthToSpace",
            (1, 4, 2),
            {"blocksize": 2},
            r"input has shape \[1, 4, 2\], must have rank 4",
        ),
        ("DepthToSpace", (1, 4, 2, 2), {"blocksize": 0}, "blocksize 0 must be at least 1"),
        (
            "DepthToSpace",
            (1, 4, 2, 2),
            {"blocksize": 2, "mode": "RCD"},
            "mode RCD is not supported",
        ),
        ("SpaceToDepth", (1, 4, 3, 2), {"blocksize": 2}, "an image of 3 x 2 does not divide into"),
        (
            "Upsample",
            (1, 4, 2, 2),
            {"mode": "linear", "scales": [1.0, 1, 2, 2]},
            "mode linear is not",
        ),
    ],
)
def test_squares_that_do_not_come_out_even_are_refused(
    op: str, shape: tuple[int, ...], attributes: dict[str, object], words: str
) -> None:
    w = ModelWriter(opset=7)
    model = w.model({"x": shape}, [w.node(op, "x", **attributes)])
    with pytest.raises(CompileError, match=words):
        read_onnx(model.SerializeToString(), "m")


@pytest.mark.parametrize("name", NETWORKS)
def test_no_byte_moves_where_a_file_can_be_read_without(name: str) -> None:
    graph = read_onnx(NETWORKS[name]().SerializeToString(), name)
    assert not any(node.op is Op.TRANSPOSE for node in graph.nodes)


def test_a_file_that_needs_two_orders_says_how_much_moves(folder: Path) -> None:
    graph = read_onnx((folder / "softmax over time.onnx").read_bytes(), "m")
    assert [node.op for node in graph.nodes].count(Op.TRANSPOSE) == 1
    assert any(note.startswith("moves 42 elements in every inference") for note in graph.notes)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_every_transposition_is_found_again(shape: list[int], random: Random) -> None:
    axes = random.sample(range(len(shape)), len(shape))
    flat = np.arange(np.prod(shape)).reshape(shape).transpose(axes).reshape(-1)
    found = transposition(flat)
    assert found is not None
    assert np.array_equal(np.arange(flat.size).reshape(found[0]).transpose(found[1]).ravel(), flat)


@pytest.mark.parametrize("flat", [[0, 2, 1, 3, 5, 4], [1, 0], [0, 1, 3, 2], [0, 3, 1, 4, 5, 2]])
def test_what_is_no_transposition_is_none(flat: list[int]) -> None:
    assert transposition(np.array(flat)) is None


@pytest.mark.parametrize(
    ("length", "count", "words"),
    [(7, 3, "7 elements do not split into 3 equal parts"), (2, 3, "do not split into 3 equal")],
)
def test_a_split_that_does_not_come_out_even_is_refused(
    length: int, count: int, words: str
) -> None:
    w = ModelWriter(opset=17)
    model = w.model({"x": [1, length]}, w.parts("Split", count, "x", axis=1))
    with pytest.raises(CompileError, match=words):
        read_onnx(model.SerializeToString(), "m")
