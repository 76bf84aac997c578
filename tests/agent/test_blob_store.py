"""The blob store: only whole, hashed bytes get a name; torn chunks are known as missing."""

import random

import pytest
from wherry_agent.core.effects import Wanted
from wherry_agent.shell.blob_store import BlobStore, sha256
from wherry_agent.shell.disk import FolderDisk
from wherry_protocol.blobs import chunk_count, chunk_of
from wherry_protocol.errors import Code, TrustError

from tests.agent.bundles import make_bundle
from tests.agent.sim_disk import SimDisk

CONTENT = random.Random(1).randbytes(200_000)
BLOB = Wanted(sha256(CONTENT), len(CONTENT))


@pytest.fixture(params=["simulated", "real"])
def store(request, tmp_path) -> BlobStore:
    return BlobStore(SimDisk() if request.param == "simulated" else FolderDisk(tmp_path / "d"))


def keep(store: BlobStore, indices: list[int]) -> None:
    for index in indices:
        store.keep_chunk(BLOB.digest, index, chunk_of(CONTENT, index))


def chunks(store: BlobStore) -> frozenset[int]:
    return store.survey([BLOB], is_content_wanted=False).chunks.get(BLOB.digest, frozenset())


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
def test_chunks_in_any_order_make_the_blob(store, order):
    assert chunk_count(BLOB.size_bytes) == 4
    keep(store, order[:3])
    assert chunks(store) == frozenset(order[:3])
    keep(store, order[3:])
    assert store.finish(BLOB.digest, BLOB.size_bytes)
    assert store.read_blob(BLOB.digest) == CONTENT
    assert BLOB.digest in store.survey([BLOB], is_content_wanted=False).whole


def test_a_chunk_that_was_torn_is_missing(store):
    keep(store, [0, 1, 2])
    name = f"parts/{BLOB.digest.hex()}"
    store.disk.write(name, b"\0" * 100, 65_520 + 7)
    assert chunks(store) == {0, 2}


def test_a_torn_end_of_the_chunk_list_is_written_over(store):
    keep(store, [0, 1])
    name = f"parts/{BLOB.digest.hex()}.map"
    store.disk.write(name, b"\1\2\3", store.disk.size(name))
    assert chunks(store) == {0, 1}
    keep(store, [2])
    assert chunks(store) == {0, 1, 2}


def test_a_blob_that_is_not_its_digest_gets_no_name_and_leaves_nothing(store):
    keep(store, [0, 1, 2])
    store.keep_chunk(BLOB.digest, 3, bytes(len(chunk_of(CONTENT, 3))))
    assert not store.finish(BLOB.digest, BLOB.size_bytes)
    assert store.disk.names("parts") == []
    assert store.disk.names("blobs") == []


def filled(store: BlobStore, bundle) -> None:
    store.keep_blob(bundle.digest, bundle.manifest_bytes)
    for digest, content in bundle.blobs.items():
        store.keep_blob(digest, content)


def test_a_program_is_kept_once_and_its_pieces_are_found_in_it(store):
    bundle = make_bundle("1.0.0", ballast_rows=200)
    filled(store, bundle)
    store.assemble(bundle.manifest)
    pieces = [b for b in bundle.manifest.blobs if b.name.startswith("piece")]
    assert len(pieces) >= 3
    names = store.disk.names("blobs")
    assert not [b for b in pieces if b.digest.hex() in names]
    for blob in pieces:
        assert store.read_blob(blob.digest) == bundle.blobs[blob.digest]
    fresh = BlobStore(store.disk)
    assert bundle.digest in fresh.intact_manifests([bundle.digest])
    found = fresh.survey([Wanted(b.digest, b.size_bytes) for b in pieces], is_content_wanted=False)
    assert found.whole == {b.digest for b in pieces}


def test_pieces_that_do_not_add_up_make_no_image(store):
    bundle = make_bundle("1.0.0", program_digest=bytes(32))
    filled(store, bundle)
    with pytest.raises(TrustError) as caught:
        store.assemble(bundle.manifest)
    assert caught.value.code is Code.DIGEST
    assert store.disk.names("images") == []


def test_collecting_keeps_what_the_kept_bundles_need_and_nothing_else(store):
    one, two = make_bundle("1.0.0", seed=1), make_bundle("1.1.0", seed=2)
    for bundle in (one, two):
        filled(store, bundle)
        store.assemble(bundle.manifest)
    keep(store, [0])
    store.collect([two.digest])
    assert not store.intact_manifests([one.digest])
    assert two.digest in store.intact_manifests([two.digest])
    assert store.disk.names("parts") == []
    for blob in two.manifest.blobs:
        assert store.read_blob(blob.digest) == two.blobs[blob.digest]


@pytest.mark.parametrize("part", ["manifest", "image", "golden"])
def test_a_bundle_with_one_damaged_byte_is_not_intact(store, part):
    bundle = make_bundle("1.0.0")
    filled(store, bundle)
    store.assemble(bundle.manifest)
    name = {
        "manifest": f"blobs/{bundle.digest.hex()}",
        "image": f"images/{bundle.manifest.program_digest.hex()}",
        "golden": f"blobs/{bundle.manifest.blobs[-1].digest.hex()}",
    }[part]
    byte = store.disk.read_at(name, 5, 1)
    store.disk.write(name, bytes([byte[0] ^ 1]), 5)
    assert not store.intact_manifests([bundle.digest])


def test_a_real_disk_is_private_and_stays_within_its_bound(tmp_path):
    disk = FolderDisk(tmp_path / "state", bytes_max=1000)
    disk.write("blobs/a", bytes(400))
    assert disk.free_bytes() == 600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / "blobs" / "a").stat().st_mode & 0o777 == 0o600


def test_a_real_disk_follows_no_link(tmp_path):
    disk = FolderDisk(tmp_path / "state")
    (tmp_path / "outside").write_bytes(b"secret")
    (tmp_path / "state" / "blobs" / "x").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="symbolic"):
        disk.write("blobs/x", b"overwritten")
    with pytest.raises(OSError, match="symbolic"):
        disk.image("blobs/x")
    assert (tmp_path / "outside").read_bytes() == b"secret"
