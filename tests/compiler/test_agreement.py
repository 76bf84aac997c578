"""What the report says about the program is true of the very program that was made."""

from pathlib import Path

import numpy as np
import pytest
from wherry_native.compiler import CompiledModel, compile_model
from wherry_native.compiler.fold import folded
from wherry_native.compiler.onnx_reader import read_onnx
from wherry_native.compiler.reference import run_float
from wherry_native.engine import Program
from wherry_native.program import Rounding

from tests.compiler.onnx_models import ModelWriter
from tests.compiler.tflite_files import Row, tflite_file


def errors_of(model: CompiledModel, real: np.ndarray) -> np.ndarray:
    """Of the made program's first output, run on the calibration samples."""
    program, y = Program(model.image), model.outputs[0]
    codes = [np.frombuffer(program.run(sample), np.int8) for sample in model.sample_inputs]
    return np.abs((np.stack(codes).astype(np.float64) - y.zero_point) * y.scale - real)


@pytest.mark.parametrize("rounding", [Rounding.D, Rounding.F])
def test_the_report_measures_the_rounding_that_was_asked_for(
    rounding: Rounding, tmp_path: Path
) -> None:
    w = ModelWriter(seed=5)
    x = w.node("Relu", w.node("Gemm", "x", w.weights(30, 40), w.weights(40)))
    content = w.model({"x": [1, 30]}, [w.node("Gemm", x, w.weights(40, 20))]).SerializeToString()
    (tmp_path / "m.onnx").write_bytes(content)
    samples = np.random.default_rng(1).normal(0, 1, (50, 30)).astype(np.float32)
    np.save(tmp_path / "x.npy", samples)
    model = compile_model(tmp_path / "m.onnx", calibration=tmp_path / "x.npy", rounding=rounding)
    graph = folded(read_onnx(content, "m"))
    real = [run_float(graph, {"x": x[None]})[graph.outputs[0]].reshape(-1) for x in samples]
    errors = errors_of(model, np.stack(real))
    agreement = model.report.agreement
    assert agreement is not None
    assert agreement.mean_abs_error == pytest.approx(errors.mean(), rel=1e-9)
    assert agreement.max_abs_error == pytest.approx(errors.max(), rel=1e-9)


def test_positions_that_agree_are_not_reported_as_wrong(tmp_path: Path) -> None:
    """ARG_MAX gives int32 positions, which have no scale."""
    weights = np.random.default_rng(3).integers(-127, 128, (6, 8)).astype(np.int8)
    rows = [
        Row("x", "int8", (1, 8), (0.05,)),
        Row("w", "int8", (6, 8), (0.01,), data=weights),
        Row("y", "int8", (1, 6), (0.1,)),
        Row("axis", "int32", (1,), data=np.array([1], np.int32)),
        Row("best", "int32", (1,)),
    ]
    operators = [
        ("FULLY_CONNECTED", [0, 1, -1], [2], {}),
        ("ARG_MAX", [2, 3], [4], {"OutputType": 2}),
    ]
    (tmp_path / "m.tflite").write_bytes(tflite_file(rows, operators))
    samples = np.random.default_rng(1).integers(-128, 128, (40, 1, 8)).astype(np.int8)
    np.save(tmp_path / "x.npy", samples)
    model = compile_model(tmp_path / "m.tflite", calibration=tmp_path / "x.npy")
    program = Program(model.image)
    found = [int(np.frombuffer(program.run(s), "<i4")[0]) for s in model.sample_inputs]
    real = (samples[:, 0] * 0.05) @ (weights.T * 0.01)
    apart = np.abs(np.array(found) - real.argmax(axis=1))
    assert len(set(found)) == 6
    agreement = model.report.agreement
    assert agreement is not None
    assert agreement.mean_abs_error == pytest.approx(apart.mean())
    assert agreement.argmax_fraction == (apart == 0).mean() > 0.8
    assert agreement.sqnr_db is None
    told = f"same argmax in {agreement.argmax_fraction:.2%}, error at most {apart.max()}, "
    assert told in model.report.as_text()
