"""docs/security.md: the attacks, each with a test of the core and one over the wire, or why not."""

import pytest

from tests.house.test_coverage import ROOT, TEST, functions_of

PAGE = ROOT / "docs" / "security.md"
TITLE = "## Attacks, and the tests that play them"
WIRE = ROOT / "tests" / "system"
ATTACKS_MIN = 33


def rows() -> list[list[str]]:
    """attack, in the core, over the wire: of each line of the table."""
    section = PAGE.read_text().partition(TITLE)[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[1:]]


def cited() -> list[tuple[str, str]]:
    return sorted({found for row in rows() for found in TEST.findall(" ".join(row))})


@pytest.mark.parametrize(("file", "name"), cited())
def test_a_named_test_exists(file: str, name: str) -> None:
    assert (ROOT / file).is_file(), f"{file} is not there"
    assert name in functions_of(file), f"{file} has no {name}"


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_an_attack_has_a_test_of_the_core_and_one_over_the_wire_or_a_reason(
    row: list[str],
) -> None:
    _, core, wire = row
    assert TEST.findall(core)
    played = TEST.findall(wire)
    assert all(file.startswith("tests/system/") for file, _ in played)
    assert played or len(wire.split()) > 1, "neither a test nor a reason"


def test_every_attack_of_the_list_has_its_row() -> None:
    names = [row[0] for row in rows()]
    assert len(names) == len(set(names)) >= ATTACKS_MIN


def test_no_attack_over_the_wire_is_left_out() -> None:
    files = [path.relative_to(ROOT).as_posix() for path in sorted(WIRE.rglob("test_*.py"))]
    played = {(file, name) for file in files for name in functions_of(file) if "_attack" in name}
    assert len(played) > 50
    assert played - set(cited()) == set()
