"""Post-training quantization: float models become programs that the engine runs and that agree."""

import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_native.compiler import CompiledModel, CompileError, compile_model
from wherry_native.compiler.quantize import weight_scales
from wherry_native.compiler.ranges import Range
from wherry_native.engine import Program
from wherry_native.program import Op, read_program

from tests.compiler.onnx_models import NETWORKS, ModelWriter

SAMPLE_COUNT = 40


def _compiled(
    folder: Path, model: onnx.ModelProto, samples: np.ndarray | None = None
) -> CompiledModel:
    """The model, calibrated with `samples` for its first input, or with random ones for all."""
    random = np.random.default_rng(11)
    arrays = {}
    for entry in model.graph.input:
        shape = [d.dim_value or 1 for d in entry.type.tensor_type.shape.dim]
        arrays[entry.name] = random.normal(0, 1, (SAMPLE_COUNT, *shape[1:])).astype(np.float32)
    if samples is not None:
        arrays[model.graph.input[0].name] = samples
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    np.savez(folder / "samples.npz", **arrays)
    return compile_model(folder / "m.onnx", calibration=folder / "samples.npz")


@pytest.mark.parametrize("name", NETWORKS)
def test_quantized_network_runs_in_the_engine_and_agrees_with_float(
    name: str, tmp_path: Path
) -> None:
    model = _compiled(tmp_path, NETWORKS[name]())
    program = Program(model.image)
    output = program.run(bytes(program.input_bytes))
    assert len(output) == program.output_bytes
    assert [len(sample) for sample in model.sample_inputs] == SAMPLE_COUNT * [program.input_bytes]
    agreement = model.report.agreement
    assert agreement is not None
    assert agreement.sample_count == SAMPLE_COUNT
    assert agreement.argmax_fraction is not None
    assert agreement.argmax_fraction >= 0.9
    for layer in model.report.layers:
        assert layer.relative_rms < 0.1, layer


@pytest.mark.parametrize("name", NETWORKS)
def test_same_files_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    model = NETWORKS[name]()
    assert _compiled(tmp_path, model).image == _compiled(tmp_path, model).image


def test_wrong_weights_show_in_the_report(tmp_path: Path) -> None:
    """The measured error is no constant: one outlier weight ruins its channel, and that shows."""
    w = ModelWriter(seed=7)
    weights = w.random.normal(0, 1, (16, 4)).astype(np.float32)
    good = w.model({"x": [1, 16]}, [w.node("Gemm", "x", w.constant(weights))])
    spoiled = weights.copy()
    spoiled[0, 1] = 4000
    v = ModelWriter(seed=7)
    bad = v.model({"x": [1, 16]}, [v.node("Gemm", "x", v.constant(spoiled))])
    samples = np.random.default_rng(3).normal(0, 1, (20, 16)).astype(np.float32)
    samples[:, 0] = 0  # the outlier never counts, its neighbours pay for it
    errors = [_compiled(tmp_path, m, samples).report.layers[0].relative_rms for m in (good, bad)]
    assert errors[1] > 10 * errors[0]


def test_concatenation_operands_get_one_scale(tmp_path: Path) -> None:
    program = read_program(_compiled(tmp_path, NETWORKS["joined"]()).image)
    node = next(node for node in program.nodes if node.op is Op.CONCATENATION)
    contracts = {
        (program.tensors[i].scale, program.tensors[i].zero_point)
        for i in (*node.operands, node.output)
    }
    assert len(contracts) == 1
    assert any(node.op is Op.QUANTIZE for node in program.nodes)  # behind the sigmoid


def test_dead_channel_and_constant_zero_input_still_compile(tmp_path: Path) -> None:
    w = ModelWriter(seed=8)
    weights = np.zeros((3, 2), np.float32)
    weights[:, 0] = 1.0
    x = w.node("Gemm", "x", w.constant(weights), w.constant(np.array([0, 5.0], np.float32)))
    model = _compiled(tmp_path, w.model({"x": [1, 3]}, [x]), np.zeros((4, 3), np.float32))
    program = Program(model.image)
    output = np.frombuffer(program.run(bytes(program.input_bytes)), np.int8).astype(float)
    contract = model.outputs[0]
    real = (output - contract.zero_point) * contract.scale
    assert real[1] == pytest.approx(5.0, abs=contract.scale)


def test_retrained_head_changes_only_its_own_piece(tmp_path: Path) -> None:
    def model(seed: int) -> onnx.ModelProto:
        w = ModelWriter(seed=20)
        x = w.node("Relu", w.node("Gemm", "x", w.weights(8, 6), w.weights(6)))
        w.random = np.random.default_rng(seed)
        return w.model({"x": [1, 8]}, [w.node("Softmax", w.node("Gemm", x, w.weights(6, 3)))])

    first, second = (_compiled(tmp_path, model(seed)) for seed in (1, 2))
    pairs = itertools.zip_longest(_pieces(first), _pieces(second))
    assert [a == b for a, b in pairs] == [False, True, False]


def _pieces(model: CompiledModel) -> list[bytes]:
    return [
        model.image[piece.offset_bytes : piece.offset_bytes + piece.size_bytes]
        for piece in model.pieces
    ]


finite = st.floats(-1e6, 1e6, width=32)


@given(finite, finite)
def test_zero_is_exact_and_the_range_is_covered(low: float, high: float) -> None:
    span = Range().widened(np.array([low, high]))
    quantization = span.quantization()
    reach = [quantization.scale * (q - quantization.zero_point) for q in (-128, 127)]
    assert -128 <= quantization.zero_point <= 127
    assert reach[0] <= span.low + quantization.scale
    assert reach[1] >= span.high - quantization.scale


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=4, max_size=4),
    st.lists(st.floats(-1e7, 1e7, width=32), min_size=2, max_size=2),
    st.floats(2.0**-20, 2.0**3),
)
def test_weights_fit_int8_and_biases_fit_int32(
    weights: list[float], bias: list[float], input_scale: float
) -> None:
    matrix, vector = np.array(weights).reshape(2, 2), np.array(bias)
    scales = weight_scales(matrix, vector, input_scale, axis=0)
    codes = np.abs(matrix / scales[:, None])
    assert (codes <= 127.001).all()
    is_held = np.abs(vector) < 0.5 * input_scale * scales * 2**30  # the bias needs no wider scale
    full = codes.max(axis=1)[is_held & (np.abs(matrix).max(axis=1) > 1e-6)]
    assert (full > 126.99).all()
    assert (np.abs(vector / (input_scale * scales)) < 2**31).all()


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (np.zeros((3, 5), np.float32), r"have shape \[5\], must be \[10\]"),
        (np.zeros((0, 10), np.float32), "at least 1"),
        (np.full((2, 10), np.nan, np.float32), "not finite"),
        (np.array(["a"] * 10), "must be numbers"),
    ],
)
def test_unusable_calibration_is_refused(
    samples: np.ndarray, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(CompileError, match=sentence):
        _compiled(tmp_path, NETWORKS["perceptron"](), samples)


def test_calibration_file_that_is_no_array_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(NETWORKS["perceptron"]().SerializeToString())
    for content in (b"", b"garbage", b"PK\x03\x04broken", b"\x93NUMPY\x01\x00"):
        (tmp_path / "samples.npz").write_bytes(content)
        with pytest.raises(CompileError, match=r"no \.npy or \.npz file"):
            compile_model(tmp_path / "m.onnx", calibration=tmp_path / "samples.npz")


def test_calibration_that_lacks_an_input_names_it(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(NETWORKS["two inputs"]().SerializeToString())
    np.savez(tmp_path / "samples.npz", image=np.zeros((2, 1, 6, 8), np.float32))
    with pytest.raises(CompileError, match=r"lacks those of inputs \['state'\]"):
        compile_model(tmp_path / "m.onnx", calibration=tmp_path / "samples.npz")
    np.savez(tmp_path / "samples.npz", image=np.zeros((2, 1, 6, 8)), state=np.zeros((3, 4)))
    with pytest.raises(CompileError, match="same number of samples"):
        compile_model(tmp_path / "m.onnx", calibration=tmp_path / "samples.npz")


def test_samples_of_a_model_with_a_fixed_batch_are_not_torn(tmp_path: Path) -> None:
    w = ModelWriter(seed=15)
    model = w.model({"x": [2, 4]}, [w.node("Gemm", "x", w.weights(4, 3))])
    with pytest.raises(CompileError, match=r"shape \[4\], must be \[2, 4\]"):
        _compiled(tmp_path, model)
    samples = np.random.default_rng(0).normal(0, 1, (10, 2, 4)).astype(np.float32)
    assert len(_compiled(tmp_path, model, samples).sample_inputs) == 10


def test_calibration_of_an_image_may_come_in_either_layout(tmp_path: Path) -> None:
    samples = np.random.default_rng(2).normal(0, 1, (6, 3, 8, 6)).astype(np.float32)
    model = NETWORKS["pytorch"]()
    images = [
        _compiled(tmp_path, model, given).image
        for given in (samples, samples.transpose(0, 2, 3, 1), samples.reshape(6, -1))
    ]
    assert images[0] == images[1] == images[2]


def test_features_that_drown_in_one_scale_are_named(tmp_path: Path) -> None:
    samples = np.random.default_rng(4).uniform(0, 1, (20, 5)).astype(np.float32)
    report = _compiled(tmp_path, NETWORKS["regressor"](), samples).report
    assert not any("drown" in note or "vary by less" in note for note in report.notes)
    samples[:, 3] *= 1000
    report = _compiled(tmp_path, NETWORKS["regressor"](), samples).report
    assert any("4 of 5 elements of input 'X' vary by less than 8" in note for note in report.notes)


def test_one_number_has_no_argmax(tmp_path: Path) -> None:
    w = ModelWriter(seed=16)
    model = w.model({"x": [1, 4]}, [w.node("Gemm", "x", w.weights(4, 1))])
    report = _compiled(tmp_path, model).report
    assert report.agreement is not None
    assert report.agreement.argmax_fraction is None
    assert "argmax" not in report.as_text()


def test_report_is_plain_json(tmp_path: Path) -> None:
    report = _compiled(tmp_path, NETWORKS["pytorch"]()).report
    assert json.loads(json.dumps(report.as_dict(), allow_nan=False)) == report.as_dict()
    assert all(layer.node in report.as_text() for layer in report.layers)


def test_weights_in_a_file_beside_the_model_are_read(tmp_path: Path) -> None:
    model = NETWORKS["perceptron"]()
    image = _compiled(tmp_path, model).image
    path = tmp_path / "beside" / "m.onnx"
    path.parent.mkdir()
    onnx.save_model(
        model, path, save_as_external_data=True, location="m.onnx.data", size_threshold=0
    )
    assert compile_model(path, calibration=tmp_path / "samples.npz").image == image
    (path.parent / "m.onnx.data").unlink()
    with pytest.raises(CompileError, match=r"in 'm\.onnx\.data' beside it, which cannot be read"):
        compile_model(path, calibration=tmp_path / "samples.npz")


def test_weights_outside_of_the_models_folder_are_refused(tmp_path: Path) -> None:
    model = NETWORKS["perceptron"]()
    path = tmp_path / "inner" / "m.onnx"
    path.parent.mkdir()
    onnx.save_model(model, path, save_as_external_data=True, location="d", size_threshold=0)
    (path.parent / "d").rename(tmp_path / "d")
    stolen = onnx.load(path, load_external_data=False)
    for tensor in stolen.graph.initializer:
        next(e for e in tensor.external_data if e.key == "location").value = "../d"
    path.write_bytes(stolen.SerializeToString())
    with pytest.raises(CompileError, match="cannot be read"):
        compile_model(path, calibration=tmp_path / "d")
