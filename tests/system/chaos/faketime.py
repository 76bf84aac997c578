"""A wall clock of a process's own, which a test may set: libfaketime, where it is installed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class WallClock:
    """`environment` is the process's; its monotonic clocks stay true."""

    path: Path
    library: Path

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Otherwise waits on a monotonic condition variable, as the engine's loop has them, end
            # at once or never.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }

    def set(self, offset_s: int) -> None:
        """Beside the true time from now on."""
        beside = self.path.with_suffix(".new")
        beside.write_text(f"{offset_s:+d}s\n")
        beside.rename(self.path)


def wall_clock(path: Path) -> WallClock:
    """True at first; skips where there is no libfaketime."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        pytest.skip("no libfaketime: `apt install faketime` as root")
    clock = WallClock(path, found[0])
    clock.set(0)
    return clock
