"""The broker attacks the controller: what it invents of devices is not believed, and counted."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from wherry_protocol import cose
from wherry_protocol.codec import content_type, dumps, loads
from wherry_protocol.messages.observed import Telemetry
from wherry_protocol.senml import Record

from tests.agent.bundles import layer_image
from tests.controller.device import Served
from tests.controller.live import wait_for
from tests.system.chaos.hostile import FORGED_ID, Ear, Hostile, in_clear
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


def test_forged_observation_attack_with_a_presence_that_the_device_did_not_say(
    sea: Waters, hostile: Hostile
):
    """Its own words with a bit turned, and the will of another device."""
    sea.proxy.cut(NAME)  # it greets again
    wait_for(lambda: presences_of(hostile), "it has greeted", PATIENCE_S)
    said, before = presences_of(hostile)[-1], dropped(sea)
    invent(sea, said.topic, said.payload[:-1] + bytes([said.payload[-1] ^ 1]))
    is_counted(sea, before)
    before = dropped(sea)
    invent(sea, said.topic.replace(f"/{NAME}/", "/gw2/"), said.payload)
    is_counted(sea, before)
    assert sea.live.get(f"/devices/{NAME}")["is_online"]


def test_replay_attack_with_an_old_presence_brings_nobody_back(sea: Waters, hostile: Hostile):
    """A device that is gone stays gone, whatever it once said; its newest word is its will."""
    sea.proxy.cut(NAME)
    wait_for(lambda: presences_of(hostile), "it has greeted", PATIENCE_S)
    wait_for(lambda: sea.live.get(f"/devices/{NAME}")["is_online"], "it is there", PATIENCE_S)
    greetings, before = presences_of(hostile), dropped(sea)
    sea.agents[NAME].kill()
    wait_for(lambda: not sea.live.get(f"/devices/{NAME}")["is_online"], "it is gone", PATIENCE_S)
    for number, said in enumerate(greetings):
        invent(sea, said.topic, said.payload, number)
    invent(sea, OWN + "event", b"\0")  # what comes behind them is read behind them
    is_counted(sea, before)
    assert not sea.live.get(f"/devices/{NAME}")["is_online"]
    sea.agents[NAME].start()
    wait_for(lambda: sea.live.get(f"/devices/{NAME}")["is_online"], "it is back", PATIENCE_S)


def presences_of(hostile: Hostile) -> list[Publication]:
    topic = f"wherry/1/acme/d/{NAME}/presence"
    return [said for way, said in hostile.seen if (way, said.topic) == (UP, topic)]


def test_eavesdropping_attack_on_a_whole_rollout_finds_nothing_of_the_model(sea: Waters):
    """From the controller to the broker, from the broker to the device, and all they answer."""
    ear = Ear()
    sea.proxy.trouble(ALL, ear)
    version = sea.push(21, ballast_rows=200)
    sea.ends(sea.canary(version))
    heard = bytes(ear.heard)
    assert f"wherry/1/acme/d/{NAME}/self/desired".encode() in heard
    image = layer_image(21, ballast_rows=200)
    assert in_clear(image, image)
    assert in_clear(image, heard) == []
    assert_fleet_is_well(sea, version)


def test_hostile_telemetry_attack_by_a_device_with_keys_of_its_own(sea: Waters):
    """Each of its messages is authentic; each is counted and dropped, and nobody else is harmed."""
    thief = sea.live.enroll("thief")
    thief.start()
    device = thief.device
    device.active["digits"] = Served(bytes(32), "1.0.0")
    good = device.performance("digits", inferences=5)
    for pack in (
        (good[0], good[1], good[1]),
        (*good, *(Record(name=f"x{number}", value=1.0) for number in range(100))),
        (*good, Record(name="latency.sketch", data=b"\x01\xff" * 40)),
    ):
        before = dropped(sea)
        thief.send(device.telemetry(pack))
        is_counted(sea, before)
    topic, payload = device.telemetry((good[0], Record(name="errors", value=1.5)))
    told = cose.unverified_payload(payload)
    whole = loads(told, what="telemetry")
    huge = dumps(whole | {1: {**whole[1], 5: 1 << 63}})  # a sequence that no store can hold
    for body in (told.replace(b"\xf9\x3e\x00", b"\xf9\x7e\x00"), huge):  # 1.5 becomes NaN
        assert body != told
        before = dropped(sea)
        mac = cose.mac0(body, content_type=content_type(Telemetry), key=device.keys.mac_key)
        thief.send((topic, mac))
        is_counted(sea, before)
    sea.live.post("/devices/thief/revoke", {"reason": "it lies"})
    thief.stop()
    rows = sea.live.get("/performance")
    assert "thief" not in {row["connection"] for row in rows}
    assert_fleet_is_well(sea)


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
