"""Token buckets: at most so many events of one kind and code per minute; the rest is counted.

>>> bucket, is_allowed, suppressed = take(Bucket(level=1.0), now_us=0, per_minute=1)
>>> is_allowed, suppressed
(True, 0)
"""

from dataclasses import dataclass

from wherry_protocol.frozen import quick

MINUTE_US = 60_000_000


@quick
@dataclass(frozen=True, slots=True)
class Bucket:
    """`level` tokens at `at_us`; `suppressed` events since the last one that went through."""

    level: float
    at_us: int = 0
    suppressed: int = 0


def is_there_one(bucket: Bucket, now_us: int, per_minute: int) -> bool:
    """Whether `take` would allow one."""
    return bucket.level + (now_us - bucket.at_us) * per_minute / MINUTE_US >= 1.0


def take(bucket: Bucket, now_us: int, per_minute: int) -> tuple[Bucket, bool, int]:
    """(bucket, whether the event may go, how many like it were suppressed before it)."""
    refill = (now_us - bucket.at_us) * per_minute / MINUTE_US
    level = min(float(per_minute), bucket.level + refill)
    if level < 1.0:
        return Bucket(level, now_us, bucket.suppressed + 1), False, 0
    return Bucket(level - 1.0, now_us, 0), True, bucket.suppressed
