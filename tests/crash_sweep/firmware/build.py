"""Builds the board as a library, once per content of its sources; a mistake can be patched in."""

import os
import subprocess
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from cffi import FFI

from tests.firmware.conftest import build

ROOT = Path(__file__).resolve().parents[3]
CORE = ROOT / "firmware-sim" / "core"
ENGINE = ROOT / "native" / "csrc"
CURVE = ROOT / "build" / "third_party" / "monocypher"
FOLDER = ROOT / "build" / "crash_sweep"
PARTS = ("core", "histogram", "kernels")
DOOR = """
typedef struct board board;
board *board_new(const uint8_t *flash, uint32_t size);
void board_free(board *b);
const uint8_t *board_flash(const board *b);
uint64_t board_steps(const board *b);
void board_arm(board *b, uint64_t cut_at, uint32_t way);
int board_provision(board *b, const uint8_t *keys, uint32_t count, uint32_t threshold);
int board_boot(board *b);
int board_receive(board *b, const uint8_t *bytes, size_t size);
size_t board_take(board *b, uint8_t *into);
"""
Mistake = tuple[str, str, str]  # file of the core, right text, wrong text


def compiled(
    sources: Sequence[Path], headers: Sequence[Path], options: Sequence[str], base: str = ""
) -> Path:
    """A file that the compiler makes of these sources, unless that is done already."""
    mark = sha256(" ".join(options).encode())
    for path in (*sources, *headers):
        mark.update(path.read_bytes())
    made = FOLDER / f"{sources[0].stem}-{mark.hexdigest()[:16]}"
    if not made.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        new = made.with_name(f"{made.name}.{os.getpid()}")
        command = [os.environ.get("CC") or "cc", *options, *map(str, sources), "-o", str(new)]
        command += [base, f"-Wl,-rpath,{FOLDER}"] if base else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the board cannot be built: {done.stderr}")
        new.replace(made)
    return made


def _core(mistakes: Sequence[Mistake]) -> list[Path]:
    """The core's sources; those with a mistake are copies. Raises ValueError for a stale one."""
    wrong = {}
    for name, right, replacement in mistakes:
        text = wrong.get(name) or (CORE / name).read_text()
        if text.count(right) != 1:
            raise ValueError(f"{name} does not hold {right!r} once: the mistake is out of date")
        wrong[name] = text.replace(right, replacement)
    paths = []
    for path in sorted(CORE.glob("*.c")):
        if path.name in wrong:
            mark = sha256(wrong[path.name].encode()).hexdigest()[:16]
            path = FOLDER / f"{path.stem}-{mark}.c"
            FOLDER.mkdir(parents=True, exist_ok=True)
            path.write_text(wrong[f"{path.stem.rpartition('-')[0]}.c"])
        paths.append(path)
    return paths


@cache
def library(mistakes: tuple[Mistake, ...] = ()) -> tuple[Any, Any]:
    """(ffi, the board's functions)."""
    if not (CURVE / "monocypher.c").exists():
        build(ROOT, "all")  # fetches it
    includes = [f"-I{folder}" for folder in (CORE, ENGINE / "include", ENGINE)]
    includes += ["-isystem", str(CURVE)]
    options = ["-std=c11", "-O2", "-fPIC", "-shared", *includes]
    engine = [path for part in PARTS for path in sorted((ENGINE / part).glob("*.c"))]
    headers = [*CORE.glob("*.h"), *ENGINE.rglob("*.h")]
    base = compiled([CURVE / "monocypher.c", *engine], headers, options)
    here = Path(__file__).parent / "board.c"
    options += ["-Wall", "-Wextra", "-Werror"]
    board = compiled([here, *_core(mistakes)], [base, *headers], options, str(base))
    ffi = FFI()
    ffi.cdef(DOOR)
    return ffi, ffi.dlopen(str(board))
