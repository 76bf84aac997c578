"""A program image from a hostile or broken source: refused, or run without touching a byte that
is not its own. AddressSanitizer and UndefinedBehaviorSanitizer are the judges."""

import subprocess
from pathlib import Path

import pytest

from tests.engine import programs
from tests.engine.build import compile_c

SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="module")
def corrupt(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corrupt")
    return compile_c(root, folder / "corrupt", root / "tests/engine/corrupt.c", *SANITIZE)


@pytest.mark.parametrize("name", ["fully_connected", "counter", "every_operator"])
def test_every_corrupted_byte_is_refused_or_harmless(
    corrupt: Path, tmp_path: Path, name: str
) -> None:
    image = getattr(programs, name)()
    path = tmp_path / "image"
    path.write_bytes(image)
    done = subprocess.run([corrupt, path], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    loaded, refused = map(int, done.stdout.split())
    # Weights may be anything, so many corruptions load; the structure's are mostly refused.
    assert loaded > len(image) // 100
    assert refused > len(image) // 2
