"""A small disk of its own: a tmpfs, which only root may mount."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

BALLAST = "ballast"
STEP_BYTES = 4096


@dataclass
class SmallDisk:
    """`folder` lies on it."""

    folder: Path

    def fill(self) -> None:
        """Until not one more page fits."""
        with (self.folder / BALLAST).open("ab", buffering=0) as file, \
                contextlib.suppress(OSError):  # fmt: skip
            while True:
                file.write(bytes(STEP_BYTES))

    def make_room(self) -> None:
        (self.folder / BALLAST).unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, size_mib: int) -> Iterator[SmallDisk]:
    """Mounted, and gone at the end; skips where this machine does not allow it."""
    if os.geteuid() != 0:
        pytest.skip("no disk to fill: mounting a small tmpfs needs root")
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=0700", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no disk to fill: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
