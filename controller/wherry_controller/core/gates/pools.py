"""Figures pooled per arm and hardware class, in time buckets, so that a gate can look at the
newest ones and compare them with the same minutes elsewhere.

Arms: NEW (members on the new version), CONTROL (units of the class that are not on it) and
BEFORE (the members' own figures from before their swap; it is not in buckets).
"""

from bisect import insort
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from wherry_native import sketch as packed
from wherry_native.sketch import EMPTY, PackedSketch

BUCKETS_MAX: Final = 32  # per arm and class; older ones are merged
UNITS_MAX: Final = 16  # names kept per bucket; more need not be told apart
TRUSTED: Final = ("measured:", "modelled:calibrated")


class Arm(Enum):
    NEW = "new"
    CONTROL = "control"
    BEFORE = "before"


@dataclass(frozen=True, slots=True)
class Figures:
    """One window of one unit on one version. `energy_uj` is per inference; None: not to be had.

    `energy_source` is as on the wire: `measured:hwmon`, `modelled:calibrated`, ...
    """

    inferences: int
    errors: int = 0
    sketch: PackedSketch = EMPTY
    energy_uj: float | None = None
    energy_source: str = ""
    crashes: int = 0


@dataclass(slots=True)
class Pool:
    """Many windows as one. Mutable; energies are sums over their own inferences.

    Latencies stay packed, as they came: they are merged and asked by the C code.
    """

    inferences: int = 0
    errors: int = 0
    crashes: int = 0
    latency_count: int = 0
    latencies: bytes = EMPTY.data
    energy_uj: float = 0.0  # measured or calibrated
    energy_inferences: int = 0
    sheet_uj: float = 0.0  # modelled from a data sheet
    sheet_inferences: int = 0
    units: set[str] = field(default_factory=set)  # at most UNITS_MAX

    def add(self, unit: str, figures: Figures) -> None:
        """Count one window in."""
        self.inferences += figures.inferences
        self.errors += figures.errors
        self.crashes += figures.crashes
        self._add_latencies(figures.sketch.count, figures.sketch.data)
        if len(self.units) < UNITS_MAX:
            self.units.add(unit)
        if figures.energy_uj is None:
            return
        if figures.energy_source.startswith(TRUSTED):
            self.energy_uj += figures.energy_uj * figures.inferences
            self.energy_inferences += figures.inferences
        else:
            self.sheet_uj += figures.energy_uj * figures.inferences
            self.sheet_inferences += figures.inferences

    def merge(self, other: "Pool") -> None:
        """Count another pool in."""
        self.inferences += other.inferences
        self.errors += other.errors
        self.crashes += other.crashes
        self._add_latencies(other.latency_count, other.latencies)
        self.energy_uj += other.energy_uj
        self.energy_inferences += other.energy_inferences
        self.sheet_uj += other.sheet_uj
        self.sheet_inferences += other.sheet_inferences
        self.units.update(sorted(other.units)[: UNITS_MAX - len(self.units)])

    def _add_latencies(self, count: int, data: bytes) -> None:
        if count:
            self.latencies = packed.merge(self.latencies, data) if self.latency_count else data
            self.latency_count += count

    @property
    def error_rate(self) -> float | None:
        """None while there was no inference."""
        return self.errors / self.inferences if self.inferences else None

    def latency_us(self, q: float) -> float | None:
        """The quantile in microseconds; None while there is none."""
        quantile_ns = packed.read(self.latencies).quantile_ns(q)
        return None if quantile_ns is None else quantile_ns / 1_000

    @property
    def trusted_uj(self) -> float | None:
        """Mean measured or calibrated energy per inference."""
        return self.energy_uj / self.energy_inferences if self.energy_inferences else None

    @property
    def datasheet_uj(self) -> float | None:
        """Mean energy per inference as modelled from a data sheet."""
        return self.sheet_uj / self.sheet_inferences if self.sheet_inferences else None


Key = tuple[str, str, int]  # (arm, hardware class, bucket index)


@dataclass(slots=True)
class Pools:
    """All pools of one rollout; `changed` are the keys to keep (or, if gone, to drop)."""

    pools: dict[Key, Pool] = field(default_factory=dict)
    indexes: dict[tuple[str, str], list[int]] = field(default_factory=dict)  # rising
    changed: set[Key] = field(default_factory=set)

    def add(self, arm: Arm, hardware_class: str, index: int, unit: str, figures: Figures) -> None:
        """Count a window into its bucket; the oldest buckets are merged beyond BUCKETS_MAX."""
        indexes = self.indexes.setdefault((arm.value, hardware_class), [])
        if len(indexes) == BUCKETS_MAX and index < indexes[0]:
            index = indexes[0]
        key = (arm.value, hardware_class, index)
        if key not in self.pools:
            self.pools[key] = Pool()
            insort(indexes, index)
        self.pools[key].add(unit, figures)
        self.changed.add(key)
        if len(indexes) > BUCKETS_MAX:
            self._merge_oldest(arm.value, hardware_class, indexes)

    def _merge_oldest(self, arm: str, hardware_class: str, indexes: list[int]) -> None:
        oldest, second = (arm, hardware_class, indexes[0]), (arm, hardware_class, indexes[1])
        self.pools[second].merge(self.pools.pop(oldest))
        self.changed |= {oldest, second}
        del indexes[0]

    def newest(
        self, arm: Arm, hardware_class: str, inferences_min: int, since: int
    ) -> tuple[Pool, int]:
        """The newest buckets that hold at least so many inferences (or all there are), none
        before index `since`; and the index of the oldest one taken."""
        found, first = Pool(), since
        for index in reversed(self.indexes.get((arm.value, hardware_class), [])):
            if index < since or found.inferences >= inferences_min:
                break
            found.merge(self.pools[arm.value, hardware_class, index])
            first = index
        return found, first

    def classes(self, arm: Arm) -> list[str]:
        """The hardware classes that an arm has figures of."""
        return sorted(name for found, name in self.indexes if found == arm.value)

    def total(self, arm: Arm) -> tuple[int, int]:
        """(inferences, errors) of an arm since the rollout began, over all classes."""
        mine = [pool for key, pool in self.pools.items() if key[0] == arm.value]
        return sum(pool.inferences for pool in mine), sum(pool.errors for pool in mine)
