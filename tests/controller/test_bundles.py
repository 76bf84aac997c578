"""The registry: what may be pushed, and that what was pushed comes back byte for byte."""

import pytest
from wherry_controller.fleet import bundles
from wherry_controller.store import registry
from wherry_protocol.bundle import write_bundle
from wherry_protocol.errors import (
    Code,
    DecodeError,
    NotFoundError,
    StateError,
    TrustError,
    WherryError,
)
from wherry_protocol.keys import SigningKey

from tests.controller.made import bundle_file, make_bundle
from tests.controller.world import World


def push(world: World, data: bytes) -> registry.BundleRow:
    return world.do(lambda org: bundles.push(org, data, "ada", world.now_s))


def nothing_is_kept(world: World) -> bool:
    is_vault_empty = not [p for p in (world.folder / "vault").rglob("*") if p.is_file()]
    return is_vault_empty and registry.bundles(world.org.db) == []


def test_what_is_pushed_is_listed_and_pulled_byte_for_byte(world: World) -> None:
    data = bundle_file(world.release)
    row = push(world, data)
    assert registry.version(world.org.db, "digits", "v1.0.0") == row
    assert write_bundle(bundles.pull(world.org, row.digest)) == data


def test_arbitrary_software_an_unsigned_bundle_is_refused(world: World) -> None:
    with pytest.raises(WherryError) as error:
        push(world, bundle_file([]))
    assert error.value.code in (Code.THRESHOLD, Code.MALFORMED, Code.SIGNATURE)
    assert nothing_is_kept(world)


def test_arbitrary_software_a_strangers_bundle_is_refused(world: World) -> None:
    with pytest.raises(TrustError):
        push(world, bundle_file([SigningKey.generate()]))
    assert nothing_is_kept(world)


def test_unapproved_update_attack_the_directors_own_signature_is_not_a_release(
    world: World,
) -> None:
    with pytest.raises(TrustError):
        push(world, bundle_file([world.org.keyring.director]))
    assert nothing_is_kept(world)


def test_a_tampered_bundle_is_refused_wherever_a_byte_changes(world: World) -> None:
    data = bundle_file(world.release, program_bytes=640)
    for place in range(0, len(data), 97):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises((DecodeError, TrustError)):
            push(world, bytes(changed))
    assert nothing_is_kept(world)


def test_extra_data_after_a_bundle_is_refused(world: World) -> None:
    with pytest.raises(DecodeError):
        push(world, bundle_file(world.release) + bytes(512))


def test_pushing_again_changes_nothing(world: World) -> None:
    data = bundle_file(world.release)
    assert push(world, data) == push(world, data)


def test_a_version_never_changes(world: World) -> None:
    push(world, bundle_file(world.release))
    other = bundle_file(world.release, floor="0.9.0")
    with pytest.raises(StateError, match="a version never changes"):
        push(world, other)


def test_an_unknown_version_is_refused_and_the_known_ones_are_named(world: World) -> None:
    push(world, bundle_file(world.release))
    with pytest.raises(NotFoundError, match=r"1\.0\.0"):
        registry.version(world.org.db, "digits", "2.0.0")


def test_blobs_that_two_bundles_share_are_kept_and_published_once(world: World) -> None:
    made = make_bundle(world.release)
    push(world, write_bundle(made))
    blob = made.manifest.blobs[0]
    before = registry.find_blob(world.org.db, blob.digest)
    push(world, bundle_file(world.release, "1.0.1"))
    assert registry.find_blob(world.org.db, blob.digest) == before


def test_content_keys_are_sealed_in_the_store_and_differ_per_blob(world: World) -> None:
    from wherry_controller.fleet.blobs import content_key

    push(world, bundle_file(world.release))
    blobs = registry.all_blobs(world.org.db)
    keys = {content_key(world.org, blob) for blob in blobs}
    assert len(keys) == len(blobs) == 3
    content = (world.folder / "wherry.db").read_bytes()
    assert not any(key in content for key in keys)


def test_eavesdropping_attack_no_plaintext_of_a_blob_reaches_the_broker(world: World) -> None:
    world.enroll("gw1")
    made = make_bundle(world.release)
    push(world, write_bundle(made))
    world.deploy("1.0.0")
    world.go(2)
    plain = [content[:48] for content in made.blobs.values()] + [b"digits"]
    chunks = [data for topic, data in world.retained.items() if "/b/" in topic]
    assert len(chunks) > 2
    assert not any(piece in chunk for piece in plain for chunk in chunks)
