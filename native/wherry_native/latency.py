"""The histogram of durations that the C engine fills; buckets as in docs/SPEC-program.md."""

from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from wherry_native._engine import ffi, lib

BUCKET_COUNT: Final[int] = lib.WH_HISTOGRAM_BUCKETS


@dataclass(frozen=True, slots=True)
class LatencyHistogram:
    """Durations in ns. `buckets` are the (index, count) pairs that are not 0, in order."""

    count: int
    sum_ns: int
    max_ns: int
    buckets: tuple[tuple[int, int], ...]

    def quantile_ns(self, q: float) -> int:
        """The upper edge of the bucket that holds the quantile q in (0, 1], at most the maximum.
        0 where nothing was counted. Raises ValueError when q is out of range."""
        if not 0 < q <= 1:
            raise ValueError(f"a quantile is in (0, 1], not {q}")
        rank = ceil(self.count * q - 1e-9)  # 100 * 0.07 is a little more than 7
        seen = 0
        for index, count in self.buckets:
            seen += count
            if seen >= rank:
                return min(upper_edge_ns(index), self.max_ns)
        return self.max_ns


def bucket_of(duration_ns: int) -> int:
    """The index of the bucket that a duration falls into."""
    return int(lib.wh_histogram_bucket(min(max(duration_ns, 0), 2**64 - 1)))


def upper_edge_ns(bucket: int) -> int:
    """The longest duration that falls into the bucket, in ns."""
    return int(lib.wh_histogram_upper_edge_ns(bucket))


def from_c(histogram: Any) -> LatencyHistogram:
    """A copy of a C histogram."""
    counts = ffi.unpack(histogram.buckets, BUCKET_COUNT)
    return LatencyHistogram(
        count=histogram.count,
        sum_ns=histogram.sum_ns,
        max_ns=histogram.max_ns,
        buckets=tuple((index, count) for index, count in enumerate(counts) if count),
    )
