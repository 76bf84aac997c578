"""Which versions may go: by number, accuracy and age, and never one that somebody needs.

Rules, in order:
1. What is protected stays: it serves somewhere, is somebody's way back, is in an open rollout, is
   assigned, or is pinned. No setting changes that.
2. Any other version goes if it is beyond the newest N by number, OR its accuracy is below the
   minimum, OR it is older than the limit. An accuracy that nobody measured is below any minimum
   above 0.
3. Every version has every reason that holds, whether it stays or goes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from wherry_protocol.version import Version

DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Retention:
    """What an organization keeps of each model. With `is_scheduled` it is applied every hour."""

    versions_max: int = 5
    accuracy_min: float = 0.7
    age_days_max: float = 30.0
    is_scheduled: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version as retention sees it."""

    digest: bytes
    version: Version
    accuracy: float | None
    pushed_s: float
    pinned_by: str = ""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a version, and why: who needs it, or which limits it breaks."""

    candidate: Candidate
    is_kept: bool
    reasons: tuple[str, ...]


def fates(
    candidates: Iterable[Candidate],
    needed: Mapping[bytes, Iterable[str]],
    retention: Retention,
    now_s: float,
) -> list[Fate]:
    """The fate of each version of one model, newest first. `needed`: digest -> who needs it."""
    newest_first = sorted(candidates, key=lambda one: one.version, reverse=True)
    found = []
    for place, one in enumerate(newest_first):
        protections = list(needed.get(one.digest, ()))
        if one.pinned_by:
            protections.append(f"is pinned by {one.pinned_by}")
        breaches = _breaches(one, place, retention, now_s)
        is_kept = bool(protections) or not breaches
        reasons = protections or breaches or ["is within every limit"]
        found.append(Fate(one, is_kept, tuple(reasons)))
    return found


def _breaches(one: Candidate, place: int, retention: Retention, now_s: float) -> list[str]:
    found = []
    if place >= retention.versions_max:
        found.append(f"is number {place + 1}, the newest {retention.versions_max} are kept")
    if one.accuracy is None and retention.accuracy_min > 0:
        found.append(f"has no accuracy on record, at least {retention.accuracy_min:g} is kept")
    elif one.accuracy is not None and one.accuracy < retention.accuracy_min:
        found.append(
            f"has accuracy {one.accuracy:.4g}, at least {retention.accuracy_min:g} is kept"
        )
    age_days = (now_s - one.pushed_s) / DAY_S
    if age_days > retention.age_days_max:
        found.append(f"is {age_days:.1f} days old, up to {retention.age_days_max:g} are kept")
    return found
