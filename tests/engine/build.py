"""Compiles small C programs against the engine's sources, warnings as errors."""

import subprocess
from pathlib import Path

FLAGS = ("-O1", "-g", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-ffp-contract=off")
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
    sources = sorted(str(path) for folder in folders for path in csrc.glob(f"{folder}/*.c"))
    subprocess.run(
        ["gcc", f"-std={standard}", *FLAGS, *flags, f"-I{csrc / 'include'}", f"-I{csrc}",
         str(source), *sources, "-o", str(output), *(["-pthread"] if with_host else [])],
        check=True,
    )  # fmt: skip
    return output
