"""Models of 16-bit activations through the operator's door."""

from pathlib import Path

import numpy as np

from tests.cli.door import wherry
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
