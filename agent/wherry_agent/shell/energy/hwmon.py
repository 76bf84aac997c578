"""INA2xx power monitors under hwmon: power in µW, or bus voltage in mV times current in mA.

Source: Documentation/hwmon/sysfs-interface.rst and ina2xx.rst of the Linux kernel.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHIP: Final = re.compile(r"ina(2xx|\d{3,4})")
CHANNELS_MAX: Final = 8
READ_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Channel:
    """One measured rail: one power file (µW), or a voltage (mV) and a current (mA) file."""

    name: str
    files: tuple[Path, ...]


def find_channels(root: Path) -> tuple[Channel, ...]:
    """Every rail of every INA2xx chip under `root`; none where there is no such folder."""
    found: list[Channel] = []
    for chip in sorted(root.glob("hwmon*")):
        name = _word(chip / "name")
        if CHIP.fullmatch(name):
            found += _channels_of(chip, name)
    return tuple(found)


def read_power_w(channel: Channel) -> float:
    """The rail's power now, in W. Raises OSError, or ValueError where a file holds no number."""
    values = [int(path.read_bytes()[:READ_BYTES]) for path in channel.files]
    product = values[0] if len(values) == 1 else values[0] * values[1]
    return product / 1_000_000


def _channels_of(chip: Path, name: str) -> list[Channel]:
    channels = []
    for index in range(1, CHANNELS_MAX + 1):
        label = _word(chip / f"in{index}_label") or f"{name}:{index}"
        power = chip / f"power{index}_input"
        pair = (chip / f"in{index}_input", chip / f"curr{index}_input")
        if power.exists():
            channels.append(Channel(label, (power,)))
        elif all(path.exists() for path in pair):
            channels.append(Channel(label, pair))
    return channels


def _word(path: Path) -> str:
    try:
        return path.read_text("ascii", errors="replace").strip()
    except OSError:
        return ""
