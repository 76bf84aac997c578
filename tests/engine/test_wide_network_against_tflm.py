"""A gated cell of 16-bit activations in a float shell, as a converter writes it: compiler, plan and
engine together, byte by byte against TFLite Micro."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from wherry_native.compiler import compile_model
from wherry_native.engine import Program

from tests.compiler.tflite_files import Operator, Row, tflite_file

INPUTS, UNITS, CLASSES, SAMPLES = 12, 9, 4, 40
UNIT = 1 / 32768
"""The scale that TFLite fixes for LOGISTIC, TANH and SOFTMAX of int16."""


def _dense(
    random: np.random.Generator, name: str, inputs: int, outputs: int, x: float
) -> list[Row]:
    scales = tuple(float(np.float32(s)) for s in random.uniform(0.005, 0.02, outputs))
    weights = random.integers(-127, 128, (outputs, inputs), np.int8)
    bias = random.integers(-(10**6), 10**6, outputs).astype(np.int64)
    products = tuple(float(np.float32(x) * np.float32(scale)) for scale in scales)
    return [
        Row(f"{name}/weights", "int8", weights.shape, scales, 0, weights),
        Row(f"{name}/bias", "int64", bias.shape, products, 0, bias),
    ]


def _network(is_shelled: bool) -> bytes:
    """softmax(W (sigmoid(A x) tanh(B x) + tanh(B x)))."""
    random = np.random.default_rng(21)
    x, hidden, sum_ = 1 / 4096, 1 / 2048, 1 / 16384
    rows = [
        Row("x", "int16", (1, INPUTS), (x,)),
        *_dense(random, "gate", INPUTS, UNITS, x),
        *_dense(random, "value", INPUTS, UNITS, x),
        *_dense(random, "head", UNITS, CLASSES, sum_),
        Row("a", "int16", (1, UNITS), (hidden,)),
        Row("b", "int16", (1, UNITS), (hidden,)),
        Row("gated", "int16", (1, UNITS), (UNIT,)),
        Row("valued", "int16", (1, UNITS), (UNIT,)),
        Row("product", "int16", (1, UNITS), (UNIT,)),
        Row("sum", "int16", (1, UNITS), (sum_,)),
        Row("logits", "int16", (1, CLASSES), (1 / 8192,)),
        Row("y", "int16", (1, CLASSES), (UNIT,)),
        Row("real x", "float32", (1, INPUTS)),
        Row("real y", "float32", (1, CLASSES)),
    ]
    at = {row.name: index for index, row in enumerate(rows)}

    def node(op: str, *names: str) -> Operator:
        *operands, output = (at[name] for name in names)
        return (op, operands, [output], {})

    operators = [
        node("FULLY_CONNECTED", "x", "gate/weights", "gate/bias", "a"),
        node("FULLY_CONNECTED", "x", "value/weights", "value/bias", "b"),
        node("LOGISTIC", "a", "gated"),
        node("TANH", "b", "valued"),
        node("MUL", "gated", "valued", "product"),
        node("ADD", "product", "valued", "sum"),
        node("FULLY_CONNECTED", "sum", "head/weights", "head/bias", "logits"),
        ("SOFTMAX", [at["logits"]], [at["y"]], {"Beta": 1.0}),
    ]
    if is_shelled:
        operators = [
            node("QUANTIZE", "real x", "x"), *operators, node("DEQUANTIZE", "y", "real y")
        ]  # fmt: skip
        return tflite_file(rows, operators, [at["real x"]])
    return tflite_file(rows[:-2], operators)


@pytest.mark.parametrize("is_shelled", [False, True])
def test_a_network_of_16_bits_gives_the_same_bytes_as_tflite_micro(
    oracle_python: Path, root: Path, tmp_path: Path, is_shelled: bool
) -> None:
    codes = np.random.default_rng(22).integers(-32768, 32768, (SAMPLES, 1, INPUTS)).astype(np.int16)
    (tmp_path / "cell.tflite").write_bytes(_network(is_shelled=False))
    samples = {f"{number}_0": sample for number, sample in enumerate(codes)}
    np.savez(tmp_path / "cell.npz", outputs=1, **samples)
    subprocess.run(
        [oracle_python, root / "tests/engine/tflm_oracle.py", tmp_path], check=True, timeout=60
    )
    (tmp_path / "given.tflite").write_bytes(_network(is_shelled))
    program = Program(compile_model(tmp_path / "given.tflite").image)
    found = [np.frombuffer(program.run(sample.tobytes()), np.int16) for sample in codes]
    wanted = np.load(tmp_path / "cell.out.npy")
    assert np.array_equal(np.stack(found), wanted.reshape(SAMPLES, CLASSES))
    assert len(np.unique(wanted)) > SAMPLES
