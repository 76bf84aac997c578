"""TFLite files: what surrounds the int8 graph, what is refused, and that damage is only refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wherry_native.compiler import CompileError, compile_model
from wherry_native.compiler.agreement import dequantized
from wherry_native.compiler.int8_rules import without_shell
from wherry_native.compiler.lower import lower
from wherry_native.compiler.onnx_reader import read_onnx
from wherry_native.compiler.reference import run_float
from wherry_native.compiler.tflite_reader import read_tflite
from wherry_native.engine import Program
from wherry_native.program import Op

from tests.compiler.onnx_models import NETWORKS
from tests.compiler.tflite_files import Operator, Row, tflite_file

WEIGHTS = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
BIAS = np.array([5, -5, 100], np.int32)


def _layer(shell: str = "float32", output: str = "float32") -> bytes:
    """in → QUANTIZE → FULLY_CONNECTED → DEQUANTIZE or QUANTIZE → out."""
    shift = 128 if shell == "uint8" else 0
    tensors: list[Row] = [
        Row("in", shell, (1, 4), (0.5,) if shell != "float32" else (), 3 + shift, None),
        Row("in_int8", "int8", (1, 4), (0.5,), 3, None),
        Row("w", "int8", (3, 4), (0.25,), 0, WEIGHTS),
        Row("b", "int32", (3,), (0.125,), 0, BIAS),
        Row("out_int8", "int8", (1, 3), (0.75,), -7, None),
        Row("out", output, (1, 3), (0.75,) if output != "float32" else (), -7 + shift, None),
    ]
    last = "DEQUANTIZE" if output == "float32" else "QUANTIZE"
    operators: list[Operator] = [
        ("QUANTIZE", [0], [1], {}), ("FULLY_CONNECTED", [1, 2, 3], [4], {}), (last, [4], [5], {}),
    ]  # fmt: skip
    return tflite_file(tensors, operators)


def _compiled(data: bytes, folder: Path):  # type: ignore[no-untyped-def]
    (folder / "m.tflite").write_bytes(data)
    return compile_model(folder / "m.tflite")


@pytest.mark.parametrize(("shell", "output"), [("float32", "float32"), ("uint8", "uint8")])
def test_shell_around_an_int8_graph_is_left_out(shell: str, output: str, tmp_path: Path) -> None:
    model = _compiled(_layer(shell, output), tmp_path)
    assert model.report.operators == {"FULLY_CONNECTED": 1}
    assert [tensor.name for tensor in model.inputs] == ["in_int8"]
    assert (model.inputs[0].scale, model.inputs[0].zero_point) == (0.5, 3)
    assert len(model.report.notes) == 2
    x = np.array([[1, -2, 3, 4]], np.int8)
    found = np.frombuffer(Program(model.image).run(x.tobytes()), np.int8).astype(float)
    real = (WEIGHTS * 0.25) @ ((x[0].astype(float) - 3) * 0.5) + BIAS * 0.125
    np.testing.assert_allclose((found + 7) * 0.75, real, atol=0.75 / 2 + 1e-6)


def test_shape_computed_at_run_time_is_not_needed(tmp_path: Path) -> None:
    """Keras with a free batch: SHAPE, STRIDED_SLICE and PACK only feed the RESHAPE."""
    tensors: list[Row] = [
        Row("x", "int8", (1, 2, 2), (0.5,), 0, None),
        Row("shape", "int32", (3,), (), 0, None),
        Row("begin", "int32", (1,), (), 0, np.array([0], np.int32)),
        Row("batch", "int32", (), (), 0, None),
        Row("wanted", "int32", (2,), (), 0, None),
        Row("y", "int8", (1, 4), (0.5,), 0, None),
    ]
    operators: list[Operator] = [
        ("SHAPE", [0], [1], {}),
        ("STRIDED_SLICE", [1, 2, 2, 2], [3], {}),
        ("PACK", [3, 2], [4], {}),
        ("RESHAPE", [0, 4], [5], {}),
    ]
    model = _compiled(tflite_file(tensors, operators), tmp_path)
    assert model.report.operators == {"RESHAPE": 1}
    assert Program(model.image).run(b"\1\2\3\4") == b"\1\2\3\4"


def test_every_unsupported_operator_is_listed_at_once_with_its_node() -> None:
    tensors: list[Row] = [Row(name, "int8", (1, 4), (0.5,)) for name in ("x", "cell", "mine", "y")]
    operators: list[Operator] = [
        ("ELU", [0], [1], {}), ("CUSTOM", [1], [2], {}), ("TANH", [2], [3], {}),
    ]  # fmt: skip
    with pytest.raises(CompileError) as caught:
        read_tflite(tflite_file(tensors, operators), "m")
    assert caught.value.problems == [
        "node 0 'cell': operator ELU is not supported",
        "node 1 'mine': operator CUSTOM MyOwnOperator is not supported",
    ]


@pytest.mark.parametrize(
    ("row", "operator", "output", "sentence"),
    [
        (Row("x", "float32", (1, 4), (), 0, None), "RELU", None, "is float32; only int8"),
        (
            Row("x", "int32", (1, 4), (0.5,), 0, None),
            "RELU",
            None,
            "is int32; only int8 and int16x8",
        ),
        (Row("x", "int8", (1, 4), (), 0, None), "RELU", None, "exactly one scale"),
        (
            Row("x", "int8", (1, 4), (0.5,), 0, None),
            "LOGISTIC",
            Row("y", "int8", (1, 4), (0.5,), 0, None),
            "must be 0.00390625 and -128",
        ),
        (
            Row("x", "int8", (1, 4), (0.5,), 0, None),
            "RESHAPE",
            Row("y", "int8", (2, 2), (0.25,), 0, None),
            "differ in scale or zero point",
        ),
        (
            Row("x", "int8", (1, 4), (0.5,), 0, None),
            "RESHAPE",
            Row("y", "int8", (3, 2), (0.5,), 0, None),
            "4 elements .* do not fit",
        ),
        (
            Row("x", "int8", (1, 4), (0.5,), 0, None),
            "TANH",
            Row("y", "int8", (1, 5), (1 / 128,), 0, None),
            "the file declares",
        ),
    ],
)
def test_graph_that_breaks_a_rule_is_refused_in_one_sentence(
    row: Row, operator: str, output: Row | None, sentence: str
) -> None:
    data = tflite_file([row, output or replace(row, name="y")], [(operator, [0], [1], {})])
    with pytest.raises(CompileError, match=sentence):
        lower(without_shell(read_tflite(data, "m")))


def test_dequantized_graph_is_the_float_reference() -> None:
    graph = without_shell(read_tflite(_layer(), "m"))
    x = np.array([[0.5, 1.0, -2.0, 3.0]], np.float32)
    found = run_float(dequantized(graph), {"in_int8": x})["out_int8"]
    np.testing.assert_allclose(found[0], (WEIGHTS * 0.25) @ x[0] + BIAS * 0.125)


def test_operator_codes_of_old_files_are_read() -> None:
    graph = read_tflite(_layer(), "m")
    assert [node.op for node in graph.nodes] == [Op.QUANTIZE, Op.FULLY_CONNECTED, Op.QUANTIZE]


@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"TFL3TFL3", b"\x1c\0\0\0TFL3" + b"\xff" * 64])
def test_file_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(CompileError) as caught:
        read_tflite(data, "m")
    assert len(caught.value.problems) == 1


VALID = {
    "tflite": _layer(),
    **{name: make().SerializeToString() for name, make in NETWORKS.items()},
}


@st.composite
def damaged_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A valid file that is cut short, or has a few bytes replaced."""
    name = draw(st.sampled_from(sorted(VALID)))
    data = bytearray(VALID[name])
    if draw(st.booleans()):
        return name, bytes(data[: draw(st.integers(0, len(data) - 1))])
    for _ in range(draw(st.integers(1, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return name, bytes(data)


def _problems(name: str, data: bytes) -> list[str]:
    try:
        if name == "tflite":
            lower(without_shell(read_tflite(data, name)))
        else:
            read_onnx(data, name)
    except CompileError as error:
        return error.problems or [""]
    return []


@given(damaged_files())
@settings(max_examples=400, deadline=None)
def test_damaged_file_is_compiled_or_refused_and_nothing_else(case: tuple[str, bytes]) -> None:
    assert all(problem and "\n" not in problem for problem in _problems(*case))
