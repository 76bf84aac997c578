"""Pools whose filter is larger than the image, as SAME allows: the bytes of TFLite Micro."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import tflite
from wherry_native.compiler import CompileError, compile_model
from wherry_native.engine import Program

from tests.compiler.tflite_files import Row, tflite_file

SIZES = [  # image, filter, stride
    ((3, 4), (5, 2), (1, 1)),
    ((3, 4), (7, 9), (2, 2)),
    ((1, 4), (3, 3), (1, 2)),
    ((2, 2), (3, 3), (3, 3)),
    ((3, 4), (40, 2), (1, 1)),
]
OPERATORS = ("AVERAGE_POOL_2D", "MAX_POOL_2D")
CASES = [(op, index) for op in OPERATORS for index in range(len(SIZES))]
SAMPLE_COUNT = 8


def file_of(operator: str, index: int, padding: int = tflite.Padding.SAME) -> bytes:
    (height, width), (filter_h, filter_w), (stride_h, stride_w) = SIZES[index]
    shape = (1, -(-height // stride_h), -(-width // stride_w), 3)
    rows = [
        Row("x", "int8", (1, height, width, 3), (0.5,), 3),
        Row("y", "int8", shape, (0.5,), 3),
    ]
    options = {
        "FilterHeight": filter_h, "FilterWidth": filter_w, "StrideH": stride_h,
        "StrideW": stride_w, "Padding": padding,
    }  # fmt: skip
    return tflite_file(rows, [(operator, [0], [1], options)])


def samples(index: int) -> list[np.ndarray]:
    random = np.random.default_rng(index)
    shape = (1, *SIZES[index][0], 3)
    return [random.integers(-128, 128, shape).astype(np.int8) for _ in range(SAMPLE_COUNT)]


@pytest.fixture(scope="module")
def folder(oracle_python: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pools")
    for operator, index in CASES:
        path = made / f"{operator}_{index}"
        path.with_suffix(".tflite").write_bytes(file_of(operator, index))
        np.savez(
            path.with_suffix(".npz"),
            outputs=1,
            **{f"{i}_0": s for i, s in enumerate(samples(index))},
        )
    done = subprocess.run(
        [oracle_python, root / "tests/engine/tflm_oracle.py", made],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-200:]} {done.stderr[-2000:]}"
    return made


@pytest.mark.parametrize(("operator", "index"), CASES)
def test_a_pool_wider_than_its_image_gives_the_bytes_of_tflite_micro(
    folder: Path, operator: str, index: int
) -> None:
    path = folder / f"{operator}_{index}"
    program = Program(compile_model(path.with_suffix(".tflite")).image)
    found = b"".join(program.run(sample.tobytes()) for sample in samples(index))
    assert found == np.load(f"{path}.out.npy").tobytes()


@pytest.mark.parametrize("operator", OPERATORS)
def test_without_padding_such_a_pool_is_refused_with_what_to_do(
    operator: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(file_of(operator, 0, tflite.Padding.VALID))
    with pytest.raises(CompileError, match=r"fits in nowhere; pad the input \(SAME in TFLite"):
        compile_model(path)


def test_a_tensor_of_six_axes_is_refused_with_what_to_do(tmp_path: Path) -> None:
    shape = (1, 2, 1, 2, 1, 2)
    rows = [Row("x", "int8", shape, (0.5,), 3), Row("y", "int8", shape, (0.5,), 3)]
    path = tmp_path / "m.tflite"
    path.write_bytes(tflite_file(rows, [("RELU", [0], [1], {})]))
    with pytest.raises(CompileError, match=r"'x' has 6 axes of at most 5; .* join neighbouring"):
        compile_model(path)
