"""The float model beside the program: both get the same samples, in the program's order."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.door import Answer, wherry
from tests.compiler.onnx_models import ModelWriter

COUNT = 60


def image_network(channels: int, height: int, width: int) -> onnx.ModelProto:
    """Answers differ with every mix-up of rows, columns and channels."""
    w = ModelWriter(seed=3)
    x = w.node("Relu", w.node("Conv", "image", w.weights(6, channels, 2, 2), w.weights(6)))
    size = 6 * (height - 1) * (width - 1)
    x = w.node("Gemm", w.node("Flatten", x), w.weights(size, 4), w.weights(4))
    return w.model({"image": [1, channels, height, width]}, [x])


def float_answers(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    """Classes, by onnx's own evaluator; images are N, C, H, W."""
    evaluator = onnx.reference.ReferenceEvaluator(model)
    return np.array([evaluator.run(None, {"image": image[None]})[0].argmax() for image in images])


def packaged(folder: Path, calibration: np.ndarray, *options: str | Path) -> Answer:
    np.save(folder / "x.npy", calibration)
    return wherry("model", "package", "--input", folder / "m.onnx", "--name", "m", "--version",
                  "1.0.0", "--calibration", folder / "x.npy", "--output", folder / "m.wherry",
                  "--json", *options)  # fmt: skip


def evaluated(folder: Path, *options: str | Path) -> Answer:
    return wherry("model", "evaluate", folder / "m.wherry", "--dataset", folder / "data.npz",
                  "--runs", "1", "--float", folder / "m.onnx", "--json", *options)  # fmt: skip


@pytest.mark.parametrize("size", [(3, 6, 5), (4, 4, 4)], ids=["image", "cube"])
@pytest.mark.parametrize("form", ["image", "flat", "batch", "steps", "flat steps"])
def test_both_models_read_the_dataset_in_the_programs_order(
    form: str, size: tuple[int, int, int], tmp_path: Path
) -> None:
    model = image_network(*size)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    images = np.random.default_rng(2).normal(0, 1, (COUNT, *size)).astype(np.float32)
    assert packaged(tmp_path, images).status == 0
    labels = float_answers(model, images)
    assert len(set(labels.tolist())) == 4
    inputs = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    if "steps" in form:
        shown = wherry("model", "inspect", tmp_path / "m.wherry", "--json")
        [contract] = shown.json["manifest"]["contract"]["inputs"]
        steps = np.rint(inputs / contract["scale"]) + contract["zero_point"]
        inputs = np.clip(steps, -128, 127).astype(np.int8)
    if "flat" in form:
        inputs = inputs.reshape(COUNT, -1)
    if form == "batch":
        inputs = inputs[:, None]
    np.savez(tmp_path / "data.npz", inputs=inputs, labels=labels)
    told = evaluated(tmp_path)
    assert told.status == 0, told
    assert told.json["float"]["accuracy"] >= (0.9 if "steps" in form else 1)  # rounded inputs
    assert told.json["accuracy"] >= 0.9
    assert told.json["same_answer_fraction"] >= 0.9
    again = packaged(tmp_path, images, "--evaluate", tmp_path / "data.npz")
    assert again.status == 0, again
    assert again.json["evaluation"]["float"] == told.json["float"]


def with_arg_max(model: onnx.ModelProto) -> onnx.ModelProto:
    scores = model.graph.output[0].name
    model.graph.node.append(
        onnx.helper.make_node("ArgMax", [scores], ["class"], axis=1, keepdims=0)
    )
    model.graph.output[0].CopyFrom(
        onnx.helper.make_tensor_value_info("class", onnx.TensorProto.INT64, [1])
    )
    return model


@pytest.mark.parametrize("beside", ["both", "bundle", "float"])
def test_an_arg_max_is_evaluated_by_its_positions_whichever_of_the_two_models_has_it(
    beside: str, tmp_path: Path
) -> None:
    plain, ends = image_network(3, 6, 5), with_arg_max(image_network(3, 6, 5))
    made_of, float_model = {"both": (ends, ends), "bundle": (ends, plain), "float": (plain, ends)}[
        beside
    ]
    (tmp_path / "m.onnx").write_bytes(made_of.SerializeToString())
    images = np.random.default_rng(2).normal(0, 1, (COUNT, 3, 6, 5)).astype(np.float32)
    assert packaged(tmp_path, images).status == 0
    (tmp_path / "m.onnx").write_bytes(float_model.SerializeToString())
    labels = float_answers(plain, images)
    np.savez(tmp_path / "data.npz", inputs=images.transpose(0, 2, 3, 1), labels=labels)
    told = evaluated(tmp_path)
    assert told.status == 0, told
    assert told.json["float"]["accuracy"] == 1
    assert told.json["accuracy"] >= 0.9
    assert told.json["same_answer_fraction"] >= 0.9
    assert np.array(told.json["confusion"]).shape == (4, 4)


def test_a_float_model_of_other_classes_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(with_arg_max(image_network(3, 6, 5)).SerializeToString())
    images = np.random.default_rng(2).normal(0, 1, (COUNT, 3, 6, 5)).astype(np.float32)
    assert packaged(tmp_path, images).status == 0
    w = ModelWriter(seed=3)
    x = w.node("Flatten", w.node("MaxPool", "image", kernel_shape=[1, 1]))
    other = w.model({"image": [1, 3, 6, 5]}, [x])
    (tmp_path / "m.onnx").write_bytes(other.SerializeToString())
    labels = np.zeros(COUNT, np.int64)
    np.savez(tmp_path / "data.npz", inputs=images.transpose(0, 2, 3, 1), labels=labels)
    told = evaluated(tmp_path)
    assert told.status != 0
    said = told.err.replace("\n", " ")
    assert "the float model gives 90 numbers per sample, the bundle has 4 classes" in said
    assert "with or without its ArgMax" in said


def test_a_dataset_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    model = image_network(3, 6, 5)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    images = np.random.default_rng(2).normal(0, 1, (COUNT, 3, 6, 5)).astype(np.float32)
    assert packaged(tmp_path, images).status == 0
    nothing = np.zeros((0, 6, 5, 3), np.float32)
    np.savez(tmp_path / "data.npz", inputs=nothing, labels=np.zeros(0, np.int64))
    told = evaluated(tmp_path)
    assert told.status == 10
    assert "`inputs` has shape [0, 6, 5, 3], needs a sample" in told.err
    np.save(tmp_path / "one.npy", images)
    (tmp_path / "one.npy").rename(tmp_path / "data.npz")
    told = evaluated(tmp_path)
    assert told.status == 10
    assert "`inputs` and `labels`, is a .npy file of one array" in told.err


def remembering_network() -> onnx.ModelProto:
    """One step: the answer comes from what was remembered, and the sample joins it."""
    w = ModelWriter(seed=6)
    both = w.node("Concat", "x", "state", axis=1)
    after = w.node("Tanh", w.node("Gemm", both, w.weights(3 + 5, 5, scale=0.4)))
    y = w.node("Gemm", after, w.weights(5, 3, scale=1.0))
    model = w.model({"x": [1, 3], "state": [1, 5]}, [y, after])
    model.graph.output[1].name = model.graph.node[-2].output[0] = "state_after"
    model.graph.node[-1].input[0] = "state_after"
    return model


def test_a_model_with_memory_is_evaluated_step_by_step_beside_float(tmp_path: Path) -> None:
    model = remembering_network()
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    series = np.random.default_rng(4).normal(0, 1, (COUNT, 3)).astype(np.float32)
    evaluator = onnx.reference.ReferenceEvaluator(model)
    state, labels = np.zeros((1, 5), np.float32), []
    for x in series:
        y, state = evaluator.run(None, {"x": x[None], "state": state})
        labels.append(y.argmax())
    np.savez(tmp_path / "data.npz", inputs=series, labels=np.array(labels))
    memory = ("--state", "state=state_after")
    made = packaged(tmp_path, series, *memory, "--evaluate", tmp_path / "data.npz")
    assert made.status == 0, made
    told = evaluated(tmp_path, *memory)
    assert told.status == 0, told
    for found in (made.json["evaluation"], told.json):
        assert found["float"]["accuracy"] == 1
        assert found["accuracy"] > 0.95
    refused = evaluated(tmp_path)
    assert refused.status != 0
    assert "m has inputs ['x', 'state'], needs exactly one that is fed" in refused.err
    alone = wherry("model", "evaluate", tmp_path / "m.wherry", "--dataset", tmp_path / "data.npz",
                   *memory)  # fmt: skip
    assert alone.status != 0
    assert "--state says what --float MODEL has for memory" in alone.err
