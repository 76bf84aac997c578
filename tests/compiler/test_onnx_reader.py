"""Float ONNX models become channels-last graphs that compute the same; onnx's own evaluator is
the oracle."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from wherry_native.compiler import CompileError, compile_model
from wherry_native.compiler.fold import folded
from wherry_native.compiler.ir import WEIGHTED, Graph
from wherry_native.compiler.onnx_reader import read_onnx
from wherry_native.compiler.reference import run_float
from wherry_native.program import Op

from tests.compiler.onnx_models import NETWORKS, POOLED, ModelWriter


def _inputs(model: onnx.ModelProto, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        entry.name: random.normal(
            0, 1, [d.dim_value or 1 for d in entry.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for entry in model.graph.input
    }


def _in_program(graph: Graph, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name: value.transpose(graph.source_axes.get(name, range(value.ndim)))
        for name, value in inputs.items()
    }


def _assert_same(model: onnx.ModelProto, graph: Graph) -> None:
    evaluator = ReferenceEvaluator(model)
    for seed in range(3):
        inputs = _inputs(model, seed)
        found = run_float(graph, _in_program(graph, inputs))
        for name in graph.outputs:
            wanted = evaluator.run([name], inputs)[0]
            if wanted.ndim == 4:
                wanted = wanted.transpose(0, 2, 3, 1)
            np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*NETWORKS, *POOLED])
def test_imported_network_computes_what_the_file_says(name: str) -> None:
    model = {**NETWORKS, **POOLED}[name]()
    _assert_same(model, read_onnx(model.SerializeToString(), name))


@pytest.mark.parametrize("name", NETWORKS)
def test_folding_changes_nothing_but_the_work(name: str) -> None:
    model = NETWORKS[name]()
    graph = read_onnx(model.SerializeToString(), name)
    smaller = folded(graph)
    counts = [sum(n.op is not Op.RESHAPE for n in g.nodes) for g in (smaller, graph)]
    assert counts[0] <= counts[1]
    _assert_same(model, smaller)


def test_batch_normalization_and_relu_disappear_into_the_convolution() -> None:
    graph = folded(read_onnx(NETWORKS["pytorch"]().SerializeToString(), "m"))
    assert [node.op for node in graph.nodes][:2] == [Op.CONV_2D, Op.MAX_POOL_2D]
    assert not any(node.op in (Op.MUL, Op.RELU) for node in graph.nodes)


def test_input_normalization_becomes_one_depthwise_layer() -> None:
    graph = folded(read_onnx(NETWORKS["line"]().SerializeToString(), "m"))
    ops = [node.op for node in graph.nodes if node.op is not Op.RESHAPE]
    assert ops[:2] == [Op.DEPTHWISE_CONV_2D, Op.CONV_2D]
    assert not any(node.op in (Op.MUL, Op.ADD, Op.SUB) for node in graph.nodes)


def test_label_output_is_left_out_and_named() -> None:
    graph = read_onnx(NETWORKS["perceptron"]().SerializeToString(), "m")
    assert len(graph.outputs) == 1
    assert any("no float tensor" in note for note in graph.notes)


def test_channels_last_input_of_keras_keeps_its_shape() -> None:
    graph = read_onnx(NETWORKS["keras"]().SerializeToString(), "m")
    assert graph.tensors["image"].shape == (1, 5, 6, 2)
    assert graph.source_axes == {}


def test_flatten_after_a_convolution_permutes_the_weights_behind_it() -> None:
    w = ModelWriter(seed=9)
    x = w.node("Conv", "image", w.weights(3, 2, 1, 1))
    x = w.node("Gemm", w.node("Flatten", x), w.weights(3 * 4 * 5, 2))
    model = w.model({"image": [1, 2, 4, 5]}, [x])
    graph = read_onnx(model.SerializeToString(), "m")
    _assert_same(model, graph)
    layer = next(node for node in graph.nodes if node.op is Op.FULLY_CONNECTED)
    original = onnx.numpy_helper.to_array(model.graph.initializer[1]).T
    assert not np.array_equal(graph.constant(layer.inputs[1]), original)
    assert layer.op in WEIGHTED


def test_every_unsupported_operator_is_listed_at_once() -> None:
    w = ModelWriter()
    x = w.node("Erf", w.node("Sign", w.node("Relu", "x")))
    x = w.node("GRU", x, w.weights(1, 6, 4), w.weights(1, 6, 2), hidden_size=2)
    model = w.model({"x": [3, 1, 4]}, [x])
    with pytest.raises(CompileError) as caught:
        read_onnx(model.SerializeToString(), "m")
    assert [p.split("operator ")[1] for p in caught.value.problems] == [
        "Sign is not supported",
        "Erf is not supported",
        "GRU is not supported",
    ]
    assert "'sign1'" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda w: w.node("MatMul", "x", "x"), "constant in the file"),
        (lambda w: w.node("Div", "x", w.constant(np.zeros(1, np.float32))), "divides by 0"),
        (lambda w: w.node("MatMul", "x", w.weights(7, 2)), "weights need 7"),
        (lambda w: w.node("Conv", "x", w.weights(2, 3, 3)), "do not make"),
        (
            lambda w: w.node("MaxPool", "x", kernel_shape=[9]),
            "filter reaches 9 elements, the padded",
        ),
        (
            lambda w: w.node("MaxPool", "x", kernel_shape=[9]),
            r"pad the input .* or export the model",
        ),
        (
            lambda w: w.node("Pad", "x", w.constant(np.ones(6, np.int64)), mode="reflect"),
            "reflect is not supported",
        ),
    ],
)
def test_impossible_node_is_refused_in_one_sentence(build, sentence: str) -> None:
    w = ModelWriter()
    model = w.model({"x": [1, 4, 4]}, [build(w)])
    with pytest.raises(CompileError, match=sentence) as caught:
        read_onnx(model.SerializeToString(), "m")
    assert all("\n" not in problem for problem in caught.value.problems)


SIX = [1, 2, 2, 2, 2, 2]


def test_an_input_of_six_axes_is_refused_with_what_to_do() -> None:
    w = ModelWriter()
    model = w.model({"x": SIX}, [w.node("Relu", "x")])
    with pytest.raises(CompileError, match=r"'x' has 6 axes of at most 5; .* join neighbouring"):
        read_onnx(model.SerializeToString(), "m")


def test_a_result_of_six_axes_is_refused_with_what_to_do(tmp_path: Path) -> None:
    w = ModelWriter()
    model = w.model({"x": [1, 32]}, [w.node("Relu", w.node("Reshape", "x", w.constant(SIX)))])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    np.save(tmp_path / "x.npy", np.ones((4, 32), np.float32))
    with pytest.raises(CompileError, match=r"6 axes of at most 5; .* join neighbouring axes"):
        compile_model(tmp_path / "m.onnx", calibration=tmp_path / "x.npy")


def test_a_shuffle_over_six_axes_is_refused_with_what_to_do() -> None:
    w = ModelWriter()
    x = w.node("Reshape", w.node("Relu", "x"), w.constant([2] * 6))
    x = w.node("Reshape", w.node("Transpose", x, perm=[5, 4, 3, 2, 1, 0]), w.constant([1, 64]))
    model = w.model({"x": [1, 64]}, [w.node("Add", x, "x")])
    with pytest.raises(CompileError, match=r"no transposition of at most 5 axes does that; join"):
        read_onnx(model.SerializeToString(), "m")


def test_input_with_a_free_inner_axis_is_refused() -> None:
    w = ModelWriter()
    model = w.model({"x": ["n", "time", 4]}, [w.node("Relu", "x")])
    with pytest.raises(CompileError, match=r"'time', 4\].*all but the first fixed"):
        read_onnx(model.SerializeToString(), "m")


def test_float_model_without_calibration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(NETWORKS["perceptron"]().SerializeToString())
    with pytest.raises(CompileError, match="m is a float model: calibration samples are needed"):
        compile_model(path)


def test_names_of_a_hostile_file_are_escaped_and_cut() -> None:
    w = ModelWriter()
    model = w.model({"x": [1, 4]}, [w.node("Erf", "x")])
    model.graph.node[0].name = "\x1b[31mline\nbreak" + 5000 * "x"
    with pytest.raises(CompileError) as caught:
        read_onnx(model.SerializeToString(), "m")
    problem = caught.value.problems[0]
    assert problem.isprintable()
    assert len(problem) == 400


def test_one_value_under_two_output_names_is_given_twice() -> None:
    w = ModelWriter(seed=30)
    x = w.node("Gemm", "x", w.weights(4, 3))
    first, second = w.node("Identity", x), w.node("Identity", x)
    model = w.model({"x": [1, 4]}, [second, first, x])
    graph = read_onnx(model.SerializeToString(), "m")
    assert graph.outputs == (second, first, x)
    _assert_same(model, graph)


def test_mean_of_everything_is_one_number_that_can_be_scaled() -> None:
    w = ModelWriter(seed=31)
    x = w.node("ReduceMean", w.node("Relu", "x"), axes=[0, 1, 2], keepdims=0)
    model = w.model({"x": [1, 3, 4]}, [w.node("Mul", x, w.constant(np.float32(3.0)))])
    graph = folded(read_onnx(model.SerializeToString(), "m"))
    found = run_float(graph, {"x": np.full((1, 3, 4), 2.0, np.float32)})
    assert found[graph.outputs[0]] == pytest.approx(6.0)


def test_long_chain_folds_in_reasonable_time() -> None:
    """Work grows with the square of the chain at most: 600 products need well under a minute."""
    w = ModelWriter(seed=32)
    x = "x"
    for _ in range(600):
        x = w.node("Mul", x, w.constant(np.float32(0.999)))
    model = w.model({"x": [1, 4]}, [x])
    graph = folded(read_onnx(model.SerializeToString(), "m"))
    assert sum(node.op is Op.DEPTHWISE_CONV_2D for node in graph.nodes) == 1
    assert len(graph.nodes) == 3
