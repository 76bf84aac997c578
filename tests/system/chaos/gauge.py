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
    """Readings by process. Spans are compared by their medians: what is there for a moment (a
    request), or away for one (a connection that was cut), does not count; what leaks does."""

    readings: dict[str, list[Reading]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, reading: Reading) -> None:
        self.readings[name].append(reading)

    def growth(self, names: Iterable[str], what: str, warm_s: float) -> list[float]:
        """Of each process: the median of the last third of the time since, over the first's."""
        found = []
        for name in names:
            values = [getattr(one, what) for one in self.readings[name] if one.at_s >= warm_s]
            third = len(values) // 3
            if third:
                before = statistics.median(values[:third])
                found.append(statistics.median(values[-third:]) / before - 1.0)
        return found

    def last(self, names: Iterable[str], what: str) -> list[float]:
        return [getattr(self.readings[name][-1], what) for name in names if self.readings[name]]
