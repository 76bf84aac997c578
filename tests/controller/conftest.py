"""Fixtures of the controller's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controller.world import World, make_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path / "acme")
    yield made
    made.org.db.close()
