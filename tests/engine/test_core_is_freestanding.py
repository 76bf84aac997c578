"""Core, kernels and histogram go into any firmware: C99, no state, no libc but memcpy and memset,
no floating point."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.engine.build import CORE

ALLOWED = {"memcpy", "memset", "_GLOBAL_OFFSET_TABLE_"}


@pytest.fixture(scope="module")
def objects(root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("objects")
    csrc = root / "native" / "csrc"
    made = []
    for source in sorted(path for name in CORE for path in (csrc / name).glob("*.c")):
        target = folder / f"{source.stem}.o"
        subprocess.run(
            ["gcc", "-std=c99", "-pedantic", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror",
             "-ffp-contract=off", "-fno-stack-protector", f"-I{csrc / 'include'}", "-c",
             str(source), "-o", str(target)],
            check=True,
        )  # fmt: skip
        made.append(target)
    return made


def _symbols(path: Path) -> list[tuple[str, str]]:
    """(kind, name) of each symbol, as nm tells them."""
    listing = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
    return [(line.split()[-2], line.split()[-1]) for line in listing.splitlines()]


def test_core_needs_only_memcpy_and_memset(objects: list[Path]) -> None:
    symbols = [symbol for path in objects for symbol in _symbols(path)]
    defined = {name for kind, name in symbols if kind != "U"}
    wanted = {name for kind, name in symbols if kind == "U"}
    assert wanted - defined <= ALLOWED


def test_core_has_no_writable_data(objects: list[Path]) -> None:
    # .data.rel.ro (constant tables of addresses) is written by the linker alone; nm calls it d.
    for path in objects:
        listing = subprocess.run(
            ["objdump", "-h", path], capture_output=True, text=True, check=True
        ).stdout
        for name, size in re.findall(r"^\s+\d+ (\.data|\.bss)\s+([0-9a-f]+)", listing, re.M):
            assert int(size, 16) == 0, f"{path.stem} has {name}"


def test_core_computes_in_integers_only(root: Path) -> None:
    csrc = root / "native" / "csrc"
    for source in sorted(path for name in CORE for path in (csrc / name).glob("*.[ch]")):
        code = re.sub(r"/\*.*?\*/", "", source.read_text(), flags=re.S)
        assert not re.search(r"\b(float|double)\b", code), source


def test_source_list_for_firmware_is_complete(root: Path) -> None:
    csrc = root / "native" / "csrc"
    listed = set(re.findall(r"\b\w+/\w+\.c\b", (csrc / "sources.mk").read_text()))
    present = {f"{name}/{path.name}" for name in CORE for path in (csrc / name).glob("*.c")}
    assert listed == present
