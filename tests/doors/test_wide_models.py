"""Models of 16-bit activations through the operator's door."""

from pathlib import Path

import numpy as np
import pytest

from tests.cli.door import Answer, wherry
from tests.compiler.onnx_models import ModelWriter
from tests.engine.tflite_models import Operand, constant_int64, one_operator

X_SCALE, W_SCALE, Y_SCALE = 1 / 4096, 1 / 64, 1 / 256


def test_a_16_bit_tflite_file_is_packaged_and_gives_the_integers_of_its_rule(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(7)
    weights = random.integers(-127, 128, (5, 9), np.int8)
    bias = random.integers(-(10**6), 10**6, 5)
    model, bundle = tmp_path / "wide.tflite", tmp_path / "wide.wherry"
    model.write_bytes(
        one_operator(
            "FULLY_CONNECTED",
            [
                Operand("x", (1, 9), (X_SCALE,), dtype="int16"),
                Operand("w", (5, 9), (W_SCALE,), data=weights),
                constant_int64("bias", bias, (X_SCALE * W_SCALE,)),
            ],
            Operand("y", (1, 5), (Y_SCALE,), dtype="int16"),
            {"FusedActivationFunction": 0},
        )
    )
    done = wherry("model", "package", "--input", model, "--name", "wide", "--version", "1.0.0",
                  "--output", bundle)  # fmt: skip
    assert done.status == 0, done
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    codes = random.integers(-32768, 32768, (20, 9)).astype(np.int16)
    np.save(x, codes)
    ran = wherry("model", "run", bundle, "--inputs", x, "--outputs", y)
    assert ran.status == 0, ran
    found = np.load(y)
    assert found.dtype == np.int16
    # The ratio of scales is 2^-10: one shift of the 64-bit sum, rounded.
    sums = codes.astype(np.int64) @ weights.T.astype(np.int64) + bias
    assert np.array_equal(found, np.clip((sums + 512) >> 10, -32768, 32767))


def packaged(folder: Path, *options: str) -> Answer:
    return wherry("model", "package", "--input", folder / "m.onnx", "--name", "m", "--version",
                  "1.0.0", "--calibration", folder / "x.npy", "--output", folder / "m.wherry",
                  "--json", *options)  # fmt: skip


def test_layers_kept_in_16_bits_as_the_report_advises_gain_what_it_says(tmp_path: Path) -> None:
    """One channel's range leaves the others, which count, less than a step of eight bits."""
    w = ModelWriter(seed=6)
    spread = np.full((10, 10), 1e-3, np.float32)
    spread[0] = np.eye(10)[0] * 3
    readout = np.ones((10, 3), np.float32)
    readout[0] = 1e-6
    x = w.node("Gemm", w.node("Relu", "x"), w.constant(spread))
    model = w.model({"x": [1, 10]}, [w.node("Gemm", x, w.constant(readout))])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(0, 1, (30, 10)).astype(np.float32))

    plain = packaged(tmp_path)
    assert plain.status == 0, plain
    advice = plain.json["report"]["advice"]
    assert advice["sqnr_db"] == plain.json["report"]["agreement"]["sqnr_db"] < 20
    options = [word for layer in advice["layers"] for word in ("--wide", layer)]
    followed = packaged(tmp_path, *options)
    assert followed.status == 0, followed
    gained = followed.json["report"]["agreement"]["sqnr_db"]
    assert gained == advice["sqnr_db_then"] > advice["sqnr_db"] + 10
    inputs, outputs = tmp_path / "x.npy", tmp_path / "y.npy"
    real = wherry("model", "run", tmp_path / "m.wherry", "--inputs", inputs, "--outputs", outputs)
    assert real.status == 0, real
    wanted = np.maximum(np.load(inputs), 0) @ spread @ readout
    noise = np.square(np.load(outputs) - wanted).sum() / np.square(wanted).sum()
    assert -10 * np.log10(noise) == pytest.approx(gained, abs=0.1)


def test_a_layer_that_the_model_has_not_is_refused_in_one_sentence(tmp_path: Path) -> None:
    w = ModelWriter()
    model = w.model({"x": [1, 4]}, [w.node("Gemm", "x", w.weights(4, 2))])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    np.save(tmp_path / "x.npy", np.ones((3, 4), np.float32))
    refused = packaged(tmp_path, "--wide", "gemm7")
    assert refused.status != 0
    assert "has no layer 'gemm7' to keep in 16 bits; the report names its layers" in refused.err
    assert not (tmp_path / "m.wherry").exists()
