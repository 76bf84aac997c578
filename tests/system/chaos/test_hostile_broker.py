"""Attacks by the broker itself, over a real wire, one test per attack.

To survive: the active model serves on, the refusal is told with its code, and an honest broker
later finds a device that follows. The director and its keys are honest; the proxy is the broker.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from wherry_protocol import cose
from wherry_protocol.codec import content_type, encode
from wherry_protocol.errors import Code
from wherry_protocol.manifest import Manifest
from wherry_protocol.messages.desired import TelemetryConfig
from wherry_protocol.messages.observed import Ack
from wherry_protocol.messages.reported import Outcome
from wherry_protocol.messages.rpc import Verb
from wherry_protocol.messages.trust import TrustRole
from wherry_protocol.sealed import seal_mac

from tests.agent.bundles import make_bundle
from tests.agent.director import ORG, Director
from tests.system.agents import wait_until
from tests.system.chaos.hostile import NAME, Strait, is_chunk, strait
from tests.system.chaos.mqtt import Publication
from tests.system.chaos.proxy import DOWN, UP

pytestmark = pytest.mark.slow
REFUSED = b"\x20\x02\x00\x01"  # CONNACK: unacceptable protocol version


@pytest.fixture(scope="module")
def sea(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strait]:
    with strait(mosquitto, tmp_path_factory.mktemp("hostile"), progress_s=4.0) as one:
        yield one


@pytest.fixture(autouse=True)
def _honest_at_first(sea: Strait) -> None:
    sea.begin()


# --- rollback, replay, forgery


def test_rollback_attack_replays_an_old_desired_document(sea: Strait):
    old = sea.hostile.last(DOWN, sea.topic("desired")).payload
    sea.follows("2.0.0", seed=2)
    sea.forge(sea.topic("desired"), old)
    wait_until(lambda: Code.ROLLBACK in sea.codes(), "the refusal is told", 60)
    wait_until(lambda: sea.reported.refusal_code is Code.ROLLBACK, "it is reported", 60)
    assert sea.serving() == "2.0.0"


def test_rollback_attack_with_an_old_root(sea: Strait):
    topics, first = sea.director.topics, sea.director.roots[0]
    sea.ashore.say(topics.root(2), sea.director.rotate(with_new_director=False), is_retained=True)
    wait_until(lambda: sea.reported.root_number == 2, "the second root is followed", 60)
    forked = Director(seed=sea.director.seed, now_s=sea.director.now_s)
    for root in (first, forked.rotate(epoch=7)):
        sea.forge(topics.root(3), root)
    sea.refuses(Code.ROLLBACK)
    assert (sea.reported.root_number, sea.reported.epoch) == (2, 0)


def test_key_rotation_attack_with_a_root_signed_only_by_new_keys(sea: Strait):
    number = sea.reported.root_number
    stranger = Director(seed=99, now_s=sea.director.now_s)
    for _ in range(number):
        root = stranger.rotate()
    sea.forge(sea.director.topics.root(number + 1), root)
    sea.refuses(Code.THRESHOLD)
    assert sea.reported.root_number == number


def test_arbitrary_software_attack_with_a_document_that_no_director_signed(sea: Strait):
    bundle = sea.made("2.1.0", seed=3)
    forger = Director(seed=77, now_s=sea.director.now_s)
    forger.bundles = sea.director.bundles
    desired = forger.desired(sea.agent.device, [forger.assignment(bundle)], revision=1 << 20)
    sea.forge(sea.topic("desired"), forger.sealed(desired))
    sea.refuses(Code.SIGNATURE)


def test_type_confusion_attack_passes_a_manifest_as_a_desired_document(sea: Strait):
    signed = cose.sign1(
        make_bundle("2.2.0").manifest_bytes,
        content_type=content_type(Manifest),
        role=TrustRole.DIRECTOR,
        key=sea.director.director_key,
    )
    sea.forge(sea.topic("desired"), signed)
    sea.refuses(Code.WRONG_ROLE)


def test_extra_data_attack_appends_bytes_to_a_desired_document(sea: Strait):
    said = sea.hostile.last(DOWN, sea.topic("desired"))
    sea.forge(said.topic, said.payload + b"\0")
    sea.refuses(Code.NOT_DETERMINISTIC)


@pytest.mark.parametrize("changes", [{"connection": "gw2"}, {"unit": "mcu"}, {"org": "emca"}])
def test_wrong_device_attack(sea: Strait, changes: dict[str, str]):
    meant = sea.director.desired(sea.agent.device, [], **changes)
    sea.forge(sea.topic("desired"), sea.director.sealed(meant))
    sea.refuses(Code.WRONG_TARGET)


def test_expired_metadata_attack(sea: Strait):
    late = sea.director.desired(sea.agent.device, [], expires_s=sea.director.now_s - 1)
    sea.forge(sea.topic("desired"), sea.director.sealed(late))
    sea.refuses(Code.EXPIRED)


def test_key_rotation_attack_that_skips_a_number(sea: Strait):
    number = sea.reported.root_number
    apart = Director(seed=sea.director.seed, now_s=sea.director.now_s)
    for _ in range(number + 1):
        root = apart.rotate(with_new_director=False)
    sea.forge(sea.director.topics.root(number + 1), root)
    sea.refuses(Code.ROOT_CHAIN)
    assert sea.reported.root_number == number


def test_replayed_command_attack(sea: Strait):
    before = len(sea.ashore.heard["reply"])
    expires_s = int(time.time()) + 300
    request = sea.director.request(sea.agent.device, Verb.STATUS, expires_s=expires_s)
    sea.ashore.say(sea.topic("rpc"), request)
    sea.ashore.wait_for(lambda: len(sea.ashore.heard["reply"]) == before + 1, "the one reply")
    sea.forge(sea.topic("rpc"), request, count=5)
    sea.refuses(Code.REPLAY)
    assert len(sea.ashore.heard["reply"]) == before + 1


# --- bundles


def test_mix_and_match_attack_gives_one_blobs_chunks_for_anothers(sea: Strait):
    bundle, other = sea.made("3.0.0", seed=4), sea.made("3.1.0", seed=5)
    theirs = list(sea.director.chunks(other).values())

    def mix(said: Publication, way: str) -> list[Publication]:
        return [replace(said, payload=theirs[0])] if is_chunk(said, way) else [said]

    sea.meddle(mix)
    sea.assign(bundle)
    sea.refuses(Code.DECRYPT)
    assert sea.model.outcome is not Outcome.CONFIRMED or sea.serving() == "1.0.0"
    sea.follows("3.2.0", seed=6)


def test_partial_bundle_attack_withholds_chunks_for_ever(sea: Strait):
    """Slow retrieval at its slowest: named, given up for want of progress, tried again later."""
    sea.meddle(lambda said, way: [] if is_chunk(said, way) else [said])
    sea.assign(sea.made("3.3.0", seed=7))
    wait_until(lambda: sea.model.code is Code.NO_PROGRESS, lambda: f"given up; {sea.model}", 60)
    assert sea.serving() == "1.0.0"
    sea.follows("3.4.0", seed=8)


@pytest.mark.parametrize("added", [1, 40_000])
def test_endless_data_attack_makes_chunks_longer_than_announced(sea: Strait, added: int):
    def longer(said: Publication, way: str) -> list[Publication]:
        return [replace(said, payload=said.payload + bytes(added))] * (
            3 if is_chunk(said, way) else 0
        ) or [said]

    before = sea.stored_bytes()
    sea.meddle(longer)
    sea.assign(sea.made("3.5.0", seed=9))
    sea.refuses(Code.DECRYPT)
    assert sea.stored_bytes() <= before + 4096, "nothing of it is kept, but records may be"


# --- order and silence


def test_reordering_attack_delivers_an_older_document_after_a_newer_one(sea: Strait):
    held: list[Publication] = []

    def hold(said: Publication, way: str) -> list[Publication]:
        if way == DOWN and said.topic == sea.topic("desired"):
            held.append(said)
            return []
        return [said]

    sea.meddle(hold)
    older, newer = sea.made("4.0.0", seed=10), sea.made("4.1.0", seed=11)
    sea.assign(older)
    sea.assign(newer)
    wait_until(lambda: len(held) == 2, "both are held")
    sea.be_honest()
    for said in reversed(held):
        sea.send(said.packet().encoded())
    sea.confirms(newer)
    wait_until(lambda: Code.ROLLBACK in sea.codes(), "the older one is refused", 60)
    assert sea.serving() == "4.1.0"


def test_duplication_of_everything_changes_nothing(sea: Strait):
    """Every publication comes three times in both directions."""
    sea.meddle(lambda said, _way: [said] * 3)
    bundle = sea.made("4.2.0", seed=12)
    sea.assign(bundle)
    sea.confirms(bundle)
    assert sea.serving() == "4.2.0"


@pytest.mark.chaos
def test_a_document_that_was_damaged_on_its_way_is_asked_for_again(sea: Strait):
    """Once, and nobody hangs up: to the broker's mind it was delivered."""
    damaged: list[Publication] = []

    def damage_first(said: Publication, way: str) -> list[Publication]:
        if way == DOWN and said.topic == sea.topic("desired") and not damaged:
            damaged.append(said)
            return [replace(said, payload=said.payload[:-1] + bytes([said.payload[-1] ^ 1]))]
        return [said]

    sea.meddle(damage_first)
    bundle = sea.made("4.5.0", seed=17)
    sea.assign(bundle)
    sea.refuses(Code.SIGNATURE)
    sea.confirms(bundle)


def test_indefinite_freeze_attack_withholds_every_new_document(sea: Strait):
    """That it is told once trust is stale is held in virtual time (`tests/agent`)."""
    topics = (sea.topic("desired"), sea.director.topics.time)
    sea.meddle(lambda said, way: [] if way == DOWN and said.topic in topics else [said])
    bundle = sea.made("4.3.0", seed=13)
    seen_count = len(sea.hostile.seen)
    sea.assign(bundle)
    wait_until(
        lambda: any(said.topic == topics[0] for _, said in sea.hostile.seen[seen_count:]),
        "the document was withheld",
    )
    assert sea.serving() == "1.0.0"
    sea.be_honest()
    sea.proxy.cut(NAME)  # retained messages come again on a connection
    sea.confirms(bundle)


def test_offline_rollback_attack_replays_the_time_of_an_earlier_boot(sea: Strait):
    """Until its own nonce is answered the device serves, and installs nothing."""
    old_time = next(s.payload for _, s in sea.hostile.seen if s.topic == sea.topic("rpc"))
    withheld: list[Publication] = []

    def hold(said: Publication, way: str) -> list[Publication]:
        if way == DOWN and said.topic == sea.topic("rpc"):
            withheld.append(said)
            return []
        return [said]

    sea.meddle(hold)
    sea.agent.kill()
    sea.agent.start()
    bundle = sea.made("4.4.0", seed=14)
    sea.assign(bundle)
    wait_until(lambda: withheld, "the answer to this boot's nonce is withheld", 60)
    sea.forge(sea.topic("rpc"), old_time)
    wait_until(lambda: Code.REPLAY in sea.codes(), "the old answer is refused", 60)
    wait_until(lambda: sea.reported.refusal_code is Code.TIME_UNKNOWN, "why it waits is told", 60)
    assert sea.serving() == "1.0.0"
    sea.be_honest()
    sea.send(withheld[-1].packet().encoded())
    sea.confirms(bundle)


# --- observations


def test_forged_observation_attack_an_ack_by_a_stranger_empties_nothing(sea: Strait):
    """The real acks are withheld; the forged one names everything; the spool keeps it all."""
    ack_topic = sea.director.topics.ack(NAME)
    [first, *_] = sea.director.bundles.values()
    often = TelemetryConfig(performance_s=2, resources_s=2)
    sea.assign(first, attempt=sea.director.revision, desired_changes={"telemetry": often})
    sea.meddle(lambda said, way: [] if (way, said.topic) == (DOWN, ack_topic) else [said])
    wait_until(spool_files_of(sea), "reports lie in the spool", 60)
    forged = Ack(org=ORG, connection=NAME, boot_id=sea.reported.boot_id, sequence=1 << 30)
    sea.forge(ack_topic, seal_mac(forged, bytes(32)))
    sea.refuses(Code.SIGNATURE)
    assert spool_files_of(sea)()
    sea.be_honest()
    sea.proxy.cut(NAME)  # everything is sent again on a connection
    wait_until(lambda: not spool_files_of(sea)(), "the real acks release it", 90)


def spool_files_of(sea: Strait) -> Any:
    return lambda: list((sea.agent.state_dir / "data" / "spool").iterdir())


def test_forged_observation_attack_turns_bits_in_what_the_device_says(sea: Strait):
    """No forged word is believed ashore, and what was said arrives once the broker is honest."""
    before = sea.ashore.unbelieved

    def turned(said: Publication, way: str) -> list[Publication]:
        if way == UP and said.topic.endswith(("/reported", "/event", "/telemetry")):
            middle = len(said.payload) // 2
            bad = bytes([said.payload[middle] ^ 1])
            return [replace(said, payload=said.payload[:middle] + bad + said.payload[middle + 1 :])]
        return [said]

    sea.meddle(turned)
    bundle = sea.made("5.0.0", seed=15)
    sea.assign(bundle)
    wait_until(lambda: sea.ashore.unbelieved > before, "forged words are refused ashore", 60)
    assert sea.model.active is not None
    assert sea.model.active.version == "1.0.0", "nobody ashore was made to believe anything"
    sea.be_honest()
    sea.proxy.cut(NAME)
    sea.confirms(bundle)


def test_hostile_garbage_on_every_topic_changes_nothing(sea: Strait):
    topics = sea.director.topics
    mine = [
        *map(sea.topic, ("desired", "rpc", "reported", "no-such-leaf")),
        *(topics.ack(NAME), topics.time, topics.stop, topics.report, topics.root(2)),
        *(topics.chunk(bytes(32), 0), "wherry/1/x", ""),
    ]
    for payload in (b"\0", b"\xff" * 100, bytes(300_000), b"\xd2\x84\x43\xa1\x01\x27"):
        for topic in mine:
            sea.forge(topic, payload)
    sea.refuses(Code.MALFORMED)
    sea.follows("6.0.0", seed=16)


def test_an_encoded_message_of_another_kind_is_no_desired_document(sea: Strait):
    sea.forge(sea.topic("desired"), encode(sea.director.desired(sea.agent.device)))
    sea.refuses(Code.MALFORMED)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"\x30\x06\x00\x02\xb0\xffhi", id="a topic that is no text"),
        pytest.param(b"\x32\x05\x00\x09abc", id="a topic longer than its packet"),
        pytest.param(b"\x90\x01\x00", id="a subscription's answer without its number"),
        pytest.param(b"\x40\x00", id="an acknowledgement of nothing"),
        pytest.param(b"\x34\x07\x00\x01a\x00\x05hi", id="QoS 2"),
        pytest.param(b"\xf0\x00", id="no packet at all"),
    ],
)
def test_malformed_packets_do_not_deafen_the_device(sea: Strait, packet: bytes):
    """They end the connection at worst; once it ended the thread that would have made the next."""
    sea.send(packet)
    bundle = sea.made(f"7.{packet[0]}.0", seed=packet[0])
    sea.assign(bundle)
    sea.confirms(bundle)


def test_a_broker_that_refuses_the_protocol_and_is_gone_does_not_deafen_the_device(sea: Strait):
    """paho then connects at once, from where nobody expects that to fail."""
    sea.proxy.stop_listening()
    sea.send(REFUSED)
    wait_until(lambda: "cannot be read" in sea.agent.log, "it fails, and is told", 60)
    sea.proxy.listen_again()
    bundle = sea.made("8.0.0", seed=80)
    sea.assign(bundle)
    sea.confirms(bundle)
