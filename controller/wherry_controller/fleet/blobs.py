"""Blobs on the broker: each chunk published once, republished on request, cleared when old.

A chunk is made from the vault when it is due, under its blob's one content key, so that making
it again gives the same bytes. The cost of an update does not grow with the fleet.
"""

from functools import lru_cache

from wherry_protocol.blobs import (
    CONTENT_KEY_BYTES,
    chunk_count,
    chunk_of,
    seal_chunk,
    unwrap_key,
    wrap_key,
)
from wherry_protocol.messages.reported import MissingChunks

from wherry_controller.fleet.organization import Organization
from wherry_controller.store import assignments, chunks, outbox, registry
from wherry_controller.store.registry import BlobRow
from wherry_controller.vault import Vault

CLEARED_PER_TICK = 500


def content_key(org: Organization, blob: BlobRow) -> bytes:
    """The blob's content key; the store holds it sealed under the storage key."""
    return unwrap_key(org.keyring.storage, blob.sealed_key)


def new_blob(org: Organization, digest: bytes, size_bytes: int) -> BlobRow:
    """A row with a fresh content key: one key never encrypts two blobs."""
    sealed = wrap_key(org.keyring.storage, org.random(CONTENT_KEY_BYTES))
    return BlobRow(digest, size_bytes, sealed)


def publish_bundle(org: Organization, bundle_digest: bytes, now_s: float) -> None:
    """Queue every chunk of the bundle that is not on the broker; keep the others longer."""
    for blob in registry.blobs_of(org.db, bundle_digest):
        published = chunks.published_indices(org.db, blob.digest)
        chunks.keep_until(org.db, blob.digest, now_s + org.settings.chunk_valid_s)
        for index in range(chunk_count(blob.size_bytes)):
            if index not in published:
                _publish(org, blob.digest, index, now_s)


def republish(
    org: Organization, bundle_digests: list[bytes], missing: tuple[MissingChunks, ...], now_s: float
) -> None:
    """What a stalled unit lacks of the bundles it is assigned, once per interval for all."""
    allowed = {
        blob.digest: chunk_count(blob.size_bytes)
        for bundle_digest in bundle_digests
        for blob in registry.blobs_of(org.db, bundle_digest)
    }
    for lack in missing:
        for index in lack.chunks:
            if index < allowed.get(lack.digest, 0) and _is_overdue(org, lack.digest, index, now_s):
                _publish(org, lack.digest, index, now_s)


def _is_overdue(org: Organization, digest: bytes, index: int, now_s: float) -> bool:
    last = chunks.requested_s(org.db, digest, index)
    return last is None or now_s - last >= org.settings.chunk_republish_s


def _publish(org: Organization, digest: bytes, index: int, now_s: float) -> None:
    chunks.put(org.db, digest, index, now_s, now_s + org.settings.chunk_valid_s)
    outbox.queue_chunk(org.db, org.topics.chunk(digest, index), digest, index, now_s)


def clear_expired(org: Organization, now_s: float) -> None:
    """Keep what units still fetch; take what nobody needs off the broker."""
    expired = chunks.expired(org.db, now_s, CLEARED_PER_TICK)
    if not expired:
        return
    for bundle_digest in assignments.unconverged_bundles(org.db):
        for blob in registry.blobs_of(org.db, bundle_digest):
            chunks.keep_until(org.db, blob.digest, now_s + org.settings.chunk_valid_s)
    for digest, index in chunks.expired(org.db, now_s, CLEARED_PER_TICK):
        _clear(org, digest, index, now_s)


def withdraw(org: Organization, digest: bytes, now_s: float) -> None:
    """Take every chunk of a blob off the broker: no bundle has it any more."""
    for index in chunks.published_indices(org.db, digest):
        _clear(org, digest, index, now_s)


def _clear(org: Organization, digest: bytes, index: int, now_s: float) -> None:
    topic = org.topics.chunk(digest, index)
    outbox.queue(org.db, topic, b"", outbox.Priority.CHUNK, now_s)
    chunks.delete(org.db, digest, index)


def chunk_payload(org: Organization, digest: bytes, index: int) -> bytes:
    """The encrypted chunk. Raises NotFoundError or TrustError where the vault is damaged."""
    blob = registry.find_blob(org.db, digest)
    if blob is None:
        raise RuntimeError(f"chunk {index} of {digest.hex()} is due, but the store has no blob")
    content = _read_again(org.vault, digest)
    count = chunk_count(blob.size_bytes)
    return seal_chunk(content_key(org, blob), digest, index, count, chunk_of(content, index))


def give_up(org: Organization, digest: bytes, index: int, topic: str) -> None:
    """A chunk that cannot be made holds up nothing else; a unit that asks for it tries again."""
    chunks.delete(org.db, digest, index)
    outbox.drop(org.db, topic)


@lru_cache(maxsize=2)
def _read_again(vault: Vault, digest: bytes) -> bytes:
    """The blob that is being published, decrypted once and not once per chunk."""
    return vault.read(digest)
