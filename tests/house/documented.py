"""Which command lines the documents show: lines of code blocks that start with our programs."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("wherry", "wherry-agent", "wherry-firmware-sim", "mosquitto")
BLOCK = re.compile(r"^```(?:|sh|bash|shell|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PREFIX = re.compile(r"^(?:\$ )?(?:sudo )?(?:\S*bin/)?")


GUIDE = ROOT / "docs" / "operator-guide.md"  # tests/doors/test_guide.py runs it whole


def documents() -> list[Path]:
    """README and everything below docs/ that is Markdown, but for the guide."""
    return [ROOT / "README.md", *sorted(set((ROOT / "docs").rglob("*.md")) - {GUIDE})]


def lines_of(text: str) -> Iterator[str]:
    """The command lines in a document's code blocks, continued lines joined."""
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            words = PREFIX.sub("", " ".join(line.split()))
            if words.split(" ")[0] in PROGRAMS:
                yield words


def documented() -> dict[str, list[str]]:
    """Command line -> the documents that show it."""
    found: dict[str, list[str]] = {}
    for path in documents():
        for line in lines_of(path.read_text(encoding="utf-8")):
            found.setdefault(line, []).append(path.relative_to(ROOT).as_posix())
    return found
