"""The demo's models on digits that nobody trained or calibrated with: int8 keeps the accuracy."""

import json
from pathlib import Path

import numpy as np
import pytest
from wherry_native.compiler import compile_model
from wherry_native.engine import Program

FOLDER = Path(__file__).parents[2] / "examples" / "digits"
MODELS = json.loads((FOLDER / "models.json").read_text())
ACCURACY_LOSS_MAX = 0.01


@pytest.mark.parametrize("model", MODELS, ids=[model["version"] for model in MODELS])
def test_int8_reads_held_out_digits_as_well_as_float(model: dict) -> None:
    compiled = compile_model(FOLDER / model["file"], calibration=FOLDER / "calibration.npz")
    program = Program(compiled.image)
    contract = compiled.inputs[0]
    with np.load(FOLDER / "digits.npz") as digits:
        images, labels = digits["test_images"] / 16.0, digits["test_labels"]
    codes = np.clip(np.round(images / contract.scale) + contract.zero_point, -128, 127)
    answers = [
        np.frombuffer(program.run(image.tobytes()), np.int8).argmax()
        for image in codes.astype(np.int8)
    ]
    accuracy = float(np.mean(np.array(answers) == labels))
    assert accuracy >= model["test_accuracy"] - ACCURACY_LOSS_MAX
    assert compiled.report.macs == model["multiply_accumulates"]
    assert compiled.report.agreement is not None
    assert compiled.report.agreement.argmax_fraction >= 0.99
