"""When to try the broker again: later each time, and never in step with the rest of the fleet.

Rules:
1. The wait is drawn evenly from `low_s` up to a span that doubles with each attempt, up to
   `high_s`. So a fleet that lost its broker for long comes back evenly over `high_s`.
2. Attempts are counted until a connection has lasted `STABLE_S`: a broker that accepts and hangs
   up at once is not asked more often than one that is away.

Pure: `random` in [0, 1) is a parameter.

    >>> [wait_s(attempt, 1.0, 120.0, random=0.5) for attempt in (0, 1, 2, 10)]
    [2.5, 4.5, 8.5, 60.5]
"""

from typing import Final

STABLE_S: Final = 10.0
FIRST_SPAN: Final = 4.0  # in `low_s`: short enough for one cut, long enough for a fleet's
DOUBLINGS_MAX: Final = 32  # beyond it every span is the longest one


def wait_s(attempt: int, low_s: float, high_s: float, random: float) -> float:
    """Seconds until attempt number `attempt` (from 0) after a connection was lost or refused."""
    span_s = min(high_s, FIRST_SPAN * low_s * 2.0 ** min(attempt, DOUBLINGS_MAX))
    return low_s + random * (span_s - low_s)


def attempts_after(attempts: int, lasted_s: float) -> int:
    """The count to go on with after a connection that lasted so long."""
    return 0 if lasted_s >= STABLE_S else attempts
