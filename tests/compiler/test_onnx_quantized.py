"""ONNX QDQ files beyond what one quantizer writes: integer shells, weights, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from wherry_native.compiler import CompiledModel, CompileError, compile_model
from wherry_native.engine import Program
from wherry_native.program import read_program

from tests.compiler.onnx_models import ModelWriter

NONE, THREE = np.int8(0), np.int8(3)


class QdqWriter(ModelWriter):
    """Writes pairs of QuantizeLinear and DequantizeLinear."""

    def parameters(self, scale: Any, zero_point: Any) -> tuple[str, str]:
        return self.constant(np.float32(scale)), self.constant(zero_point)

    def pair(self, x: str, scale: float = 0.05, zero_point: Any = THREE) -> str:
        scale_name, zero_name = self.parameters(scale, zero_point)
        q = self.node("QuantizeLinear", x, scale_name, zero_name)
        return self.node("DequantizeLinear", q, scale_name, zero_name)

    def codes(self, data: Any, scale: Any, zero_point: Any = NONE, **attributes: int) -> str:
        return self.node(
            "DequantizeLinear", self.constant(data), *self.parameters(scale, zero_point),
            **attributes,
        )  # fmt: skip


CODES = np.arange(-12, 12, dtype=np.int8).reshape(4, 6)


def compiled(folder: Path, model: onnx.ModelProto) -> CompiledModel:
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return compile_model(folder / "m.onnx")


def weights_of(model: CompiledModel) -> np.ndarray:
    tensor = next(t for t in read_program(model.image).tensors if t.name.endswith("/weights"))
    return np.frombuffer(tensor.data, np.int8).reshape(tensor.shape)


@pytest.mark.parametrize("is_channelwise", [True, False])
def test_weights_keep_their_codes_behind_a_transpose(is_channelwise: bool, tmp_path: Path) -> None:
    """As PyTorch exports a linear layer."""
    w = QdqWriter()
    if is_channelwise:
        scales = np.linspace(0.01, 0.04, 4, dtype=np.float32)
        weights = w.codes(CODES, scales, np.zeros(4, np.int8), axis=0)
    else:
        weights = w.codes(CODES, 0.02)
    y = w.node("MatMul", w.pair("x"), w.node("Transpose", weights, perm=[1, 0]))
    model = compiled(tmp_path, w.model({"x": [1, 6]}, [w.pair(y)]))
    assert (weights_of(model) == CODES).all()
    assert not model.report.notes


def test_weights_with_a_zero_point_are_quantized_anew_and_the_report_says_so(
    tmp_path: Path,
) -> None:
    w = QdqWriter()
    weights = w.codes(CODES.astype(np.uint8), 0.02, np.uint8(117))
    y = w.node("Gemm", w.pair("x"), weights, transB=1)
    model = compiled(tmp_path, w.model({"x": [1, 6]}, [w.pair(y)]))
    assert "weights of 'gemm3' are quantized anew" in model.report.notes[0]
    assert np.abs(weights_of(model)).max() == 127


def test_integers_at_the_inputs_and_outputs_are_the_programs(tmp_path: Path) -> None:
    w = QdqWriter()
    scale, zero = w.parameters(0.1, np.uint8(120))
    x = w.node("DequantizeLinear", "x", scale, zero)
    y = w.node("QuantizeLinear", w.node("Relu", x), scale, zero)
    model = w.model({"x": [1, 8]}, [y])
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.UINT8
    made = compiled(tmp_path, model)
    assert made.inputs[0].zero_point == made.outputs[0].zero_point == -8
    assert sum("uint8 in the file and int8 in the program" in n for n in made.report.notes) == 2
    codes = np.arange(0, 240, 30, dtype=np.uint8)
    found = Program(made.image).run((codes.astype(int) - 128).astype(np.int8).tobytes())
    wanted = np.maximum(codes, 120).astype(int) - 128
    assert np.frombuffer(found, np.int8).tolist() == wanted.tolist()


def channelwise_activation(w: QdqWriter) -> str:
    scale, zero = w.parameters(np.full(6, 0.1, np.float32), np.zeros(6, np.int8))
    return w.node("QuantizeLinear", "x", scale, zero)


def other_scale(w: QdqWriter) -> str:
    q = w.node("QuantizeLinear", "x", *w.parameters(0.1, np.int8(0)))
    return w.node("DequantizeLinear", q, *w.parameters(0.2, np.int8(0)))


def no_scale(w: QdqWriter) -> str:
    return w.node("QuantizeLinear", "x", *w.parameters(0.0, np.int8(0)))


def four_bits(w: QdqWriter) -> str:
    scale = w.constant(np.full((4, 2), 0.1, np.float32))
    weights = w.node("DequantizeLinear", w.constant(CODES), scale, axis=1, block_size=3)
    return w.node("Gemm", "x", weights, transB=1)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (channelwise_activation, "6 scales for an activation, which can have one"),
        (other_scale, "reads with scale 0.2 and zero point 0 what was written with 0.1 and 0"),
        (no_scale, "scale that is not above 0"),
        (four_bits, "block_size is not supported"),
    ],
)
def test_what_the_engine_cannot_keep_is_refused_in_words(
    build: Any, words: str, tmp_path: Path
) -> None:
    w = QdqWriter(opset=21)
    with pytest.raises(CompileError, match=words):
        compiled(tmp_path, w.model({"x": [1, 6]}, [build(w)]))
