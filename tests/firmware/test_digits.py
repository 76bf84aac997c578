"""The example's compiled model gives the same bytes on the microcontroller as on a gateway."""

from pathlib import Path

import numpy as np
import pytest
from wherry_native.compiler import CompiledModel, compile_model
from wherry_native.engine import Program
from wherry_protocol.mcuboot import ImageVersion, build_image, parse_image
from wherry_protocol.smp import confirm_image, infer, reset, statistics

from tests.firmware.conftest import KEYS
from tests.firmware.device import Device, provisioning


@pytest.fixture(scope="module")
def compiled(digits: Path) -> CompiledModel:
    return compile_model(digits / "digits-1.0.0.onnx", calibration=digits / "calibration.npz")


def test_the_digit_model_gives_the_same_bytes_as_the_binding(
    firmware: Path, tmp_path: Path, compiled: CompiledModel
) -> None:
    image = build_image(compiled.image, ImageVersion(1, 0, 0), KEYS[:2])
    program = Program(compiled.image)
    trust = provisioning(tmp_path, [key.public for key in KEYS[:2]], 2)
    chance = np.random.default_rng(1)
    with Device(firmware, tmp_path / "flash", *trust) as device:
        device.upload(image)
        device.ask(confirm_image(parse_image(image).digest))
        device.ask(reset())
        size = device.ask(statistics()).input_bytes
        for _ in range(50):
            data = chance.integers(0, 256, size, dtype=np.uint8).tobytes()
            assert device.ask(infer(data)).output == program.run(data)
        assert device.ask(statistics()).inference_count == 50
