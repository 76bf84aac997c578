"""docs/STORE.md names every table and every column, and its questions are answered."""

import re
from pathlib import Path

import pytest

from tests.controller.world import World


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs" / "STORE.md").read_text()


def test_every_table_and_column_is_described(world: World, page: str) -> None:
    described = {
        match[1]: set(re.findall(r"`([a-z_]+)`", match[2]))
        for match in re.finditer(r"^\| `([a-z_]+)` \|(.*)$", page, re.MULTILINE)
    }
    names = [
        row[0]
        for row in world.org.db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    ]
    assert set(described) == set(names)
    for name in names:
        columns = {row[1] for row in world.org.db.execute(f"PRAGMA table_info({name})")}
        assert columns <= described[name], f"{name}: {columns - described[name]}"


def test_every_question_on_the_page_runs(world: World, page: str) -> None:
    [script] = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    queries = [query for query in script.split(";") if query.strip()]
    assert len(queries) == 3
    for query in queries:
        world.org.db.execute(query.replace("unixepoch()", "1800000000")).fetchall()


def test_the_page_says_the_schemas_version(page: str) -> None:
    from wherry_controller.store.schema import SCHEMA_VERSION

    assert f"this page describes version {SCHEMA_VERSION}" in page
