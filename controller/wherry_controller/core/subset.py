"""Which part of a fleet: stable, nested subsets.

Rules:
1. The order is by SHA-256 of (salt, unit), so it is the same in every process and language.
2. A share takes the first ceil(share * n), at least one. So 25 % lies within 100 %.
3. Shares are basis points (1/10,000) inside; `25%` and `0.25` are both read.
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

from wherry_protocol.errors import Code, WherryError

WHOLE_BP: Final = 10_000
PERCENT: Final = re.compile(r"(\d{1,3}(?:\.\d{1,2})?)\s*%")
FRACTION: Final = re.compile(r"[01](?:\.\d{1,4})?")


def rank(salt: bytes, unit: str) -> bytes:
    """Where a unit stands in the order of one salt: 32 bytes to sort by."""
    return sha256(len(salt).to_bytes(4, "big") + salt + unit.encode()).digest()


def ordered(salt: bytes, units: Iterable[str]) -> list[str]:
    """The units in the order in which shares take them."""
    return sorted(units, key=lambda unit: rank(salt, unit) + unit.encode())


def count_of(share_bp: int, size: int) -> int:
    """How many of `size` a share takes: ceil, at least one of a fleet that is not empty."""
    if not 0 < share_bp <= WHOLE_BP:
        raise ValueError(f"share of {share_bp} basis points, must be in 1..{WHOLE_BP}")
    return min(size, max(1, -(-share_bp * size // WHOLE_BP)))


def subset(salt: bytes, units: Sequence[str], share_bp: int) -> list[str]:
    """The share of the units that this salt takes first."""
    return ordered(salt, units)[: count_of(share_bp, len(units))]


def parse_share(value: str | int | float) -> int:
    """Basis points from `25%`, `"0.25"` or 0.25. Raises WherryError(INVALID).

    >>> parse_share("25%"), parse_share(0.05), parse_share("100%")
    (2500, 500, 10000)
    """
    text = str(value).strip()
    percent = PERCENT.fullmatch(text)
    share_bp = _scaled(percent[1], 2) if percent else None
    if share_bp is None and FRACTION.fullmatch(text):
        share_bp = _scaled(text, 4)
    if share_bp is None or not 0 < share_bp <= WHOLE_BP:
        raise WherryError(
            f"share {value!r} is neither a percentage (25%) nor a fraction (0.25)"
            " above 0 and at most 100%, in steps of 0.01%",
            Code.INVALID,
        )
    return share_bp


def _scaled(digits: str, places: int) -> int:
    """The decimal number times 10^places, exactly."""
    whole, _, part = digits.partition(".")
    return int(whole + part.ljust(places, "0"))
