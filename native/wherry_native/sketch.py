"""Latency sketches as they stand on the wire (docs/SPEC.md, section 8), worked on by the C code.

`wherry_protocol.sketch` says what the bytes mean, in Python; this adds and asks without unpacking,
for whoever reads thousands of them in a second.
"""

from dataclasses import dataclass
from math import ceil
from typing import Final

from wherry_native._engine import ffi, lib
from wherry_native.engine import EngineError

BYTES_MAX: Final[int] = lib.WH_SKETCH_BYTES_MAX


@dataclass(frozen=True, slots=True)
class PackedSketch:
    """A sketch that was checked whole; durations in ns, `max_ns` 0 while it is empty."""

    data: bytes
    count: int
    sum_ns: int
    max_ns: int

    @property
    def mean_ns(self) -> float | None:
        """None while empty."""
        return self.sum_ns / self.count if self.count else None

    def quantile_ns(self, q: float) -> int | None:
        """Upper edge of the bucket that holds the quantile, at most `max_ns`; None if empty.

        q in (0, 1]; raises ValueError outside.
        """
        if not 0.0 < q <= 1.0:
            raise ValueError(f"quantile {q}, must be in (0, 1]")
        if not self.count:
            return None
        found = ffi.new("uint64_t *")
        rank = ceil(self.count * q - 1e-9)  # 100 * 0.07 is a little more than 7
        _check(lib.wh_sketch_at_rank(self.data, len(self.data), rank, found))
        return int(found[0])


def read(data: bytes) -> PackedSketch:
    """The sketch in `data`, checked whole. Raises EngineError."""
    totals = ffi.new("wh_sketch_totals *")
    _check(lib.wh_sketch_read(data, len(data), totals))
    return PackedSketch(data, totals.count, totals.sum_ns, totals.max_ns)


def merge(first: bytes, second: bytes) -> bytes:
    """One sketch of both. Raises EngineError, also where a sum is beyond 64 bits."""
    room = ffi.new("uint8_t[]", min(len(first) + len(second), BYTES_MAX))
    size = ffi.new("size_t *")
    _check(lib.wh_sketch_merge(first, len(first), second, len(second), room, size))
    return bytes(ffi.buffer(room, size[0]))


EMPTY: Final = PackedSketch(bytes([1, 0, 0, 0, 0]), 0, 0, 0)


def _check(status: int) -> None:
    if status < 0:
        raise EngineError(status, "a latency sketch cannot be read")
