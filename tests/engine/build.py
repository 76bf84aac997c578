"""Compiles small C programs against the engine's sources, warnings as errors."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

FLAGS = ("-O1", "-g1", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-ffp-contract=off")
CORE = ("core", "kernels", "histogram")


def compile_c(
    root: Path,
    output: Path,
    source: Path,
    *flags: str,
    standard: str = "c11",
    with_host: bool = False,
) -> Path:
    """An executable of `source` and the engine; `with_host` adds csrc/host, threads and the kernels
    of every processor."""
    csrc = root / "native" / "csrc"
    folders = (*CORE, "kernels/*", "host") if with_host else CORE
    sources = sorted(path for folder in folders for path in csrc.glob(f"{folder}/*.c"))
    command = ["gcc", f"-std={standard}", *FLAGS, *flags, f"-I{csrc / 'include'}", f"-I{csrc}"]
    library = _library(root, command, sources)
    subprocess.run(
        [*command, str(source), str(library), "-o", str(output),
         *(["-pthread"] if with_host else [])],
        check=True,
    )  # fmt: skip
    return output


def executable(
    root: Path, name: str, command: list[str], sources: list[Path], headers: list[Path]
) -> Path:
    """What the command makes of the sources, kept under build/ until it, a source or a header
    changes; the last who makes the same at the same time wins. Raises CalledProcessError with
    what the compiler said."""
    made = root / "build" / "tests" / f"{name}-{_mark(command, sources, headers)}"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        new = made.with_name(f"{made.name}.{os.getpid()}")
        subprocess.run(
            [*command, *map(str, sources), "-o", str(new)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        new.replace(made)
    return made


def _mark(command: list[str], sources: list[Path], headers: list[Path]) -> str:
    digest = hashlib.sha256("\0".join(map(str, [*command, *sources])).encode())
    for path in (*sources, *headers):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def headers_of(*folders: Path) -> list[Path]:
    """Everything that a source there may include."""
    return sorted(path for folder in folders for path in folder.rglob("*.h"))


def _library(root: Path, command: list[str], sources: list[Path]) -> Path:
    """An archive of the sources, compiled once for all tests that want it so: with sanitizers that
    takes half a minute. Who wants it otherwise does not wait for it."""
    mark = _mark(command, sources, headers_of(root / "native" / "csrc"))
    library = root / "build" / "tests" / f"engine-{mark}.a"
    library.parent.mkdir(parents=True, exist_ok=True)
    with library.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            objects = library.with_suffix(".objects")
            objects.mkdir(exist_ok=True)
            subprocess.run([*command, "-c", *map(str, sources)], cwd=objects, check=True)
            made = sorted(path.name for path in objects.glob("*.o"))
            subprocess.run(["ar", "rcs", "new.a", *made], cwd=objects, check=True)
            (objects / "new.a").replace(library)
            shutil.rmtree(objects)
    return library
