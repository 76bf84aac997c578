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


def test_core_compiles_for_a_cortex_m7_without_a_warning(
    root: Path, firmware: Path, tmp_path: Path
) -> None:
    """32 bits, no C library: only the compiler's own headers and our five declarations."""
    if shutil.which("clang") is None:
        pytest.skip("no clang on PATH: `apt install clang` cross-compiles without a C library")
    here = root / "firmware-sim" / "core"
    curve = firmware.parent.parent / "third_party" / "monocypher"
    target = ["clang", "--target=thumbv7em-none-eabi", "-mcpu=cortex-m7", "-ffreestanding"]
    probe = tmp_path / "probe.c"
    probe.write_text("int probe;\n")
    if subprocess.run([*target, "-c", str(probe)], cwd=tmp_path, check=False).returncode != 0:
        pytest.skip("this clang has no Arm target")
    for source in sorted(here.glob("*.c")):
        done = subprocess.run(
            [*target, "-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror",
             "-nostdlibinc", f"-I{root / 'tests' / 'firmware' / 'freestanding'}", f"-I{here}",
             f"-I{root / 'native' / 'csrc' / 'include'}", "-isystem", str(curve),
             "-c", str(source), "-o", str(tmp_path / "object.o")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
