"""The example's models are what models.json and README.md say they are.

The judge is ONNX's own reference evaluator, which shares no code with Wherry's importer.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "digits"
ROWS: list[dict[str, Any]] = json.loads((FOLDER / "models.json").read_text())
VERSIONS = [row["version"] for row in ROWS]


def row_of(version: str) -> dict[str, Any]:
    return next(row for row in ROWS if row["version"] == version)


def load(version: str) -> onnx.ModelProto:
    return onnx.load(FOLDER / row_of(version)["file"])


def test_the_data_are_split_without_overlap_and_keep_their_range() -> None:
    data = np.load(FOLDER / "digits.npz")
    parts = ("train", "validation", "test")
    assert [len(data[f"{part}_images"]) for part in parts] == [1200, 297, 300]
    seen = [image.tobytes() for part in parts for image in data[f"{part}_images"]]
    assert len(set(seen)) == len(seen)
    for part in parts:
        assert data[f"{part}_images"].dtype == np.uint8
        assert data[f"{part}_images"].max() == 16
        assert set(data[f"{part}_labels"]) == set(range(10))


def test_calibration_samples_fit_the_contract() -> None:
    image = np.load(FOLDER / "calibration.npz")["image"]
    assert (image.shape, image.dtype) == ((128, 1, 8, 8), np.float32)
    assert (image.min(), image.max()) == (0.0, 1.0)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_has_the_same_contract_and_a_batch_norm_to_fold(version: str) -> None:
    graph = load(version).graph
    inputs, outputs = (
        [(v.name, [d.dim_value for d in v.type.tensor_type.shape.dim]) for v in values]
        for values in (graph.input, graph.output)
    )
    assert inputs == [("image", [1, 1, 8, 8])]
    assert outputs == [("probabilities", [1, 10])]
    assert "BatchNormalization" in {node.op_type for node in graph.node}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_answers_as_well_as_stated(version: str) -> None:
    data = np.load(FOLDER / "digits.npz")
    evaluator = ReferenceEvaluator(load(version))
    images = data["test_images"].astype(np.float32)[:, None] / 16
    answers = evaluator.run(None, {"image": images})[0].argmax(axis=1)
    stated = row_of(version)["test_accuracy"]
    assert np.mean(answers == data["test_labels"]) == pytest.approx(stated, abs=0.004)


def multiply_accumulates(model: onnx.ModelProto) -> int:
    """Counted from the file: weights of each Conv times its output's area, and the Gemm's."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.value_info}
    weights = {tensor.name: np.prod(tensor.dims) for tensor in graph.initializer}
    conv = [n for n in graph.node if n.op_type == "Conv"]
    gemm = [n for n in graph.node if n.op_type == "Gemm"]
    area = sum(weights[n.input[1]] * np.prod(shapes[n.output[0]][2:]) for n in conv)
    return int(area + sum(weights[n.input[1]] for n in gemm))


def test_the_slow_version_is_slow_for_its_work_and_not_by_waiting() -> None:
    counted = {version: multiply_accumulates(load(version)) for version in VERSIONS}
    assert counted == {row["version"]: row["multiply_accumulates"] for row in ROWS}
    assert counted["1.2.0"] >= 8 * counted["1.1.0"]
    assert counted["1.0.0"] == counted["1.1.0"] == counted["1.1.1"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_readme_quotes_the_measured_figures(version: str) -> None:
    text = (FOLDER / "README.md").read_text()
    quoted = re.search(rf"^\| {version} \| ([\d,]+) \| ([\d.]+) % \| ([\d.]+) % \|$", text, re.M)
    assert quoted is not None
    row = row_of(version)
    assert int(quoted[1].replace(",", "")) == row["multiply_accumulates"]
    assert float(quoted[2]) / 100 == pytest.approx(row["test_accuracy"], abs=0.0006)
    assert float(quoted[3]) / 100 == pytest.approx(row["test_accuracy_shifted"], abs=0.0006)
