"""Wall clocks that jump in mid-rollout, on devices and under the controller."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.controller.live import wait_for
from tests.system.chaos.faketime import WallClock, wall_clock
from tests.system.chaos.waters import PATIENCE_S, Waters, assert_fleet_is_well, pause, waters

pytestmark = pytest.mark.chaos

NAMES = ["gw1", "gw2", "gw3", "gw4"]
HOUR_S, DAY_S = 3600, 86_400
READ = "import json, time; print(json.dumps([time.time(), time.monotonic()]))"


def test_a_set_clock_moves_the_wall_clock_and_no_other(tmp_path: Path):
    """Without this the rest would prove nothing."""
    clock = wall_clock(tmp_path / "clock")
    clock.set(DAY_S)
    ran = subprocess.run(
        [sys.executable, "-c", READ], env=dict(clock.environment), capture_output=True, check=True
    )
    wall_s, monotonic_s = json.loads(ran.stdout)
    assert abs(wall_s - time.time() - DAY_S) < 60
    assert abs(monotonic_s - time.monotonic()) < 60


def test_a_canary_ends_well_though_the_clocks_of_devices_jump(mosquitto: str, tmp_path: Path):
    clock = wall_clock(tmp_path / "clock")
    with waters(mosquitto, tmp_path, NAMES, environment_of_agents=clock.environment) as sea:
        version = sea.push(2)
        rollout_id = sea.canary(version)
        for offset_s in (2 * DAY_S, -3 * DAY_S, -int(time.time()) + HOUR_S):  # and then 1970
            clock.set(offset_s)
            pause(0.7)
        sea.ends(rollout_id)
        assert_fleet_is_well(sea, version)
        assert_times_are_true(sea)


def assert_times_are_true(sea: Waters) -> None:
    """A device's own wall clock is not asked: its times are the fleet's."""
    rows = sea.live.get("/events", limit=1000)
    times = [row["time_s"] for row in rows if row["time_s"] is not None]
    assert times
    assert all(abs(time_s - time.time()) < HOUR_S for time_s in times)


def test_a_canary_ends_well_though_the_clock_of_the_controller_jumps_ahead_and_back(
    mosquitto: str, tmp_path: Path
):
    clock = wall_clock(tmp_path / "clock")
    with waters(mosquitto, tmp_path, NAMES, environment=clock.environment) as sea:
        version = sea.push(2)
        rollout_id = sea.canary(version)
        jump(sea, clock, 2 * HOUR_S)
        jump(sea, clock, -2 * HOUR_S)
        jump(sea, clock, 0)
        sea.ends(rollout_id)
        assert_fleet_is_well(sea, version)


def jump(sea: Waters, clock: WallClock, offset_s: int) -> None:
    """And a moment to let the controller see it."""
    clock.set(offset_s)
    wait_for(lambda: sea.live.get("/status"), "the controller answers", PATIENCE_S)
    pause(1.5)
