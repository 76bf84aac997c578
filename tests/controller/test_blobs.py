"""Blobs on the broker: published once, republished on request, cleared when nobody needs them."""

from wherry_controller.store import chunks, registry
from wherry_protocol.messages.reported import MissingChunks

from tests.controller.world import World


def chunk_messages(world: World) -> list[str]:
    return [m.topic for m in world.told if "/b/" in m.topic and m.payload]


def deployed(world: World, count: int = 1) -> bytes:
    for n in range(count):
        world.enroll(f"gw{n}")
    digest = world.push("1.0.0")
    world.deploy("1.0.0")
    world.go(3)
    return digest


def test_each_chunk_is_published_once_whatever_the_fleets_size(world: World) -> None:
    deployed(world, 12)
    found = chunk_messages(world)
    assert len(found) == len(set(found)) == 5


def test_a_retrained_head_does_not_send_the_backbone_again(world: World) -> None:
    world.enroll("gw0")
    for version in ("1.0.0", "1.0.1"):
        world.told.clear()
        world.push(version, backbone="the same")
        world.deploy(version)
        world.go(3)
    assert world.versions() == {"gw0": "1.0.1"}
    assert len(chunk_messages(world)) == 3  # the manifest and the two chunks of the head


def test_a_stalled_unit_gets_what_it_lacks_and_others_do_not_make_it_cost_more(
    world: World,
) -> None:
    digest = deployed(world, 5)
    blob = registry.blobs_of(world.org.db, digest)[1].digest
    world.told.clear()
    lack = (MissingChunks(digest=blob, chunks=(0, 1)),)
    world.now_s += world.org.settings.chunk_republish_s
    for device in world.devices.values():
        world.receive(device.reported(missing=lack))
    world.publish()
    assert sorted(chunk_messages(world)) == sorted(world.org.topics.chunk(blob, n) for n in (0, 1))


def test_a_chunk_is_not_republished_within_its_interval(world: World) -> None:
    digest = deployed(world)
    blob = registry.blobs_of(world.org.db, digest)[1].digest
    world.told.clear()
    device = world.devices["gw0"]
    world.receive(device.reported(missing=(MissingChunks(digest=blob, chunks=(0,)),)))
    world.publish()
    assert chunk_messages(world) == []


def test_a_unit_cannot_ask_for_blobs_that_it_is_not_assigned(world: World) -> None:
    deployed(world)
    foreign = registry.blobs_of(world.org.db, world.push("9.0.0"))[1].digest
    world.told.clear()
    lack = tuple(MissingChunks(digest=digest, chunks=(0,)) for digest in (foreign, bytes(32)))
    world.receive(world.devices["gw0"].reported(missing=lack))
    world.publish()
    assert chunk_messages(world) == []


def test_a_chunk_number_past_the_end_is_ignored(world: World) -> None:
    digest = deployed(world)
    blob = registry.blobs_of(world.org.db, digest)[1].digest
    world.told.clear()
    world.now_s += 3600
    world.receive(
        world.devices["gw0"].reported(missing=(MissingChunks(digest=blob, chunks=(99,)),))
    )
    world.publish()
    assert chunk_messages(world) == []


def test_chunks_that_nobody_needs_are_cleared_after_their_time(world: World) -> None:
    digest = deployed(world)
    assert any("/b/" in topic for topic in world.retained)
    world.now_s += world.org.settings.chunk_valid_s + 1
    world.fleet.tick(world.now_s)
    world.publish()
    assert not any("/b/" in topic for topic in world.retained)
    blob = registry.blobs_of(world.org.db, digest)[0]
    assert chunks.published_indices(world.org.db, blob.digest) == set()


def test_chunks_stay_while_a_unit_still_fetches_them(world: World) -> None:
    world.enroll("gw0")
    world.push("1.0.0")
    world.deploy("1.0.0")
    world.publish()  # the device does not follow: it is away
    world.now_s += world.org.settings.chunk_valid_s + 1
    world.fleet.tick(world.now_s)
    world.publish()
    assert sum("/b/" in topic for topic in world.retained) == 5


def test_a_broker_that_forgot_is_told_again(world: World) -> None:
    deployed(world)
    before = dict(world.retained)
    world.retained.clear()
    world.fleet.link_changed(False, False, world.now_s)
    world.fleet.link_changed(True, False, world.now_s)
    world.publish()
    assert world.retained.keys() == {topic for topic in before if "/b/" not in topic}


def test_a_damaged_blob_holds_up_no_other_chunk(world: World) -> None:
    world.enroll("gw0")
    digest = world.push("1.0.0")
    blob = registry.blobs_of(world.org.db, digest)[1]
    world.org.vault.path(blob.digest).write_bytes(b"damaged")
    world.deploy("1.0.0")
    world.publish()
    chunk_topics = {topic.split("/")[4] for topic in world.retained if "/b/" in topic}
    assert len(chunk_topics) == 2
    assert blob.digest.hex() not in chunk_topics


def test_a_broker_that_was_killed_is_told_again_what_was_published_last(world: World) -> None:
    deployed(world)
    world.now_s += 3600
    world.enroll("late")
    world.publish()
    world.told.clear()
    world.fleet.link_changed(False, False, world.now_s)
    world.fleet.link_changed(True, True, world.now_s)
    world.publish()
    assert [m.topic for m in world.told if "desired" in m.topic] == [
        world.org.topics.desired("late", "self")
    ]
