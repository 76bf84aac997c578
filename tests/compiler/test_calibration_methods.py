"""Ranges, equalization, bias correction and the advice on 16 bits: each earns its place by what it
does to a measured error."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from wherry_native.compiler import CompiledModel, CompileError, Method, Quantizing, compile_model
from wherry_native.compiler.calibration import Samples
from wherry_native.compiler.equalize import equalized
from wherry_native.compiler.fold import folded
from wherry_native.compiler.ir import Graph
from wherry_native.compiler.onnx_reader import read_onnx
from wherry_native.compiler.ranges import BINS, Range, of_least_error, within_percentile
from wherry_native.compiler.reference import run_float
from wherry_native.engine import Program

from tests.compiler.onnx_models import ModelWriter

RANDOM = np.random.default_rng(23)


def compiled(
    folder: Path, model: onnx.ModelProto, samples: np.ndarray, how: Quantizing | None = None
) -> CompiledModel:
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    np.save(folder / "samples.npy", samples.astype(np.float32))
    return compile_model(folder / "m.onnx", calibration=folder / "samples.npy", quantizing=how)


def mean_error(model: CompiledModel) -> float:
    agreement = model.report.agreement
    assert agreement is not None
    return agreement.mean_abs_error


def histogram(values: np.ndarray) -> tuple[Range, np.ndarray]:
    whole = Range().widened(values)
    return whole, np.histogram(values, BINS, (whole.low, whole.high))[0]


def test_a_percentile_cuts_off_what_lies_beyond_it() -> None:
    values = np.concatenate([np.linspace(-1, 1, 10_000), [50.0]])
    cut = within_percentile(*histogram(values), 99.9)
    assert cut.high < 1.1
    assert cut.low == pytest.approx(-1, abs=0.06)
    assert within_percentile(*histogram(values), 100.0).high == 50


@given(st.integers(0, 1000), st.floats(1, 100))
@settings(max_examples=20)
def test_the_range_of_least_error_is_no_worse_than_the_whole_one(seed: int, outlier: float) -> None:
    values = np.append(np.random.default_rng(seed).normal(0, 1, 500), outlier)
    whole, counts = histogram(values)

    def error(tried: Range) -> float:
        q = tried.quantization()
        codes = np.clip(np.round(values / q.scale) + q.zero_point, -128, 127)
        return float(np.square((codes - q.zero_point) * q.scale - values).mean())

    bin_width = (whole.high - whole.low) / BINS
    assert error(of_least_error(whole, counts)) <= error(whole) + bin_width**2


def test_a_rare_outlier_is_cut_off_where_that_costs_less_than_coarser_steps() -> None:
    whole, counts = histogram(np.append(RANDOM.normal(0, 1, 10_000), 20.0))
    counts[:-1] *= 10_000
    assert of_least_error(whole, counts).high < 8
    counts[-1] = 1_000_000
    assert of_least_error(whole, counts).high == 20


@pytest.mark.parametrize("method", [Method.PERCENTILE, Method.MSE])
def test_the_method_reaches_the_programs_scales(method: Method, tmp_path: Path) -> None:
    w = ModelWriter(seed=3)
    model = w.model({"x": [1, 16]}, [w.node("Gemm", "x", w.weights(16, 4))])
    samples = RANDOM.standard_t(3, (400, 16))
    whole = compiled(tmp_path, model, samples).inputs[0].scale
    assert compiled(tmp_path, model, samples, Quantizing(method, 99.9)).inputs[0].scale < whole


def uneven_network() -> onnx.ModelProto:
    """Channels whose ranges are a hundredfold apart, and whose readers make up for it."""
    w = ModelWriter(seed=9)
    spread = np.logspace(-2, 2, 8)
    first = w.random.normal(0, 0.5, (8, 3, 3, 3)) * spread[:, None, None, None]
    middle = w.random.normal(0, 0.5, (8, 1, 3, 3))
    second = w.random.normal(0, 0.5, (4, 8 * 2 * 2)) / np.repeat(spread, 4)
    x = w.node("Conv", "image", w.constant(first.astype(np.float32)), pads=[1, 1, 1, 1])
    x = w.node("Relu", x)
    x = w.node("Conv", x, w.constant(middle.astype(np.float32)), group=8, strides=[2, 2])
    x = w.node("MaxPool", x, kernel_shape=[2, 2], strides=[1, 1])
    x = w.node("Flatten", x)
    x = w.node("Gemm", x, w.constant(second.astype(np.float32)), transB=1)
    return w.model({"image": [1, 3, 7, 7]}, [x])


def test_equalization_saves_the_small_channels(tmp_path: Path) -> None:
    samples = RANDOM.normal(0, 1, (40, 3, 7, 7))
    plain = compiled(tmp_path, uneven_network(), samples)
    even = compiled(tmp_path, uneven_network(), samples, Quantizing(is_equalized=True))
    assert mean_error(even) < mean_error(plain) / 4
    assert "equalized 2 pairs of layers: conv0 → conv2, conv2 → gemm5" in even.report.notes


def uneven_floats(folder: Path, model: onnx.ModelProto) -> tuple[Graph, Graph, Samples]:
    """The float graph, the equalized one, and samples."""
    graph = folded(read_onnx(model.SerializeToString(), "uneven", folder))
    samples = [{"image": RANDOM.normal(0, 1, (1, 7, 7, 3)).astype(np.float32)} for _ in range(4)]
    return graph, equalized(graph, samples), samples


def test_equalization_changes_nothing_in_real_numbers(tmp_path: Path) -> None:
    """The report's float side is the equalized graph: it must give what the file gives."""
    graph, even, samples = uneven_floats(tmp_path, uneven_network())
    for sample in samples:
        wanted = run_float(graph, sample)[graph.outputs[0]]
        found = run_float(even, sample)[even.outputs[0]]
        assert np.allclose(wanted, found, rtol=1e-4, atol=1e-4)


def peaks(graph: Graph, samples: Samples, name: str) -> np.ndarray:
    """The largest magnitude of each channel."""
    values = np.stack([run_float(graph, sample)[name] for sample in samples])
    return np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)


@pytest.mark.parametrize("layer", ["conv0", "conv2"])
def test_equalization_keeps_the_range_of_the_tensor(layer: str, tmp_path: Path) -> None:
    graph, even, samples = uneven_floats(tmp_path, uneven_network())
    name = next(node.output for node in graph.nodes if node.name == layer)
    before, after = (peaks(g, samples, name) for g in (graph, even))
    assert after.max() == pytest.approx(before.max(), rel=1e-4)
    assert after.min() > 10 * before.min()


def test_equalization_leaves_sums_over_an_axis_alone(tmp_path: Path) -> None:
    """Such a sum is a layer over rows in which the channels of the layer before repeat."""
    w = ModelWriter(seed=8)
    x = w.node("MatMul", "x", w.weights(6, 3))
    y = w.node("ReduceSum", x, w.constant(np.array([1], np.int64)), keepdims=0)
    model = w.model({"x": [1, 4, 5, 6]}, [y])
    samples = RANDOM.normal(0, 1, (20, 4, 5, 6))
    even = compiled(tmp_path, model, samples, Quantizing(is_equalized=True))
    plain = compiled(tmp_path, model, samples)
    exact = samples @ numpy_helper.to_array(model.graph.initializer[0])
    for made in (plain, even):
        program = Program(made.image)
        [output] = program.outputs
        rows = [np.frombuffer(program.run(row), output.dtype) for row in made.sample_inputs]
        found = (np.stack(rows).astype(float) - output.zero_point) * output.scale
        error = np.abs(found.reshape(20, 5, 3) - exact.sum(axis=1)).max()
        assert error < 5 * output.scale


def test_equalization_ends_at_a_scalar() -> None:
    w = ModelWriter()
    x = w.node("MatMul", "x", w.weights(4, 1))
    model = w.model({"x": [1, 4]}, [w.node("Reshape", x, w.constant(np.zeros(0, np.int64)))])
    graph = folded(read_onnx(model.SerializeToString(), "m"))
    assert equalized(graph, [{"x": np.ones((1, 4), np.float32)}]).notes == (
        "no layers to equalize",
    )


@pytest.mark.parametrize("dead", ["written", "read"])
def test_equalization_leaves_a_dead_channel_alone(dead: str, tmp_path: Path) -> None:
    """Channel 3, which nothing writes or nobody reads, has no factor; the others keep the range."""
    model = uneven_network()
    position = {"written": 0, "read": 1}[dead]
    weights = numpy_helper.to_array(model.graph.initializer[position]).copy()
    weights[3] = 0
    model.graph.initializer[position].CopyFrom(
        numpy_helper.from_array(weights, model.graph.initializer[position].name)
    )
    graph, even, samples = uneven_floats(tmp_path, model)
    name = next(node.output for node in graph.nodes if node.name == "conv0")
    before, after = (peaks(g, samples, name) for g in (graph, even))
    assert after[3] == before[3]
    assert after.max() == pytest.approx(before.max(), rel=1e-4)
    for sample in samples:
        wanted = run_float(graph, sample)[graph.outputs[0]]
        assert np.allclose(wanted, run_float(even, sample)[even.outputs[0]], rtol=1e-4, atol=1e-4)


def test_bias_correction_takes_back_the_mean_error_of_rounded_weights(tmp_path: Path) -> None:
    """Inputs with a mean make the errors of many weights add up instead of cancelling."""
    w = ModelWriter(seed=5)
    weights = w.random.normal(0, 0.02, (6, 64)).astype(np.float32)
    weights[:, 0] = 3.0  # one large weight per channel makes coarse steps for all others
    model = w.model({"x": [1, 64]}, [w.node("Gemm", "x", w.constant(weights), transB=1)])
    samples = RANDOM.normal(5, 0.1, (60, 64))
    samples[:, 0] = RANDOM.normal(0, 0.1, 60)
    plain = mean_error(compiled(tmp_path, model, samples))
    corrected = compiled(tmp_path, model, samples, Quantizing(is_bias_corrected=True))
    assert mean_error(corrected) < plain / 2


def ruined_network(size: float, *between: tuple[str, dict[str, list[int]]]) -> onnx.ModelProto:
    """A layer with one channel of `size`, whose range leaves the others less than a step of eight
    bits; its reader lives on the others. `between` are operators between the two."""
    w = ModelWriter(seed=6)
    x = w.node("Relu", w.node("Gemm", "x", w.weights(12, 10)))
    ruin = np.full((10, 10), 1e-3, np.float32)
    ruin[0] = np.eye(10)[0] * size
    x = w.node("Gemm", x, w.constant(ruin))
    for op, operands in between:
        x = w.node(op, x, *(w.constant(np.array(value, np.int64)) for value in operands.values()))
    readout = np.ones((10, 3), np.float32)
    readout[0] = 1e-6
    return w.model({"x": [1, 12]}, [w.node("Gemm", x, w.constant(readout))])


def outputs_db(model: CompiledModel) -> float:
    agreement = model.report.agreement
    assert agreement is not None
    assert agreement.sqnr_db is not None
    return agreement.sqnr_db


def wide(*layers: str) -> Quantizing:
    return Quantizing(wide=frozenset(layers))


def test_the_layer_that_ruins_the_output_is_advised_for_16_bits(tmp_path: Path) -> None:
    samples = RANDOM.normal(0, 1, (30, 12))
    report = compiled(tmp_path, ruined_network(3.0), samples).report
    assert report.advice is not None
    assert report.advice.layers[0] == "gemm2"
    assert report.advice.sqnr_db_then > report.advice.sqnr_db + 3
    shares = {layer.node: layer.noise_share for layer in report.layers}
    assert max(shares, key=lambda node: shares[node] or 0) == "gemm2"
    assert "keep in 16 bits: gemm2" in report.as_text()


MOVERS = {
    "nothing between": (),
    "a slice": (("Slice", {"starts": [0, 0], "ends": [1, 10]}),),
    "a choice of rows": (("Gather", {"positions": [0]}),),
    "padding and a slice": (
        ("Pad", {"pads": [0, 1, 0, 1]}),
        ("Slice", {"starts": [0, 1], "ends": [1, 11]}),
    ),
}


@pytest.mark.parametrize("between", MOVERS.values(), ids=MOVERS)
def test_the_advice_gains_what_it_says_where_its_first_layer_alone_gains_nothing(
    between: tuple[tuple[str, dict[str, list[int]]], ...], tmp_path: Path
) -> None:
    """A reader of 8 bits gets 8 bits: whoever reads the layer has to be wide as well."""
    model, samples = ruined_network(3.0, *between), RANDOM.normal(0, 1, (30, 12))
    plain = compiled(tmp_path, model, samples)
    advice = plain.report.advice
    assert advice is not None
    assert advice.sqnr_db == pytest.approx(outputs_db(plain))
    alone = compiled(tmp_path, model, samples, wide(advice.layers[0]))
    assert outputs_db(alone) < outputs_db(plain) + 1
    followed = compiled(tmp_path, model, samples, wide(*advice.layers))
    assert outputs_db(followed) == pytest.approx(advice.sqnr_db_then)
    assert outputs_db(followed) > outputs_db(plain) + 10
    rest = alone.report.advice
    assert rest is not None
    assert {*rest.layers} == {*advice.layers[1:]}  # beside what is wide already


def test_16_bits_that_would_gain_next_to_nothing_are_not_advised(tmp_path: Path) -> None:
    """The small channels are less than a step of 16 bits, too."""
    model, samples = ruined_network(300.0), np.random.default_rng(1).normal(0, 1, (30, 12))
    plain, all_wide = (compiled(tmp_path, model, samples, how) for how in (None, wide("all")))
    assert outputs_db(plain) < outputs_db(all_wide) < outputs_db(plain) + 3
    assert plain.report.advice is None


def test_noise_of_8_bit_weights_is_told_apart_and_no_reason_for_16_bits(tmp_path: Path) -> None:
    w = ModelWriter(seed=7)
    weights = w.random.normal(0, 1, (16, 4)).astype(np.float32)
    weights[0] = 4000  # the outliers never count, their channels pay for them
    model = w.model({"x": [1, 16]}, [w.node("Gemm", "x", w.constant(weights))])
    samples = RANDOM.normal(0, 1, (20, 16))
    samples[:, 0] = 0
    report = compiled(tmp_path, model, samples).report
    assert report.agreement is not None
    assert (report.agreement.sqnr_db or 0) < 10
    assert report.advice is None
    layer = report.layers[0]
    assert layer.weights_share is not None
    assert layer.weights_share > 0.9
    assert f"({layer.weights_share:.1%} by its weights)" in report.as_text()


def test_a_model_that_int8_serves_well_needs_no_advice(tmp_path: Path) -> None:
    w = ModelWriter()
    model = w.model({"x": [1, 4]}, [w.node("Gemm", "x", w.weights(4, 2))])
    assert compiled(tmp_path, model, RANDOM.normal(0, 1, (30, 4))).report.advice is None


@pytest.mark.parametrize("percentile", [50.0, 100.5, -1.0])
def test_a_percentile_out_of_bounds_is_refused(percentile: float, tmp_path: Path) -> None:
    w = ModelWriter()
    model = w.model({"x": [1, 4]}, [w.node("Gemm", "x", w.weights(4, 2))])
    how = Quantizing(Method.PERCENTILE, percentile)
    with pytest.raises(CompileError, match="must be above 50 and at most 100"):
        compiled(tmp_path, model, RANDOM.normal(0, 1, (5, 4)), how)
