"""A device that is away for long: its spool holds its limit, and the rest arrives as it was."""

from pathlib import Path

import pytest

from tests.controller.live import wait_for
from tests.system.chaos import ledger
from tests.system.chaos.waters import (
    PATIENCE_S,
    Waters,
    assert_device_serves,
    assert_fleet_is_well,
    waters,
)

pytestmark = pytest.mark.chaos

NAME = "gw1"
SPOOL_BYTES_MAX = 64 * 1024  # the least that may be configured


def spooled_bytes(sea: Waters) -> int:
    folder = sea.agents[NAME].state_dir / "data" / "spool"
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix != ".new")


def status(sea: Waters) -> dict[str, int]:
    return dict(sea.agents[NAME].get("/status")["reports"])


def test_a_device_that_was_away_for_long_lost_its_oldest_reports_said_so_and_lost_no_other(
    mosquitto: str, tmp_path: Path
):
    """Telemetry comes twice a second here, so that a minute fills what is a day in the field."""
    limits = f"spool_bytes_max = {SPOOL_BYTES_MAX}"
    with waters(mosquitto, tmp_path, [NAME], limits=limits) as sea:
        sea.proxy.is_open = False
        sea.proxy.cut(NAME)
        largest = 0

        def has_dropped() -> bool:
            nonlocal largest
            largest = max(largest, spooled_bytes(sea))
            return status(sea)["dropped"] > 20

        wait_for(has_dropped, "the oldest give way", 2 * PATIENCE_S)
        assert largest <= SPOOL_BYTES_MAX * 1.5, "a segment is written before the oldest goes"
        sea.proxy.calm()
        assert_device_serves(sea, NAME, "1.0.0")
        wait_for(lambda: status(sea)["spool_bytes"] == 0, "it gets rid of its spool", PATIENCE_S)
        dropped = status(sea)["dropped"]
        lost = ledger.missing(sea.database, dict(sea.ledger.accepted))
        # What went out just before the cut may have been counted as dropped and be there as well.
        assert dropped - 4 <= len(lost) <= dropped, "each is counted, and no other is lost"
        sequences = [sequence for _, _, sequence in lost]
        kept = {key[2] for key in sea.ledger.accepted} - set(sequences)
        between = [one for one in kept if sequences[0] < one < sequences[-1]]
        assert len(between) <= dropped - len(lost), "the oldest went"
        assert_times_are_original(sea)
        wait_for(lambda: told(sea) == dropped, "the controller knows how many", PATIENCE_S)
        assert_fleet_is_well(sea, "1.0.0", {NAME: dropped})


def told(sea: Waters) -> int:
    [unit] = sea.live.get(f"/devices/{NAME}")["units"]
    return int(unit["reports_dropped"])


def assert_times_are_original(sea: Waters) -> None:
    """What came late came with the times at which it was made: over all of the absence."""
    rows = sea.live.get("/telemetry", device=NAME, limit=1000)
    behind = [row["received_s"] - row["time_s"] for row in rows if row["time_s"] is not None]
    assert max(behind) > 10
    assert all(one >= -2 for one in behind)
