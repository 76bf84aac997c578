"""Penalties: a bundle that failed must wait before it may be tried again.

Rules:
1. Each failure of a manifest digest doubles its wait, from `FIRST_S` up to `LONGEST_S`.
2. The wait is counted in fleet time, so that it outlives a reboot.
3. A confirmed bundle is forgiven. At most `PENALTIES_MAX` are remembered: the one that ends
   first makes room.
"""

from typing import Final

from wherry_agent.core.record import PENALTIES_MAX, Penalty

FIRST_S: Final = 30
LONGEST_S: Final = 86_400
Penalties = tuple[Penalty, ...]


def wait_s(failure_count: int) -> int:
    """Seconds to wait after this many failures.

    >>> [wait_s(n) for n in (1, 2, 3, 20)]
    [30, 60, 120, 86400]
    """
    return min(LONGEST_S, FIRST_S << min(failure_count - 1, 12))


def punish(penalties: Penalties, digest: bytes, now_s: int) -> Penalties:
    """With one more failure of that bundle."""
    failures = 1 + sum(one.failure_count for one in penalties if one.manifest_digest == digest)
    others = sorted(forgive(penalties, digest), key=lambda one: one.until_s)
    kept = others[-(PENALTIES_MAX - 1) :]
    return (*kept, Penalty(manifest_digest=digest, failure_count=min(failures, 1 << 16),
                           until_s=now_s + wait_s(failures)))  # fmt: skip


def forgive(penalties: Penalties, digest: bytes) -> Penalties:
    """Without that bundle's failures."""
    return tuple(one for one in penalties if one.manifest_digest != digest)


def remaining_s(penalties: Penalties, digest: bytes, now_s: int) -> int:
    """How long the bundle has to wait still; never longer than its own full wait, so that a
    clock that was set back cannot lock it out."""
    for one in penalties:
        if one.manifest_digest == digest:
            return max(0, min(one.until_s - now_s, wait_s(one.failure_count)))
    return 0
