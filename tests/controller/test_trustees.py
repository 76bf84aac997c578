"""Roots, time and the emergency stop, as devices would check them."""

from dataclasses import replace

import pytest
from wherry_controller.fleet import trustees
from wherry_controller.store import devices
from wherry_protocol import cose, trust
from wherry_protocol.codec import content_type, encode
from wherry_protocol.errors import StateError, TrustError
from wherry_protocol.keys import SigningKey
from wherry_protocol.messages.desired import Desired
from wherry_protocol.messages.trust import FleetTime, RoleKeys, Root, Stop, TrustRole

from tests.controller.world import World


def root_key(world: World) -> SigningKey:
    return SigningKey.from_pem((world.folder / "offline" / "root-1.pem").read_bytes())


def next_root(
    world: World, *, epoch: int = 1, number: int = 2, roles: dict[TrustRole, RoleKeys] | None = None
) -> bytes:
    now = world.org.trust.root
    root = Root(
        org="acme",
        number=number,
        issued_s=int(world.now_s),
        expires_s=int(world.now_s) + 86_400,
        epoch=epoch,
        roles={**now.roles, **(roles or {})},
    )
    keys = [root_key(world)]
    return cose.sign(encode(root), content_type=content_type(Root), role=TrustRole.ROOT, keys=keys)


def advance(world: World, root: bytes) -> None:
    world.do(lambda org: trustees.advance_root(org, root, "ada", world.now_s))


def test_the_time_is_told_signed_and_again_after_its_interval(world: World) -> None:
    world.publish()
    told = trust.open_director(world.org.trust, FleetTime, world.retained[world.org.topics.time])
    assert (told.time_s, told.root_number) == (int(world.now_s), 1)
    world.now_s += world.org.settings.time_interval_s
    world.fleet.tick(world.now_s)
    world.publish()
    told = trust.open_director(world.org.trust, FleetTime, world.retained[world.org.topics.time])
    assert told.time_s == int(world.now_s)


def test_the_next_root_is_published_and_survives_a_restart(world: World) -> None:
    advance(world, next_root(world))
    world.restart()
    world.go(2)
    assert world.org.trust.root.number == 2
    assert world.retained[world.org.topics.root(2)] == world.org.trust.roots[1]
    told = trust.open_director(world.org.trust, FleetTime, world.retained[world.org.topics.time])
    assert told.root_number == 2


def test_a_controller_whose_root_has_ended_starts_and_takes_the_next_one(world: World) -> None:
    """It did not start, and nothing else could have taken the root that would have helped."""
    world.now_s += 366 * 86_400
    world.restart()
    advance(world, next_root(world))
    world.go(2)
    assert world.org.trust.root.number == 2


def test_key_rotation_attack_a_root_that_skips_a_number_is_refused(world: World) -> None:
    root = next_root(world, number=3)
    with pytest.raises(TrustError, match="skipped"):
        advance(world, root)


def test_a_root_that_drops_this_director_is_refused_before_anything_changes(world: World) -> None:
    stranger = RoleKeys(threshold=1, keys=(SigningKey.generate().public,))
    root = next_root(world, roles={TrustRole.DIRECTOR: stranger})
    with pytest.raises(StateError, match="director key"):
        advance(world, root)
    assert world.org.trust.root.number == 1


def test_fast_forward_attack_a_new_epoch_sends_every_device_a_new_first_revision(
    world: World,
) -> None:
    device = world.enroll("gw1")
    world.push("1.0.0")
    world.deploy("1.0.0")
    world.go(3)
    advance(world, next_root(world, epoch=2))
    world.go(2)
    data = world.retained[device.topics.desired("gw1", "self")]
    desired = trust.open_director(world.org.trust, Desired, data)
    assert (desired.epoch, desired.revision) == (2, 1)
    assert len(desired.assignments) == 1
    assert devices.unit(world.org.db, "gw1", "self").epoch == 2
    assert device.revision == 1


def test_new_director_keys_sign_the_documents_and_the_stop_again(world: World) -> None:
    """Simulation, seed 1025: who had not heard the old ones yet refused them, for half a week."""
    device = world.enroll("gw1")
    world.go(2)
    world.do(lambda org: trustees.stop(org, True, "ada", "smoke", world.now_s))
    world.publish()
    fresh = SigningKey.generate()
    world.org.keyring = replace(world.org.keyring, director=fresh)
    fresh_only = RoleKeys(threshold=1, keys=(fresh.public,))
    advance(world, next_root(world, roles={TrustRole.DIRECTOR: fresh_only}))
    world.go(2)
    topics = world.org.topics
    for cls, topic in ((Desired, device.topics.desired("gw1", "self")), (Stop, topics.stop)):
        assert trust.open_director(world.org.trust, cls, world.retained[topic])


def test_a_stop_is_signed_numbered_and_repeated_under_a_new_epoch(world: World) -> None:
    world.do(lambda org: trustees.stop(org, True, "ada", "smoke", world.now_s))
    world.publish()
    topic = world.org.topics.stop
    first = trust.open_director(world.org.trust, Stop, world.retained[topic])
    assert (first.sequence, first.is_stopped, first.reason) == (1, True, "smoke")
    advance(world, next_root(world, epoch=2))
    world.publish()
    again = trust.open_director(world.org.trust, Stop, world.retained[topic])
    assert (again.epoch, again.sequence, again.is_stopped) == (2, 2, True)
