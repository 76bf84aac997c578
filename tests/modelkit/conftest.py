"""A small real bundle: the digits model, compiled once for all tests of this folder."""

from pathlib import Path

import pytest
from wherry_native.compiler import CompiledModel, compile_model
from wherry_protocol.bundle import Bundle
from wherry_protocol.keys import SigningKey

from tests.modelkit.made import bundle_of


@pytest.fixture(scope="session")
def compiled(digits: Path) -> CompiledModel:
    return compile_model(
        digits / "digits-1.0.0.onnx", calibration=digits / "calibration.npz", name="digits"
    )


@pytest.fixture(scope="session")
def bundle(compiled: CompiledModel) -> Bundle:
    return bundle_of(compiled)


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return SigningKey.from_seed(bytes(range(32)))
