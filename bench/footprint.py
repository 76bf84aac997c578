"""Footprint: flash that the engine's core and portable kernels take on Cortex-M7 and Cortex-M55,
RAM of their own (none), and the largest stack frame of a function.

usage: bench/footprint.py
Bytes of code and constants as the compiler's `size` counts them in the object files, every operator
included; memcpy, memset and the compiler's own arithmetic come on top where a firmware lacks them.
Needs gcc-arm-none-eabi.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from _report import Figure, report

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.targets.machines import CORTEX_M7, CORTEX_M55, Build, includes  # noqa: E402

PARTS = ("core", "kernels")
FLASH_BYTES_MAX = 32 * 1024


@dataclass(frozen=True)
class Size:
    """Of one object file, in bytes."""

    flash: int
    ram: int
    frame: int


def measure(build: Build, optimization: str, source: Path, folder: Path) -> Size:
    target = folder / f"{source.stem}.o"
    flags = [flag for flag in build.flags if not flag.startswith("-O")]
    subprocess.run(
        [build.compiler, "-std=gnu99", optimization, "-ffp-contract=off", "-fstack-usage", *flags,
         *includes(ROOT, build), "-c", str(source), "-o", str(target)],
        check=True,
    )  # fmt: skip
    size = build.compiler.replace("gcc", "size")
    listing = subprocess.run([size, target], check=True, capture_output=True, text=True).stdout
    text, data, bss = map(int, listing.splitlines()[1].split()[:3])
    frames = re.findall(r"\t(\d+)\t", target.with_suffix(".su").read_text())
    return Size(text, data + bss, max(map(int, frames), default=0))


def figures(build: Build, optimization: str) -> list[Figure]:
    name = f"{build.name} {optimization}"
    with tempfile.TemporaryDirectory() as folder:
        sizes = {
            part: [
                measure(build, optimization, source, Path(folder))
                for source in sorted((ROOT / "native" / "csrc" / part).glob("*.c"))
            ]
            for part in PARTS
        }
    every = [size for part in PARTS for size in sizes[part]]
    flash = {part: sum(size.flash for size in sizes[part]) for part in PARTS}
    limit = FLASH_BYTES_MAX if optimization == "-Os" else None
    return [
        Figure(f"{name}: flash of core and kernels", sum(flash.values()), "bytes", limit=limit),
        *(Figure(f"{name}: flash of {part}", flash[part], "bytes") for part in PARTS),
        Figure(f"{name}: RAM of their own", sum(size.ram for size in every), "bytes", limit=0),
        Figure(f"{name}: largest stack frame", max(size.frame for size in every), "bytes"),
    ]


def main() -> int:
    if shutil.which(CORTEX_M7.compiler) is None:
        print(f"no {CORTEX_M7.compiler}: `apt install {CORTEX_M7.package}` as root",
              file=sys.stderr)  # fmt: skip
        return report([])
    return report(
        [f for build in (CORTEX_M7, CORTEX_M55) for level in ("-Os", "-O2")
         for f in figures(build, level)]
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
