"""Enrolment: who may take a name, and what a device is told."""

import pytest
from wherry_controller.broker import provision
from wherry_controller.fleet import enrolment
from wherry_controller.settings import BrokerSettings
from wherry_controller.store import devices, events
from wherry_protocol.errors import DecodeError, NotFoundError, StateError, TrustError
from wherry_protocol.keys import AgreementKey, SigningKey
from wherry_protocol.messages.enrolment import EnrolRequest
from wherry_protocol.messages.trust import TrustRole
from wherry_protocol.sealed import seal

from tests.controller.device import FakeDevice
from tests.controller.world import World


def enroll(world: World, device: FakeDevice, **options: bool) -> bytes:
    return world.do(
        lambda org: enrolment.enroll(
            org, device.request(), BrokerSettings(), "", "ada", world.now_s, **options
        )
    )[1]


def test_the_answer_proves_itself_by_the_root_that_it_brings(world: World) -> None:
    device = FakeDevice("gw1")
    answer = device.take_answer(enroll(world, device))
    assert (answer.org, answer.connection) == ("acme", "gw1")
    assert answer.classes["self"].name == "linux-x86_64"
    assert answer.broker.username == "acme/d/gw1"


def test_both_sides_derive_the_same_keys(world: World) -> None:
    device = world.enroll("gw1")
    row = devices.connection(world.org.db, "gw1")
    assert world.org.keys_of(row) == device.keys


def test_impersonation_attack_a_taken_name_is_refused_for_another_key(world: World) -> None:
    world.enroll("gw1")
    with pytest.raises(StateError, match="enrolled with another key"):
        enroll(world, FakeDevice("gw1"))


def test_the_same_device_may_ask_again_and_keeps_its_revision(world: World) -> None:
    device = world.enroll("gw1")
    before = devices.unit(world.org.db, "gw1", "self").revision
    assert before > 0
    enroll(world, device, is_again=True)
    assert devices.unit(world.org.db, "gw1", "self").revision == before


def test_a_device_that_is_enrolled_keeps_its_password_unless_a_new_one_is_asked_for(
    world: World,
) -> None:
    device = world.enroll("gw1")
    before = devices.connection(world.org.db, "gw1").login_hash
    with pytest.raises(StateError, match="--again"):
        enroll(world, device)
    assert devices.connection(world.org.db, "gw1").login_hash == before
    enroll(world, device, is_again=True)
    assert devices.connection(world.org.db, "gw1").login_hash != before


def test_a_request_signed_by_another_key_is_refused(world: World) -> None:
    honest, thief = FakeDevice("gw1"), SigningKey.generate()
    request = EnrolRequest(
        connection="gw1",
        signing_key=honest.signing.public,
        agreement_key=AgreementKey.generate().public,
        units=(),
        agent_version="0",
        nonce=bytes(16),
    )
    forged = seal(request, TrustRole.DEVICE, thief)
    with pytest.raises(TrustError):
        world.do(
            lambda org: enrolment.enroll(org, forged, BrokerSettings(), "", "ada", world.now_s)
        )


def test_a_request_that_is_not_one_is_refused(world: World) -> None:
    with pytest.raises(DecodeError):
        world.do(
            lambda org: enrolment.enroll(org, b"hello", BrokerSettings(), "", "ada", world.now_s)
        )


def test_an_unknown_hardware_class_is_refused_and_the_known_ones_are_named(world: World) -> None:
    with pytest.raises(NotFoundError, match="linux-x86_64"):
        enroll(world, FakeDevice("gw1", hardware_class="toaster"))
    assert devices.connections(world.org.db) == []


def test_a_revoked_device_is_not_believed_and_loses_its_login(world: World) -> None:
    device = world.enroll("gw1")
    assert "gw1" in {login.connection for login in provision.logins(world.org.db, "acme")}
    world.do(lambda org: enrolment.revoke(org, "gw1", "ada", "stolen", world.now_s))
    device.time_s = 5
    world.receive(device.reported())
    assert "gw1" not in {login.connection for login in provision.logins(world.org.db, "acme")}
    assert sum(count for _, count, _, _ in events.dropped(world.org.db)) == 1


def test_a_revoked_key_stays_out_and_a_new_key_may_take_the_name(world: World) -> None:
    device = world.enroll("gw1")
    world.do(lambda org: enrolment.revoke(org, "gw1", "ada", "stolen", world.now_s))
    with pytest.raises(StateError, match="was revoked"):
        enroll(world, device)
    enroll(world, FakeDevice("gw1"))
    assert not devices.connection(world.org.db, "gw1").is_revoked
