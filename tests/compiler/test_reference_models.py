"""The three MLPerf Tiny models, where they are at hand: what the compiler makes of real files."""

import os
from pathlib import Path

import numpy as np
import pytest
from wherry_native.compiler import compile_model, from_parts, to_parts
from wherry_native.engine import Program

FOLDER = Path(
    os.environ.get("WHERRY_MLPERF_TINY", Path(__file__).parents[3] / "shared" / "mlperf-tiny")
)
MACS = {
    "anomaly_detection": 264_192,
    "keyword_spotting": 2_656_768,
    "image_classification": 12_501_632,
}

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"the MLPerf Tiny models are not at {FOLDER}"
)


@pytest.mark.parametrize("name", MACS)
def test_program_gives_every_golden_output(name: str) -> None:
    program = Program(compile_model(FOLDER / f"{name}.tflite").image)
    with np.load(FOLDER / f"{name}.vectors.npz") as vectors:
        inputs, outputs = vectors["inputs"], vectors["outputs"]
    found = np.stack([np.frombuffer(program.run(x.tobytes()), np.int8) for x in inputs])
    assert np.count_nonzero(found != outputs.reshape(found.shape)) == 0


@pytest.mark.parametrize(("name", "macs"), MACS.items())
def test_work_is_counted_as_published(name: str, macs: int) -> None:
    assert compile_model(FOLDER / f"{name}.tflite").report.macs == macs


@pytest.mark.parametrize("name", MACS)
def test_parts_give_the_image_back(name: str) -> None:
    image = compile_model(FOLDER / f"{name}.tflite").image
    assert from_parts(to_parts(image)) == image


@pytest.mark.parametrize("name", MACS)
def test_arena_is_smaller_than_all_activations_together(name: str) -> None:
    model = compile_model(FOLDER / f"{name}.tflite")
    program = Program(model.image)
    assert program.arena_bytes == model.report.arena_bytes
    assert program.arena_bytes % 16 == 0
    assert program.arena_bytes >= max(t.size_bytes for t in (*model.inputs, *model.outputs))


@pytest.mark.parametrize("name", MACS)
def test_int8_samples_reach_the_program_unchanged(name: str, tmp_path: Path) -> None:
    with np.load(FOLDER / f"{name}.vectors.npz") as vectors:
        samples = vectors["inputs"][-3:]
    np.save(tmp_path / "samples.npy", samples)
    model = compile_model(FOLDER / f"{name}.tflite", calibration=tmp_path / "samples.npy")
    assert model.sample_inputs == tuple(sample.tobytes() for sample in samples)
    assert model.report.agreement is not None
