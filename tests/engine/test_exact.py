"""The three reference models: every golden output that TFLite Micro gave, byte by byte."""

from pathlib import Path

import numpy as np
import pytest
from wherry_native.compiler import compile_model
from wherry_native.engine import Program

MODELS = ("anomaly_detection", "keyword_spotting", "image_classification")


@pytest.mark.parametrize("name", MODELS)
def test_reference_model_gives_its_golden_outputs(mlperf_tiny: Path, name: str) -> None:
    program = Program(compile_model(mlperf_tiny / f"{name}.tflite").image)
    with np.load(mlperf_tiny / f"{name}.vectors.npz") as vectors:
        inputs, outputs = vectors["inputs"], vectors["outputs"]
    assert len(inputs) == len(outputs) > 100
    for index, (sample, output) in enumerate(zip(inputs, outputs, strict=True)):
        assert program.run(sample.tobytes()) == output.tobytes(), f"vector {index} of {name}"
