"""The core asks its target for five functions and nothing else, so that it fits any board."""

import shutil
import subprocess
from pathlib import Path

import pytest

ALLOWED = {"memcpy", "memmove", "memset", "memcmp", "strlen"}


def symbols(files: list[Path], *options: str) -> set[str]:
    listed = subprocess.run(
        ["nm", *options, *map(str, files)], capture_output=True, text=True, check=True
    ).stdout
    return {line.split()[-1] for line in listed.splitlines() if line and not line.endswith(":")}


def test_core_engine_and_curve_need_only_the_five_functions(firmware: Path) -> None:
    if shutil.which("nm") is None:
        pytest.skip("no nm on PATH: `apt install binutils`")
    folder = firmware.parent
    objects = [*folder.glob("core/*.o"), *folder.glob("engine/*/*.o"), folder / "monocypher.o"]
    assert len(objects) > 20
    wanted = symbols(objects, "--undefined-only") - symbols(objects, "--defined-only")
    assert wanted - {"_GLOBAL_OFFSET_TABLE_"} <= ALLOWED
