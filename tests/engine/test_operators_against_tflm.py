"""Every operator of the ABI against TFLite Micro's reference kernels (PyPI `tflite-micro`), byte by
byte, on small random models. The oracle runs in an environment of its own."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tflite
from wherry_native.compiler import compile_model
from wherry_native.engine import Program
from wherry_native.program import Op

from tests.engine.operator_cases import DRAWS, Case, cases

CASES = {op.name: 40 for op in Op if op <= Op.QUANTIZE}
"""Of the operators that every model has; of the others, and of 16 bits, OTHERS."""
OTHERS = 8


def test_every_operator_of_the_abi_is_compared() -> None:
    names = {re.sub(r"(_8)?(_16)?(_8)?$", "", name) for name in DRAWS}
    # What the engine has under another name: tables, and slices.
    assert names - {op.name for op in Op} == {"ABS", "HARD_SWISH", "RSQRT", "SLICE", "SPLIT"}
    assert {op.name for op in Op} - names == {"LOOKUP"}


@pytest.fixture(scope="module")
def oracle_outputs(
    oracle_python: Path, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with every case's model and the outputs that TFLite Micro gives it."""
    folder = tmp_path_factory.mktemp("operators")
    for operator in DRAWS:
        for case in cases(operator, CASES.get(operator, OTHERS)):
            _write(folder, case)
    done = subprocess.run(
        [oracle_python, root / "tests/engine/tflm_oracle.py", folder],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    last = (done.stdout.split() or ["none"])[-1]
    assert done.returncode == 0, f"the oracle failed at {last}: {done.stderr[-2000:]}"
    return folder


def _write(folder: Path, case: Case) -> None:
    (folder / f"{case.name}.tflite").write_bytes(case.model)
    arrays = {
        f"{sample}_{index}": array
        for sample, inputs in enumerate(case.inputs)
        for index, array in enumerate(inputs)
    }
    count = tflite.Model.GetRootAsModel(case.model, 0).Subgraphs(0).OutputsLength()
    np.savez(folder / f"{case.name}.npz", outputs=count, **arrays)


@pytest.mark.parametrize("operator", DRAWS)
def test_operator_gives_the_same_bytes_as_tflite_micro(oracle_outputs: Path, operator: str) -> None:
    seen: set[int] = set()
    for case in cases(operator, CASES.get(operator, OTHERS)):
        program = Program(compile_model(oracle_outputs / f"{case.name}.tflite").image)
        expected = np.load(oracle_outputs / f"{case.name}.out.npy")
        for inputs, output in zip(case.inputs, expected, strict=True):
            given = program.run(b"".join(array.tobytes() for array in inputs))
            differing = np.flatnonzero(np.frombuffer(given, output.dtype) != output.ravel())
            assert differing.size == 0, f"{case.name}: {differing.size} of {output.size} differ"
            seen.update(output.ravel().tolist())
    # Outputs that are all saturated would compare nothing.
    assert len(seen) > (8 if operator == "ARG_MAX" else 40)
