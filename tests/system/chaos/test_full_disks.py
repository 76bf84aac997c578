"""Disks that fill up in the middle of it, and have room again: nothing is lost but what is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from wherry_protocol.bundle import write_bundle
from wherry_protocol.errors import Code

from tests.agent.bundles import make_bundle, sign_bundle
from tests.controller.live import wait_for
from tests.system.chaos.proxy import ALL, Rate
from tests.system.chaos.smalldisk import SmallDisk, small_disk
from tests.system.chaos.waters import (
    GATE,
    PATIENCE_S,
    Waters,
    assert_fleet_is_well,
    assert_reports_arrived,
    waters,
)
from tests.system.fleet import TRIAL

pytestmark = pytest.mark.chaos

NAMES = ["gw1", "gw2"]
BALLAST_ROWS = 40_000
DISK_MIB = 40  # the guard holds rollouts below 5 % of the class's 256 MiB: of a disk that is full


@pytest.fixture
def device_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", DISK_MIB) as one:
        yield one


@pytest.fixture
def sea(mosquitto: str, tmp_path: Path, device_disk: SmallDisk) -> Iterator[Waters]:
    """gw1 keeps its state on the small disk."""
    with waters(mosquitto, tmp_path, NAMES[1:]) as one:
        one.add(tmp_path, NAMES[:1], state=device_disk.folder / "state")
        one.ends(one.fleet.deploy("1.0.0", "gw1"))
        yield one


def says_full(sea: Waters, name: str) -> bool:
    """By an event; the record that would show it as the model's state does not fit either."""
    events = sea.live.get("/events", device=name, limit=50)
    return any(row["code"] == Code.STORAGE.name for row in events)


def test_a_device_whose_disk_fills_in_mid_fetch_serves_on_and_installs_when_there_is_room(
    sea: Waters, device_disk: SmallDisk
):
    sea.proxy.trouble("gw1", Rate(60_000))
    version = sea.push(2, ballast_rows=BALLAST_ROWS)
    rollout_id = sea.fleet.deploy(version, "all", {"trial": TRIAL, "gate": GATE})
    sea.fleet.wait_model("gw1", phase="fetching")
    device_disk.fill()
    sea.proxy.calm()
    wait_for(lambda: says_full(sea, "gw1"), "it says that its disk is full", PATIENCE_S)
    assert sea.serves("gw1") == "1.0.0"
    device_disk.make_room()
    sea.ends(rollout_id)
    assert_fleet_is_well(sea, version)


def test_a_device_whose_disk_fills_while_it_spools_keeps_its_reports_in_memory_until_there_is_room(
    sea: Waters, device_disk: SmallDisk
):
    agent = sea.agents["gw1"]
    sea.proxy.is_open = False
    sea.proxy.cut("gw1")
    wait_for(lambda: agent.get("/status")["reports"]["spool_bytes"], "it spools", PATIENCE_S)
    device_disk.fill()
    wait_for(lambda: "No space left" in agent.log, "it meets the full disk", PATIENCE_S)
    wait_for(lambda: agent.get("/status")["reports"]["held"] > 5, "memory holds them", PATIENCE_S)
    assert sea.serves("gw1") == "1.0.0"
    spool = agent.state_dir / "data" / "spool"
    count = len(list(spool.iterdir()))
    device_disk.make_room()
    wait_for(lambda: len(list(spool.iterdir())) > count + 1, "it spools again", PATIENCE_S)
    assert_fleet_is_well(sea, "1.0.0")
    assert agent.get("/status")["reports"]["dropped"] == 0
    assert not [path for path in spool.iterdir() if path.suffix == ".new"], "no leavings"


def test_a_controller_whose_disk_fills_in_mid_rollout_loses_no_report_and_ends_it(
    mosquitto: str, tmp_path: Path
):
    with small_disk(tmp_path / "acme", 24) as disk, waters(mosquitto, tmp_path, NAMES) as sea:
        version = sea.push(2)
        sea.proxy.trouble(ALL, Rate(30_000))
        rollout_id = sea.canary(version)
        disk.fill()
        sea.proxy.calm()
        bundle = write_bundle(sign_bundle(make_bundle("9.0.0", seed=9), sea.live.release))
        answer = sea.live.http.post("/bundles", content=bundle)
        assert (answer.status_code, answer.json()["code"]) == (507, "STORAGE")
        wait_for(lambda: store_errors(sea) > 0, "the store cannot write", PATIENCE_S)
        disk.make_room()
        sea.ends(rollout_id)
        assert_fleet_is_well(sea, version)


def store_errors(sea: Waters) -> float:
    with sea.live.client(sea.live.token) as door:  # a refused body has closed the other one
        page = door.get("/metrics").text
    [line] = [row for row in page.splitlines() if row.startswith("wherry_store_errors_total ")]
    return float(line.split()[1])


def test_reports_are_held_to_while_the_controllers_disk_is_full(mosquitto: str, tmp_path: Path):
    with small_disk(tmp_path / "acme", 24) as disk, waters(mosquitto, tmp_path, NAMES[:1]) as sea:
        disk.fill()
        wait_for(lambda: store_errors(sea) > 3, "the store cannot write", PATIENCE_S)
        wait_for(lambda: sea.ledger.accepted, "the device spools meanwhile", PATIENCE_S)
        disk.make_room()
        assert_reports_arrived(sea, {})
        assert_fleet_is_well(sea)
