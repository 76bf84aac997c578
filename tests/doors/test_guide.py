"""What the operator's guide shows is what its commands print, section by section."""

from pathlib import Path

import pytest

from tests.doors.guide import PART, played, sections
from tests.house.documented import GUIDE

pytestmark = pytest.mark.slow
SECTIONS = {section.split("\n")[0]: section for section in sections(GUIDE.read_text())}


@pytest.mark.parametrize("title", [title for title, text in SECTIONS.items() if PART.search(text)])
def test_a_section_of_the_guide_shows_what_its_commands_print(title: str, tmp_path: Path) -> None:
    assert played(SECTIONS[title], tmp_path / "guide") == SECTIONS[title]
