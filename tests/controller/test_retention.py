"""Retention and the order of versions, as properties: what is needed never goes."""

from hypothesis import given
from hypothesis import strategies as st
from wherry_controller.core.registry.bumps import Bump, bump_between, bumped
from wherry_controller.core.registry.retention import DAY_S, Candidate, Retention, fates
from wherry_protocol.version import Version

NOW_S = 2_000_000_000.0
NUMBERS = st.integers(0, 30)
VERSIONS = st.builds(Version, NUMBERS, NUMBERS, NUMBERS)
RETENTIONS = st.builds(
    Retention,
    versions_max=st.integers(1, 6),
    accuracy_min=st.sampled_from([0.0, 0.7, 1.0]),
    age_days_max=st.sampled_from([1.0, 30.0]),
)


@st.composite
def registries(draw: st.DrawFn) -> tuple[list[Candidate], dict[bytes, list[str]]]:
    """Versions of one model, and who needs some of them."""
    versions = draw(st.lists(VERSIONS, unique=True, max_size=12))
    found, needed = [], {}
    for index, version in enumerate(versions):
        digest = index.to_bytes(32, "big")
        found.append(
            Candidate(
                digest,
                version,
                draw(st.sampled_from([None, 0.0, 0.69, 0.7, 0.99])),
                NOW_S - draw(st.sampled_from([0.0, 29.0, 31.0])) * DAY_S,
                draw(st.sampled_from(["", "", "ada"])),
            )
        )
        if draw(st.booleans()):
            needed[digest] = ["serves on pump-1/self"]
    return found, needed


@given(registries(), RETENTIONS)
def test_what_somebody_needs_is_never_deleted(
    registry: tuple[list[Candidate], dict[bytes, list[str]]], retention: Retention
) -> None:
    candidates, needed = registry
    for fate in fates(candidates, needed, retention, NOW_S):
        one = fate.candidate
        assert fate.reasons
        if one.digest in needed or one.pinned_by:
            assert fate.is_kept


@given(registries(), RETENTIONS)
def test_what_nobody_needs_goes_exactly_if_it_breaks_a_limit(
    registry: tuple[list[Candidate], dict[bytes, list[str]]], retention: Retention
) -> None:
    candidates, needed = registry
    found = fates(candidates, needed, retention, NOW_S)
    assert [fate.candidate.version for fate in found] == sorted(
        (one.version for one in candidates), reverse=True
    )
    for place, fate in enumerate(found):
        one = fate.candidate
        if one.digest in needed or one.pinned_by:
            continue
        is_bad = (
            place >= retention.versions_max
            or (0.0 if one.accuracy is None else one.accuracy) < retention.accuracy_min
            or (NOW_S - one.pushed_s) / DAY_S > retention.age_days_max
        )
        assert fate.is_kept is not is_bad


@given(VERSIONS, VERSIONS)
def test_versions_are_ordered_by_their_numbers_and_a_bump_names_the_highest_that_rose(
    old: Version, new: Version
) -> None:
    as_numbers = [(v.major, v.minor, v.patch) for v in (old, new)]
    assert (old < new) is (as_numbers[0] < as_numbers[1])
    bump = bump_between(old, new)
    assert (bump is Bump.NONE) is (new <= old)
    if bump is not Bump.NONE:
        assert bump_between(old, bumped(old, bump)) is bump
        assert bumped(old, bump) <= new
