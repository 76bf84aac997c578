"""Activations at the ends of what a scale can be, byte by byte against TFLite Micro: there the
shifts reach their limits and the tables saturate."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from wherry_native.compiler import compile_model
from wherry_native.engine import Program

from tests.compiler.tflite_files import Row, tflite_file

SCALES = (2.0**-24, 1e-5, 0.001, 0.0478, 0.25, 0.9, 1.0, 3.7, 7.9, 8.0, 15.9, 16.0, 31.0, 100.0)
OUTPUTS = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0), "SOFTMAX": (1 / 256, -128)}
CASES = [(op, i, zero) for op in OUTPUTS for i in range(len(SCALES)) for zero in (-128, 7)]


def _name(operator: str, index: int, zero_point: int) -> str:
    return f"{operator}_{index}_{zero_point + 128}"


def _samples(operator: str) -> list[np.ndarray]:
    codes = np.arange(-128, 128, dtype=np.int8)
    if operator != "SOFTMAX":
        return [codes.reshape(1, 256)]
    random = np.random.default_rng(5)
    return [random.permutation(codes)[:256].reshape(16, 16) for _ in range(4)]


@pytest.fixture(scope="module")
def oracle_outputs(
    oracle_python: Path, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("extremes")
    for operator, index, zero_point in CASES:
        samples = _samples(operator)
        scale, output_zero_point = OUTPUTS[operator]
        rows = [
            Row("x", "int8", samples[0].shape, (SCALES[index],), zero_point),
            Row("y", "int8", samples[0].shape, (scale,), output_zero_point),
        ]
        options = {"Beta": 1.0} if operator == "SOFTMAX" else {}
        path = folder / _name(operator, index, zero_point)
        path.with_suffix(".tflite").write_bytes(tflite_file(rows, [(operator, [0], [1], options)]))
        np.savez(
            path.with_suffix(".npz"), outputs=1, **{f"{i}_0": s for i, s in enumerate(samples)}
        )
    done = subprocess.run(
        [oracle_python, root / "tests/engine/tflm_oracle.py", folder],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-200:]} {done.stderr[-2000:]}"
    return folder


@pytest.mark.parametrize("operator", OUTPUTS)
def test_activation_at_extreme_scales_gives_the_bytes_of_tflite_micro(
    oracle_outputs: Path, operator: str
) -> None:
    differing = []
    for case in CASES:
        if case[0] != operator:
            continue
        path = oracle_outputs / _name(*case)
        program = Program(compile_model(path.with_suffix(".tflite")).image)
        expected = np.load(f"{path}.out.npy")
        found = b"".join(program.run(sample.tobytes()) for sample in _samples(operator))
        if found != expected.tobytes():
            differing.append((SCALES[case[1]], case[2]))
    assert differing == []
