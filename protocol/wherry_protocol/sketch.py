"""Latency sketch: the engine's log-linear histogram, mergeable, at most 1/64 relative error.

Buckets are those of `native/csrc/include/wherry/histogram.h` (docs/SPEC-program.md): 32 octaves
of 64, durations in ns clamped to [1, 2^32 - 1].

    >>> sketch_of([1_000_000] * 99 + [9_000_000]).quantile_ns(0.5)
    1007615
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from typing import Final

from wherry_protocol.errors import Code, DecodeError

BUCKETS: Final = 2048
FORMAT: Final = 1
DURATION_NS_MAX: Final = (1 << 32) - 1
NUMBER: Final = re.compile(rb"[\x80-\xff]{0,9}[\x00-\x7f]")  # LEB128 of at most 70 bits
NUMBERS: Final = re.compile(rb"(?:[\x80-\xff]{0,9}[\x00-\x7f])*")
TOO_LONG: Final = re.compile(rb"[\x80-\xff]{10}")
SHORT: Final = tuple(bytes([number]) for number in range(0x80))
HEAD_NUMBERS: Final = 4  # count, sum, max, occupied buckets


@dataclass(frozen=True, slots=True)
class Sketch:
    """Counts per occupied bucket; `sum_ns` and `max_ns` are exact."""

    count: int
    sum_ns: int
    max_ns: int
    buckets: Mapping[int, int]

    def quantile_ns(self, q: float) -> int | None:
        """Upper edge of the bucket that holds the quantile, at most `max_ns`; None if empty.

        q in (0, 1]; raises ValueError outside.
        """
        if not 0.0 < q <= 1.0:
            raise ValueError(f"quantile {q}, must be in (0, 1]")
        rank = ceil(self.count * q - 1e-9)  # 100 * 0.07 is a little more than 7
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= rank:
                return min(upper_edge_ns(bucket), self.max_ns)
        return None

    @property
    def mean_ns(self) -> float | None:
        """None while empty."""
        return self.sum_ns / self.count if self.count else None

    def to_bytes(self) -> bytes:
        """Format byte, then varints: count, sum, max, occupied buckets, (gap, count) each."""
        numbers = [self.count, self.sum_ns, self.max_ns, len(self.buckets)]
        last = -1
        for bucket in sorted(self.buckets):
            numbers += [bucket - last - 1, self.buckets[bucket]]
            last = bucket
        return bytes([FORMAT]) + _varints(numbers)


EMPTY: Final = Sketch(0, 0, 0, {})


def bucket_of(duration_ns: int) -> int:
    """The bucket of a duration, 0..2047."""
    clamped = min(max(duration_ns, 1), DURATION_NS_MAX)
    octave = clamped.bit_length() - 1
    return 64 * octave + ((clamped * 64) >> octave) - 64


def upper_edge_ns(bucket: int) -> int:
    """The longest duration that falls into the bucket."""
    octave, step = divmod(bucket, 64)
    return (((65 + step) << octave) + 63) // 64 - 1


def sketch_of(durations_ns: Iterable[int]) -> Sketch:
    """The sketch of some durations."""
    durations = list(durations_ns)
    buckets = Counter(bucket_of(d) for d in durations)
    return Sketch(len(durations), sum(durations), max(durations, default=0), dict(buckets))


def merge(sketches: Iterable[Sketch]) -> Sketch:
    """One sketch of everything; the order does not matter."""
    count = total = longest = 0
    buckets: dict[int, int] = {}
    for sketch in sketches:
        count += sketch.count
        total += sketch.sum_ns
        longest = max(longest, sketch.max_ns)
        if not buckets:
            buckets = dict(sketch.buckets)
            continue
        for bucket, samples in sketch.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + samples
    return Sketch(count, total, longest, buckets)


def since(now: Sketch, before: Sketch) -> Sketch:
    """What came to `now` after `before`, where both count the same thing from its start.

    `max_ns` is the upper edge of the highest bucket that grew, at most `now.max_ns`.
    """
    grown = {b: n - before.buckets.get(b, 0) for b, n in now.buckets.items()}
    buckets = {b: n for b, n in grown.items() if n > 0}
    longest = min(upper_edge_ns(max(buckets)), now.max_ns) if buckets else 0
    return Sketch(now.count - before.count, now.sum_ns - before.sum_ns, longest, buckets)


def from_bytes(data: bytes) -> Sketch:
    """The sketch in `data`, whole. Raises DecodeError."""
    if data[:1] != bytes([FORMAT]):
        raise DecodeError(f"sketch: format {data[:1].hex()}, must be {FORMAT:02x}")
    numbers = _numbers(data)
    if len(numbers) < HEAD_NUMBERS:
        raise DecodeError("sketch: it ends too early")
    count, total, longest, occupied = numbers[:HEAD_NUMBERS]
    size = HEAD_NUMBERS + 2 * occupied
    buckets = _buckets(numbers[HEAD_NUMBERS:size:2], numbers[HEAD_NUMBERS + 1 : size : 2])
    if len(numbers) < size:
        raise DecodeError("sketch: it ends too early")
    if len(numbers) > size:
        raise DecodeError("sketch: bytes after its end")
    if sum(buckets.values()) != count:
        raise DecodeError(f"sketch: {sum(buckets.values())} samples in buckets, says {count}")
    return Sketch(count, total, longest, buckets)


def _buckets(gaps: list[int], counts: list[int]) -> dict[int, int]:
    """Bucket -> count, from each occupied bucket's distance to the one before it."""
    places = [place + i for i, place in enumerate(accumulate(gaps))]
    if places and places[-1] >= BUCKETS:
        raise DecodeError(f"sketch: bucket {places[-1]}, the last is {BUCKETS - 1}")
    if 0 in counts:
        raise DecodeError("sketch: an occupied bucket with no sample", Code.NOT_DETERMINISTIC)
    return dict(zip(places, counts, strict=False))  # a gap without its count: it ends too early


def _numbers(data: bytes) -> list[int]:
    """Every number after the format byte."""
    if not NUMBERS.fullmatch(data, 1):
        if data[-1] & 0x80 and not TOO_LONG.search(data, 1):
            raise DecodeError("sketch: it ends inside a number")
        raise DecodeError("sketch: a number of more than 64 bits", Code.OUT_OF_BOUNDS)
    return [n[0] if len(n) == 1 else _long_number(n) for n in NUMBER.findall(data, 1)]


def _long_number(data: bytes) -> int:
    """A LEB128 number of more than one byte, without a needless one."""
    if data[-1] == 0:
        raise DecodeError("sketch: a number with a needless byte", Code.NOT_DETERMINISTIC)
    if len(data) == 2:
        return data[0] & 0x7F | data[1] << 7
    number = 0
    for byte in reversed(data):
        number = number << 7 | byte & 0x7F
    if number >= 1 << 64:
        raise DecodeError("sketch: a number of more than 64 bits", Code.OUT_OF_BOUNDS)
    return number


def _varints(numbers: Iterable[int]) -> bytes:
    return b"".join([SHORT[n] if n <= 0x7F else _long_varint(n) for n in numbers])


def _long_varint(number: int) -> bytes:
    if number < 1 << 14:
        return bytes((number & 0x7F | 0x80, number >> 7))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
