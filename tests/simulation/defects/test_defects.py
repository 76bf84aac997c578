"""A few seeded defects in the normal test run; `python -m tests.simulation.defects` plays all."""

import pytest

from tests.simulation.defects.__main__ import found_after


@pytest.mark.parametrize(
    "name", ["skip_the_folders_fsync", "persist_after_activate", "take_a_trial_for_success",
             "offer_to_members_of_later_stages", "acknowledge_beyond_a_gap",
             "ask_for_every_chunk_at_once"],
)  # fmt: skip
def test_the_simulator_finds_a_seeded_defect(name: str) -> None:
    count, what = found_after(name, first_seed=0)
    assert count is not None, what
