"""docs/coverage.md: each row stands once, is well formed, and names tests that are there."""

import ast
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "coverage.md"
ROW = re.compile(
    r"^\| (?P<id>[SX]\d?-\d\d) \| (?P<what>[^|]+) \| (?P<door>[^|]+) \| (?P<tests>.+) \|$"
)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
LAST = {"S0": 99, "S1": 93, "S2": 90, "S3": 93, "S4": 85, "X": 15}
DOORS = {"CLI", "REST", "MQTT", "config", "agent HTTP"}
GROUPS = "ABCDEFGHIJKL"
WRONG = "## Known wrong outcomes, and the right ones"


@dataclass(frozen=True)
class Row:
    """One line of a table: a capability, its doors, its tests as (file, name)."""

    name: str
    doors: tuple[str, ...]
    tests: tuple[tuple[str, str], ...]


def rows() -> list[Row]:
    found = []
    for line in PAGE.read_text().splitlines():
        match = ROW.match(line)
        if match is not None:
            doors = tuple(door.strip() for door in match["door"].split(","))
            found.append(Row(match["id"], doors, tuple(TEST.findall(match["tests"]))))
    return found


@cache
def functions_of(file: str) -> frozenset[str]:
    """The names of a file's test functions, from its syntax: nothing is imported."""
    tree = ast.parse((ROOT / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, functions))


def cited() -> list[tuple[str, str]]:
    """Every test that the page names, in its rows or anywhere else."""
    return sorted(set(TEST.findall(PAGE.read_text())))


@pytest.mark.parametrize(("file", "name"), cited())
def test_a_named_test_exists(file: str, name: str) -> None:
    assert (ROOT / file).is_file(), f"{file} is not there"
    assert name in functions_of(file), f"{file} has no {name}"


def test_every_line_that_begins_like_a_row_is_one() -> None:
    begun = [line for line in PAGE.read_text().splitlines() if re.match(r"\| [SX]\d?-", line)]
    assert len(begun) == len(rows()) > 100


def test_each_capability_stands_once_and_is_one_of_the_list() -> None:
    counted = Counter(row.name for row in rows())
    assert [name for name, count in counted.items() if count > 1] == []
    for name in counted:
        source, _, number = name.partition("-")
        assert 1 <= int(number) <= LAST[source], name


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_a_row_has_a_door_and_a_test(row: Row) -> None:
    assert set(row.doors) <= DOORS
    assert row.tests


def test_the_counts_on_the_page_are_those_of_its_tables() -> None:
    """Each group says how many of its rows are listed and how many are still to come."""
    text = PAGE.read_text()
    for letter in GROUPS:
        section = re.search(rf"^## {letter}\. .*?(?=^## |\Z)", text, re.M | re.S)
        listed = 0 if section is None else len(re.findall(r"^\| [SX]\d?-\d\d \|", section[0], re.M))
        tally = re.search(rf"^\| {letter} \| (\d+) \| (\d+) \| (\d+) \|$", text, re.M)
        assert tally is not None, letter
        works, missing, whole = map(int, tally.groups())
        assert (works, works + missing) == (listed, whole), letter


def test_the_known_wrong_outcomes_name_tests() -> None:
    section = PAGE.read_text().partition(WRONG)[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]  # without the head
    assert len(lines) > 15
    for line in lines:
        assert TEST.search(line) or "not reached" in line, line
