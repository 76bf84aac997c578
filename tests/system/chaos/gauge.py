"""What running processes take of the machine, as /proc tells it, and whether that has grown."""

import os
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

KIB = 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """One process at one moment; `file_count` is of its own folder."""

    at_s: float
    rss_bytes: int
    thread_count: int
    descriptor_count: int
    file_count: int


def read(pid: int, folder: Path, at_s: float) -> Reading:
    """Raises OSError where the process has gone."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    rss_bytes = int(fields["VmRSS"].split()[0]) * KIB
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    return Reading(at_s, rss_bytes, int(fields["Threads"]), descriptors, files(folder))


# The registry grows with what is pushed, and what a broker saved is taken from it at times.
NOT_COUNTED = frozenset(("vault", "broker"))


def files(folder: Path) -> int:
    """Of the folder and what is below it, but for `NOT_COUNTED`."""
    count = 0
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in NOT_COUNTED]
        count += len(names)
    return count


@dataclass
class Gauges:
    """Readings by process. The first and the last third of a time are compared: memory by its
    medians; counts by the least of the last over the greatest of the first, since connections,
    requests and spool segments come and go, and what leaks stays."""

    readings: dict[str, list[Reading]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, reading: Reading) -> None:
        self.readings[name].append(reading)

    def growth(self, names: Iterable[str], what: str, warm_s: float) -> list[float]:
        """Of each process that has been read often enough since then; 0.05 is 5 %."""
        is_memory = what == "rss_bytes"
        before = statistics.median if is_memory else max
        after = statistics.median if is_memory else min
        found = []
        for name in names:
            values = [getattr(one, what) for one in self.readings[name] if one.at_s >= warm_s]
            third = len(values) // 3
            if third:
                found.append(after(values[-third:]) / before(values[:third]) - 1.0)
        return found

    def last(self, names: Iterable[str], what: str) -> list[float]:
        return [getattr(self.readings[name][-1], what) for name in names if self.readings[name]]
