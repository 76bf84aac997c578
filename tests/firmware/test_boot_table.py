"""The boot decision, every situation: read from the firmware itself, held to its invariants."""

import csv
import io
import itertools
from pathlib import Path

import pytest

from tests.firmware.device import run_to_end

PHASES = ("settled", "test", "permanent", "trial")


@pytest.fixture(scope="module")
def table(firmware: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(run_to_end(firmware, "--boot-table").stdout)))


def test_every_situation_has_a_row(table: list[dict[str, str]]) -> None:
    keys = {
        (row["phase"], row["active_verified"], row["other_verified"], row["other_good"])
        for row in table
    }
    assert keys == set(itertools.product(PHASES, "01", "01", "01"))


def test_nothing_runs_that_is_not_verified(table: list[dict[str, str]]) -> None:
    for row in table:
        runs_other = row["changes_bank"] == "1"
        verified = row["other_verified" if runs_other else "active_verified"]
        assert row["runs"] == "0" or verified == "1", row


def test_a_verified_image_that_was_good_is_never_left_for_nothing(
    table: list[dict[str, str]],
) -> None:
    for row in table:
        if row["other_verified"] == "1" and row["other_good"] == "1":
            assert row["runs"] == "1", row
        if row["active_verified"] == "1":
            assert row["runs"] == "1", row


def test_an_image_that_nobody_tried_or_confirmed_never_boots(table: list[dict[str, str]]) -> None:
    for row in table:
        if row["changes_bank"] == "1" and row["phase"] in ("settled", "trial"):
            assert row["other_good"] == "1", row


def test_only_a_permanent_choice_makes_an_image_good_without_a_confirmation(
    table: list[dict[str, str]],
) -> None:
    for row in table:
        if row["changes_bank"] == "1" and row["active_good_after"] == "1":
            assert row["phase"] == "permanent" or row["other_good"] == "1", row


def test_a_trial_lasts_one_boot_where_there_is_a_way_back(table: list[dict[str, str]]) -> None:
    for row in table:
        if row["phase"] == "trial" and row["other_verified"] == row["other_good"] == "1":
            assert (row["action"], row["next_phase"]) == ("revert", "settled"), row


@pytest.mark.parametrize("phase", ["test", "permanent"])
def test_a_pending_image_that_changed_since_is_not_booted(
    table: list[dict[str, str]], phase: str
) -> None:
    rows = [row for row in table if row["phase"] == phase and row["other_verified"] == "0"]
    assert {row["action"] for row in rows} == {"cancel", "drop"}
    assert {row["changes_bank"] for row in rows} == {"0"}


def test_waiting_forgets_nothing(table: list[dict[str, str]]) -> None:
    for row in table:
        if row["action"] == "hold":
            assert row["next_phase"] == row["phase"], row
            assert row["other_good_after"] == row["other_good"], row
            assert row["active_good_after"] == "1", row


WORDS = {"yes": "1", "no": "0"}


def test_the_specification_shows_the_same_table(table: list[dict[str, str]], root: Path) -> None:
    text = (root / "docs" / "SPEC-firmware.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.split("| phase | active verified |")[1].splitlines()[2:14]
    ]
    for found in table:
        facts = [found[key] for key in ("active_verified", "other_verified", "other_good")]
        action = next(
            cells[4]
            for cells in rows
            if cells[0] == found["phase"]
            and all(
                cell == "any" or WORDS[cell] == fact
                for cell, fact in zip(cells[1:4], facts, strict=True)
            )
        )
        assert action == found["action"], found
