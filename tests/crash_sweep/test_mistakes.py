"""A few seeded mistakes in the normal test run; `python -m tests.crash_sweep.mistakes` tries all.

A sweep that finds nothing proves nothing.
"""

import shlex

import pytest

from tests.crash_sweep import __main__ as program
from tests.crash_sweep.mistakes import MISTAKES, found
from tests.crash_sweep.sweep import Cut
from tests.simulation.defects import Switch


@pytest.mark.parametrize(
    "name",
    ["skip_the_folders_fsync", "write_the_record_in_place", "keep_the_torn_sector",
     "list_before_the_vault", "believe_a_root_that_was_rolled_back"],
)  # fmt: skip
def test_the_sweep_finds_a_seeded_mistake(name: str) -> None:
    cuts, why = found(name)
    assert cuts is not None, why


def test_the_printed_command_plays_the_same_cut_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cuts = (Cut(4, "lost"),)
    words = shlex.split(program.again("agent", "update", cuts))
    monkeypatch.setattr("sys.argv", words[2:])
    assert program.main() == 0
    switch = Switch()
    MISTAKES["skip_the_folders_fsync"].switch_on(switch)
    try:
        assert program.main() == 1
    finally:
        switch.off()


def test_a_sweep_of_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["crash_sweep", "--subject", "agent", "--scenario", "updaet"])
    with pytest.raises(SystemExit) as refusal:
        program.main()
    assert refusal.value.code == 2
