"""What the documents point at exists: files behind links, targets behind `make …`."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
MAKE = re.compile(r"(?:^|`)make ((?:[\w-]+(?![\w=-]) ?)+)", re.MULTILINE)


def documents() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no list of documents")
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [ROOT / name for name in listed.stdout.split() if (ROOT / name).is_file()]


def make_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text()
    return set(" ".join(re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE)).split())


def test_every_relative_link_leads_to_a_file() -> None:
    dead = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in documents()
        for target in LINK.findall(path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]
    assert dead == []


def test_every_make_target_that_a_document_names_exists() -> None:
    named = {
        (path.relative_to(ROOT).as_posix(), target)
        for path in documents()
        for targets in MAKE.findall(path.read_text(encoding="utf-8"))
        for target in targets.split()
    }
    assert ("CONTRIBUTING.md", "test") in named
    assert {row for row in named if row[1] not in make_targets()} == set()


def test_every_phony_target_has_a_rule() -> None:
    text = (ROOT / "Makefile").read_text()
    without = [name for name in make_targets() if not re.search(rf"^{name}:", text, re.MULTILINE)]
    assert without == []
