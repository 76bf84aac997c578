"""RAPL energy counters under powercap: µJ per package and its DRAM, wrapping at a stated range.

`core` and `uncore` are parts of their package and `psys` contains it, so neither is added.
Source: Documentation/power/powercap/powercap.rst of the Linux kernel.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ZONE: Final = re.compile(r"intel-rapl:\d+(:\d+)?")
COUNTED: Final = re.compile(r"package-\d+(-die-\d+)?|dram")


@dataclass(frozen=True, slots=True)
class Zone:
    """One counter; it wraps to 0 after `range_uj`."""

    name: str
    counter: Path
    range_uj: int


def find_zones(root: Path) -> tuple[Zone, ...]:
    """Every counter that this process may read; none where there is no such folder."""
    found = []
    candidates = [*root.glob("intel-rapl:*"), *root.glob("intel-rapl:*/intel-rapl:*")]
    paths = {path.name: path for path in candidates if ZONE.fullmatch(path.name)}
    for _, path in sorted(paths.items()):
        zone = _zone(path)
        if zone is not None:
            found.append(zone)
    return tuple(found)


def read_counters_uj(zones: tuple[Zone, ...]) -> tuple[int, ...]:
    """The counters now. Raises OSError, or ValueError where a file holds no number."""
    return tuple(int(zone.counter.read_bytes()) for zone in zones)


def _zone(path: Path) -> Zone | None:
    try:
        name = (path / "name").read_text("ascii").strip()
        range_uj = int((path / "max_energy_range_uj").read_bytes())
        int((path / "energy_uj").read_bytes())  # root only on most machines since 2020
    except (OSError, ValueError):
        return None
    return Zone(name, path / "energy_uj", range_uj) if COUNTED.fullmatch(name) else None
