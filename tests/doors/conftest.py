"""The fixture of the folder's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doors.quay import Quay, make_quay


@pytest.fixture
def quay(tmp_path: Path) -> Iterator[Quay]:
    made = make_quay(tmp_path / "acme")
    yield made
    made.close()
