"""A service for the folder's tests, and files that they share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.door import Service, serve, wherry


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = serve(tmp_path / "acme")
    yield made
    made.close()


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    """An unsigned bundle of the digits, made by command."""
    folder = tmp_path_factory.mktemp("package")
    recipe, bundle = folder / "digits.toml", folder / "digits-1.0.0.wherry"
    recipe.write_text("[budgets.linux-x86_64]\nlatency_us_p95 = 50_000\nmemory_bytes = 4_000_000\n")
    made = wherry(
        "model", "package", "--input", digits / "digits-1.0.0.onnx", "--name", "digits",
        "--version", "1.0.0", "--calibration", digits / "calibration.npz",
        "--manifest", recipe, "--output", bundle,
    )  # fmt: skip
    assert made.status == 0, made
    return bundle
