"""`reported` and presence: authentic, fresh, for the right address, or without effect."""

from dataclasses import replace

import pytest
from wherry_controller.fleet import targets
from wherry_controller.store import devices, events
from wherry_protocol import cose, trust
from wherry_protocol.codec import content_type, dumps, loads
from wherry_protocol.keys import SigningKey
from wherry_protocol.messages.desired import Desired
from wherry_protocol.messages.reported import Reported
from wherry_protocol.messages.trust import TrustRole

from tests.controller.device import FakeDevice
from tests.controller.world import World


def dropped(world: World) -> dict[str, int]:
    return {reason: count for reason, count, _, _ in events.dropped(world.org.db)}


def unit(world: World, name: str = "gw1") -> devices.Unit:
    return devices.unit(world.org.db, name, "self")


def desired(world: World, device: FakeDevice) -> Desired:
    world.publish()
    data = world.retained[device.topics.desired(device.name, device.unit)]
    return trust.open_director(device.trust, Desired, data)


def test_the_first_report_is_answered_with_a_desired_document(world: World) -> None:
    device = world.enroll("gw1")
    document = desired(world, device)
    assert (document.revision, document.assignments) == (1, ())
    assert document.hardware_class.name == "linux-x86_64"


def test_forged_observation_attack_a_report_signed_by_a_stranger_changes_nothing(
    world: World,
) -> None:
    device = world.enroll("gw1")
    before = unit(world)
    device.signing = SigningKey.generate()
    world.receive(device.reported())
    assert unit(world) == before
    assert dropped(world) == {"signature": 1}


def test_impersonation_attack_a_report_on_another_devices_topic_changes_nothing(
    world: World,
) -> None:
    thief, victim = world.enroll("gw1"), world.enroll("gw2")
    before = unit(world, "gw2")
    _, payload = thief.reported()
    world.receive((victim.topics.reported("gw2", "self"), payload))
    assert unit(world, "gw2") == before
    assert sum(dropped(world).values()) == 1


def test_impersonation_attack_a_report_that_says_another_unit_than_its_topic(world: World) -> None:
    device = world.enroll("gw1")
    _, payload = device.reported()
    world.receive((device.topics.reported("gw1", "other"), payload))
    assert dropped(world) == {"wrong_target": 1}


def test_a_replayed_report_changes_nothing(world: World) -> None:
    device = world.enroll("gw1")
    old = device.reported()
    device.revision = 7
    world.receive(device.reported())
    after = unit(world)
    world.receive(old)
    assert unit(world) == after


def test_a_new_boot_is_newer_than_any_sequence_of_the_old_one(world: World) -> None:
    device = world.enroll("gw1")
    device.reported_sequence = 1000
    world.receive(device.reported())
    device.boot_count, device.reported_sequence = 2, 0
    world.receive(device.reported())
    assert (unit(world).boot_count, unit(world).sequence) == (2, 1)


def test_an_older_will_does_not_take_a_newer_connection_down(world: World) -> None:
    device = world.enroll("gw1")
    will = device.presence(is_online=False)
    world.receive(device.presence(is_online=True))
    world.receive(will)
    assert devices.connection(world.org.db, "gw1").is_online
    world.receive(device.presence(is_online=False))
    assert not devices.connection(world.org.db, "gw1").is_online


def test_forged_observation_attack_a_presence_with_another_mac_changes_nothing(
    world: World,
) -> None:
    first, second = world.enroll("gw1"), world.enroll("gw2")
    _, payload = second.presence(is_online=False)
    world.receive((first.topics.presence("gw1"), payload))
    assert devices.connection(world.org.db, "gw1").is_online
    assert dropped(world) == {"signature": 1}


def test_a_unit_without_time_is_answered_for_its_own_nonce(world: World) -> None:
    device = world.enroll("gw1")
    device.nonce = b"n" * 16
    [answer] = world.receive(device.reported())
    assert device.take_time(answer.payload).time_s == int(world.now_s)
    assert not answer.is_retained
    assert world.receive(device.reported()) == []


def test_a_repeated_nonce_is_answered_again_because_answers_can_be_lost(world: World) -> None:
    device = world.enroll("gw1")
    device.nonce = b"n" * 16
    message = device.reported()
    assert len(world.receive(message)) == len(world.receive(message)) == 1


def test_a_unit_ahead_of_us_is_sent_a_revision_above_its_own(world: World) -> None:
    """The store was restored from a backup; the device remembers what came after it."""
    device = world.enroll("gw1")
    device.revision = 41
    world.receive(device.reported())
    assert desired(world, device).revision == 42


def test_fast_forward_attack_a_unit_far_ahead_of_us_is_answered_and_not_overtaken(
    world: World,
) -> None:
    """A thief with the director's key has given it the last revision that can be told. There is
    none above it, and to count on from there met a mistake of ours: nothing of it was heard."""
    device = world.enroll("gw1")
    before = desired(world, device).revision
    device.revision, device.nonce = (1 << 63) - 1, b"n" * 16
    [answer] = world.receive(device.reported())
    assert device.take_time(answer.payload).time_s == int(world.now_s)
    assert unit(world).reported_revision == device.revision
    assert desired(world, device).revision == before
    assert dropped(world) == {}


def test_a_number_that_no_store_can_hold_is_refused_as_out_of_bounds(world: World) -> None:
    """It met a mistake of ours."""
    device = world.enroll("gw1")
    honest = loads(cose.unverified_payload(device.reported()[1]), what="reported")
    for number in (6, 10, 11, 28):
        body = dumps(honest | {number: 1 << 63})
        forged = cose.sign1(
            body, content_type=content_type(Reported), role=TrustRole.DEVICE, key=device.signing
        )
        world.receive((device.topics.reported("gw1", "self"), forged))
    assert dropped(world) == {"out_of_bounds": 4}


def test_nothing_is_sent_to_a_unit_that_speaks_another_protocol(world: World) -> None:
    device = world.enroll("gw1", protocol=(2, 3))
    world.publish()
    assert device.topics.desired("gw1", "self") not in world.retained


def test_an_assignment_waits_until_the_unit_offers_its_engine(world: World) -> None:
    device = world.enroll("gw1", abi=(1, 2))
    world.push("1.0.0", abi=2)
    world.deploy("1.0.0")
    device.abi = (1, 1)
    world.receive(device.reported())
    assert desired(world, device).assignments == ()
    device.abi = (2, 2)
    world.receive(device.reported())
    assert len(desired(world, device).assignments) == 1


def test_a_desired_document_is_renewed_before_it_expires_with_the_same_assignments(
    world: World,
) -> None:
    device = world.enroll("gw1")
    world.push("1.0.0")
    world.deploy("1.0.0")
    world.go(3)
    before = desired(world, device)
    world.now_s += world.org.settings.desired_valid_s / 2 + 10
    world.fleet.tick(world.now_s)
    after = desired(world, device)
    assert after.revision == before.revision + 1
    assert after.assignments == before.assignments
    assert after.expires_s > before.expires_s


def test_a_revision_never_goes_back_whatever_an_operator_does(world: World) -> None:
    device = world.enroll("gw1")
    seen = [desired(world, device).revision]
    for version in ("1.0.0", "1.1.0"):
        world.push(version, program_bytes=640)
        world.deploy(version)
        world.go(3)
        seen.append(desired(world, device).revision)
    world.restart()
    world.receive(device.reported())
    seen.append(desired(world, device).revision)
    assert seen == sorted(seen)
    assert seen[0] < seen[1] < seen[2]


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\xd2\x84", b"x" * 100_000])
def test_bytes_that_mean_nothing_change_nothing(world: World, payload: bytes) -> None:
    device = world.enroll("gw1")
    before = unit(world)
    for leaf in ("reported", "telemetry", "event", "reply"):
        world.receive((device.topics.unit("gw1", "self", leaf), payload))
    world.receive((device.topics.presence("gw1"), payload))
    assert replace(unit(world), seen_s=before.seen_s) == before


def test_a_stranger_and_a_strange_topic_are_counted_and_dropped(world: World) -> None:
    world.receive(
        ("wherry/1/acme/d/nobody/self/reported", b"x"),
        ("wherry/1/other/d/gw1/self/reported", b"x"),
        ("something/else", b"x"),
    )
    assert sum(dropped(world).values()) == 3


def test_a_device_whose_disk_is_full_is_degraded(world: World) -> None:
    device = world.enroll("gw1")
    for free_bytes, health in ((1 << 30, "ok"), ((1 << 20) - 1, "degraded"), (1 << 20, "ok")):
        device.storage_free_bytes = free_bytes
        world.receive(device.presence(), device.reported())
        assert [one.health for one in targets.facts(world.org.db)] == [health]
