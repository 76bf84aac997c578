"""ONNX functions of one element, and division of two computed values: within a level of float."""

from pathlib import Path

import numpy as np
import pytest
from wherry_native.compiler import CompiledModel, compile_model
from wherry_native.program import Op, read_program

from tests.compiler.onnx_models import ModelWriter

OPERATORS = ["Abs", "Exp", "HardSwish", "LeakyRelu", "Log", "Sqrt"]


def _compiled(folder: Path, writer: ModelWriter, output: str) -> CompiledModel:
    """Calibrated with values from 0.5 to 4, where all of them are defined."""
    samples = np.random.default_rng(3).uniform(0.5, 4, (60, 8)).astype(np.float32)
    (folder / "m.onnx").write_bytes(writer.model({"x": [1, 8]}, [output]).SerializeToString())
    np.save(folder / "x.npy", samples)
    return compile_model(folder / "m.onnx", calibration=folder / "x.npy")


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_function_becomes_a_table_within_a_level(operator: str, tmp_path: Path) -> None:
    writer = ModelWriter()
    model = _compiled(tmp_path, writer, writer.node(operator, "x"))
    assert [node.op for node in read_program(model.image).nodes] == [Op.LOOKUP]
    assert model.report.agreement is not None
    slope = {"Exp": np.exp(4.0), "HardSwish": 1.2, "Sqrt": 0.8, "Log": 2.0}.get(operator, 1.0)
    reach = model.inputs[0].scale * slope / 2 + model.outputs[0].scale
    assert model.report.agreement.max_abs_error <= reach


def test_two_computed_values_are_divided(tmp_path: Path) -> None:
    writer = ModelWriter()
    quotient = writer.node("Div", writer.node("Sqrt", "x"), writer.node("Exp", "x"))
    model = _compiled(tmp_path, writer, quotient)
    assert [node.op for node in read_program(model.image).nodes] == [Op.LOOKUP, Op.LOOKUP, Op.DIV]
    assert model.report.agreement is not None
    assert model.report.agreement.mean_abs_error < 0.05
