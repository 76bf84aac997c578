"""Subsets: stable, nested, never empty, and the same in every language."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_controller.core.subset import WHOLE_BP, count_of, ordered, parse_share, rank, subset
from wherry_protocol.errors import WherryError

UNITS = st.lists(st.from_regex(r"[a-z0-9]{1,8}/self", fullmatch=True), unique=True, min_size=1)
SHARES = st.integers(1, WHOLE_BP)
SALTS = st.binary(max_size=16)


@given(SALTS, UNITS, SHARES, SHARES)
def test_a_smaller_share_lies_within_a_larger_one(
    salt: bytes, units: list[str], one: int, two: int
) -> None:
    small, large = sorted((one, two))
    assert subset(salt, units, small) == subset(salt, units, large)[: count_of(small, len(units))]


@given(SALTS, UNITS, SHARES, st.randoms(use_true_random=False))
def test_the_order_in_which_units_are_listed_does_not_matter(
    salt: bytes, units: list[str], share_bp: int, shuffler: object
) -> None:
    shuffled = list(units)
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined]
    assert subset(salt, units, share_bp) == subset(salt, shuffled, share_bp)


@given(SALTS, UNITS, SHARES)
def test_a_share_is_rounded_up_and_holds_at_least_one(
    salt: bytes, units: list[str], share_bp: int
) -> None:
    count = len(subset(salt, units, share_bp))
    assert 1 <= count <= len(units)
    assert (count - 1) * WHOLE_BP < share_bp * len(units) <= count * WHOLE_BP


@given(SALTS, UNITS, st.text("xyz", min_size=1))
def test_a_unit_that_joins_moves_no_other(salt: bytes, units: list[str], name: str) -> None:
    larger = ordered(salt, [*units, f"{name}-new/self"])
    assert [unit for unit in larger if unit in units] == ordered(salt, units)


def test_the_whole_fleet_is_taken_by_100_percent_and_nothing_of_nothing() -> None:
    assert count_of(WHOLE_BP, 7) == 7
    assert count_of(2_500, 0) == 0
    assert [count_of(2_500, size) for size in (1, 4, 5, 12)] == [1, 1, 2, 3]


def test_the_rank_is_sha_256_of_the_salt_s_size_the_salt_and_the_unit() -> None:
    assert rank(b"r-1", "dev-0/self") == sha256(b"\0\0\0\3r-1dev-0/self").digest()


@pytest.mark.parametrize(
    ("text", "share_bp"),
    [
        ("25%", 2_500),
        ("0.01%", 1),
        ("12.5 %", 1_250),
        (0.05, 500),
        ("0.29", 2_900),
        ("100%", 10_000),
    ],
)
def test_shares_are_read_exactly(text: str | float, share_bp: int) -> None:
    assert parse_share(text) == share_bp


@pytest.mark.parametrize("text", ["0%", "100.01%", "-5%", "25", "1.5", 0, "nan", "25 percent", ""])
def test_other_shares_are_refused(text: str | float) -> None:
    with pytest.raises(WherryError, match="neither a percentage"):
        parse_share(text)
