"""The host's figures: temperature, memory, CPU, storage, network; each a number or a reason.

The roots are options, so that tests and containers feed trees of the kernel's format.
Sources: proc(5); Documentation/ABI/testing/sysfs-class-thermal and sysfs-class-net.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wherry_agent.config import ResourcesConfig
from wherry_agent.telemetry.energy import Unavailable

Figure = float | Unavailable

TEMPERATURE_C_MIN: Final = -100.0  # a sensor that tells less, or more than its twin, is broken
TEMPERATURE_C_MAX: Final = 300.0
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Resources:
    """One look at the host. `cpu_ratio` is this process's share of one core since the last look;
    temperatures in °C (the hottest zone), everything else in bytes."""

    temperature_c: Figure
    rss_bytes: Figure
    cpu_ratio: Figure
    storage_used_bytes: Figure
    storage_free_bytes: Figure
    network_sent_bytes: Figure
    network_received_bytes: Figure


@dataclass(frozen=True, slots=True)
class CpuMark:
    """Where this process's CPU time stood at a moment."""

    at_us: int
    cpu_s: float


def read_resources(
    config: ResourcesConfig, storage_dir: Path, before: CpuMark | None, now_us: int
) -> tuple[Resources, CpuMark | None]:
    """The figures now, and the mark for the next look (None where CPU time is not readable)."""
    cpu_s = _figure(lambda: read_cpu_s(config.proc_root))
    mark = None if isinstance(cpu_s, Unavailable) else CpuMark(now_us, cpu_s)
    used, free = read_storage(storage_dir)
    sent, received = read_network(config.network_root)
    found = Resources(
        temperature_c=read_temperature_c(config.thermal_root),
        rss_bytes=_figure(lambda: read_rss_bytes(config.proc_root)),
        cpu_ratio=cpu_s if isinstance(cpu_s, Unavailable) else _ratio(before, mark),
        storage_used_bytes=used,
        storage_free_bytes=free,
        network_sent_bytes=sent,
        network_received_bytes=received,
    )
    return found, mark


def read_temperature_c(root: Path) -> Figure:
    """The hottest thermal zone."""
    readings = [_zone_c(zone) for zone in sorted(root.glob("thermal_zone*"))]
    believable = [c for c in readings if c is not None]
    if believable:
        return max(believable)
    return Unavailable("no thermal zone" if not readings else "no thermal zone can be read")


def read_rss_bytes(proc_root: Path) -> float:
    """Resident memory of this process, in bytes. Raises OSError or ValueError."""
    fields = (proc_root / "self" / "statm").read_text("ascii").split()
    return float(int(fields[1]) * PAGE_BYTES)


def read_cpu_s(proc_root: Path) -> float:
    """User and system time of this process. Raises OSError or ValueError."""
    text = (proc_root / "self" / "stat").read_text("utf-8", errors="replace")
    fields = text[text.rindex(")") + 2 :].split()  # a process name may hold spaces and brackets
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def read_storage(folder: Path) -> tuple[Figure, Figure]:
    """(used by the files under `folder`, free for this user on its file system), in bytes."""

    def free() -> float:
        found = os.statvfs(folder)
        return float(found.f_bavail * found.f_frsize)

    return _figure(lambda: float(_size_of(folder))), _figure(free)


def read_network(root: Path) -> tuple[Figure, Figure]:
    """(sent, received) since boot over all interfaces but loopback, in bytes."""
    names = [path for path in sorted(root.glob("*")) if path.name != "lo"]
    if not names:
        reason = Unavailable("no network interface but loopback")
        return reason, reason

    def total(leaf: str) -> float:
        return float(sum(int((path / "statistics" / leaf).read_bytes()) for path in names))

    return _figure(lambda: total("tx_bytes")), _figure(lambda: total("rx_bytes"))


def _ratio(before: CpuMark | None, now: CpuMark | None) -> Figure:
    if before is None or now is None or now.at_us <= before.at_us:
        return Unavailable("the first look has nothing to compare with")
    return (now.cpu_s - before.cpu_s) / ((now.at_us - before.at_us) / 1e6)


def _zone_c(zone: Path) -> float | None:
    try:
        celsius = int((zone / "temp").read_bytes()) / 1000
    except (OSError, ValueError):
        return None
    return celsius if TEMPERATURE_C_MIN <= celsius <= TEMPERATURE_C_MAX else None


def _size_of(folder: Path) -> int:
    total = 0
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            total += _size_of(Path(entry.path))
        else:
            total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def _figure(read: Callable[[], float]) -> Figure:
    try:
        return read()
    except OSError as error:
        return Unavailable(f"{error.filename or 'a file'}: {error.strerror}"[:250])
    except (ValueError, IndexError):
        return Unavailable("the kernel's answer has another format than expected")
