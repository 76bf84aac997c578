"""The broker attacks the controller: what it invents of devices is not believed, and counted."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.controller.live import wait_for
from tests.system.chaos.hostile import FORGED_ID, Hostile
from tests.system.chaos.mqtt import Publication
from tests.system.chaos.proxy import ALL, UP
from tests.system.chaos.waters import CONTROLLER, PATIENCE_S, Waters, assert_fleet_is_well, waters

NAME = "gw1"
OWN = f"wherry/1/acme/d/{NAME}/self/"


@pytest.fixture(scope="module")
def sea(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waters]:
    with waters(mosquitto, tmp_path_factory.mktemp("hostile"), [NAME]) as one:
        yield one


@pytest.fixture
def hostile(sea: Waters) -> Hostile:
    """It only listens; what it has heard is there to be played again."""
    found = Hostile()
    sea.proxy.trouble(ALL, found)
    return found


def invent(sea: Waters, topic: str, payload: bytes, number: int = 0) -> None:
    sea.proxy.to_client(
        CONTROLLER, Publication(topic, payload, FORGED_ID + number).packet().encoded()
    )


def dropped(sea: Waters) -> dict[str, int]:
    return {reason: row["count"] for reason, row in sea.live.get("/status")["dropped"].items()}


def is_counted(sea: Waters, before: dict[str, int]) -> None:
    wait_for(lambda: dropped(sea) != before, "it is counted as not believed", PATIENCE_S)


@pytest.mark.parametrize("leaf", ["reported", "telemetry", "event", "reply"])
def test_forged_observation_attack_with_words_that_no_device_said(sea: Waters, leaf: str):
    before, shown = dropped(sea), sea.live.get(f"/devices/{NAME}")["units"][0]["models"]
    invent(sea, OWN + leaf, b"\xd2\x84\x43\xa1\x01\x27" + bytes(100))
    is_counted(sea, before)
    assert sea.live.get(f"/devices/{NAME}")["units"][0]["models"] == shown


def test_forged_observation_attack_with_a_bit_turned_in_what_a_device_said(
    sea: Waters, hostile: Hostile
):
    def is_heard() -> bool:
        return any(way == UP and said.topic == OWN + "telemetry" for way, said in hostile.seen)

    wait_for(is_heard, "the device reports", PATIENCE_S)
    said = hostile.last(UP, OWN + "telemetry")
    middle = len(said.payload) // 2
    bad = bytes([said.payload[middle] ^ 1])
    before = dropped(sea)
    invent(sea, said.topic, said.payload[:middle] + bad + said.payload[middle + 1 :])
    is_counted(sea, before)


def test_replay_attack_with_old_reports_counts_nothing_twice(sea: Waters, hostile: Hostile):
    wait_for(lambda: len(reports_of(hostile)) >= 2, "the device reports", PATIENCE_S)
    for number in range(50):
        for said in reports_of(hostile)[:2]:
            invent(sea, said.topic, said.payload, number)
    assert_fleet_is_well(sea, "1.0.0")  # no report is in the store more than once


def reports_of(hostile: Hostile) -> list[Publication]:
    heard = [said for way, said in hostile.seen if way == UP]
    return [said for said in heard if said.topic.endswith(("/telemetry", "/event"))]


def test_rollback_attack_replays_an_old_reported(sea: Waters, hostile: Hostile):
    """The controller goes on believing the newest."""
    version = sea.push(2)
    sea.ends(sea.canary(version))
    old = next(said for way, said in hostile.seen if way == UP and said.topic == OWN + "reported")
    for number in range(3):
        invent(sea, old.topic, old.payload, number)
    version = sea.push(3)
    sea.ends(sea.canary(version))
    assert_fleet_is_well(sea, version)


def test_impersonation_attack_with_one_devices_words_on_anothers_topic(
    sea: Waters, hostile: Hostile
):
    wait_for(lambda: reports_of(hostile), "the device reports", PATIENCE_S)
    said, before = reports_of(hostile)[-1], dropped(sea)
    invent(sea, said.topic.replace(f"/{NAME}/", "/gw2/"), said.payload)
    is_counted(sea, before)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"\x30\x06\x00\x02\xb0\xffhi", id="a topic that is no text"),
        pytest.param(b"\x90\x01\x00", id="a subscription's answer without its number"),
        pytest.param(b"\x40\x00", id="an acknowledgement of nothing"),
    ],
)
def test_malformed_packets_do_not_deafen_the_controller(sea: Waters, packet: bytes):
    sea.proxy.to_client(CONTROLLER, packet)
    hears_again(sea)


def test_a_broker_that_refuses_the_protocol_and_is_gone_does_not_deafen_the_controller(sea: Waters):
    """paho then connects at once, from where nobody expects that to fail."""
    sea.proxy.stop_listening()
    sea.proxy.to_client(CONTROLLER, b"\x20\x02\x00\x01")
    log = sea.live.folder / "serve.log"
    wait_for(lambda: "cannot be read" in log.read_text(), "it fails, and is told", PATIENCE_S)
    sea.proxy.listen_again()
    hears_again(sea)


def hears_again(sea: Waters) -> None:
    heard_s = time.time()

    def is_heard_again() -> bool:
        [unit] = sea.live.get(f"/devices/{NAME}")["units"]
        return float(unit["seen_s"]) > heard_s + 2

    wait_for(is_heard_again, "it hears the device", PATIENCE_S)


def test_withholding_attack_on_everything_that_devices_say_ends_when_it_ends(
    sea: Waters, hostile: Hostile
):
    hostile.meddle = lambda said, way: [] if way == UP and "/d/" in said.topic else [said]
    before = len(sea.ledger.accepted)
    wait_for(lambda: len(sea.ledger.accepted) > before, "the device spools", PATIENCE_S)
    hostile.meddle = lambda said, _way: [replace(said, is_duplicate=False)]
    sea.proxy.cut(NAME)
    assert_fleet_is_well(sea)
