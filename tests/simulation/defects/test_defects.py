"""A few seeded defects in the normal test run; `python -m tests.simulation.defects` plays all."""

import pytest

from tests.simulation.defects import DEFECTS
from tests.simulation.defects.__main__ import found_after
from tests.simulation.invariants import devices
from tests.simulation.invariants.broken import broken


@pytest.mark.parametrize(
    "name", ["skip_the_folders_fsync", "persist_after_activate", "take_a_trial_for_success",
             "offer_to_members_of_later_stages", "acknowledge_beyond_a_gap",
             "ask_for_every_chunk_at_once", "take_every_root_for_a_new_epoch"],
)  # fmt: skip
def test_the_simulator_finds_a_seeded_defect(name: str) -> None:
    count, what = found_after(name, first_seed=0)
    assert count is not None, what


def test_what_fails_without_the_defect_is_not_found_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    never_holds = [*devices.DEVICE, lambda _world, _device: broken("nothing is ever well")]
    monkeypatch.setattr(devices, "DEVICE", never_holds)
    monkeypatch.setitem(DEFECTS, "nothing_at_all", (lambda _switch: None, "canary"))
    count, what = found_after("nothing_at_all", first_seed=0)
    assert count is None
    assert "fails without it: nothing is ever well" in what
