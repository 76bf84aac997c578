"""Chunks: each verifies alone and fits nowhere but its own place."""

from hashlib import sha256

import pytest
from wherry_protocol import blobs
from wherry_protocol.errors import Code, DecodeError, TrustError
from wherry_protocol.messages.limits import CHUNK_BYTES

KEY = bytes(range(32))
CONTENT = bytes(range(256)) * 600  # three chunks, the last one short
DIGEST = sha256(CONTENT).digest()
COUNT = blobs.chunk_count(len(CONTENT))
SEGMENTS = [
    blobs.seal_chunk(KEY, DIGEST, n, COUNT, blobs.chunk_of(CONTENT, n)) for n in range(COUNT)
]


def opened(index: int, segment: bytes, **changes: bytes) -> bytes:
    key, digest = changes.get("key", KEY), changes.get("digest", DIGEST)
    return blobs.open_chunk(key, digest, index, len(CONTENT), segment)


def test_chunks_put_together_are_the_blob() -> None:
    assert COUNT == 3
    assert b"".join(opened(n, segment) for n, segment in enumerate(SEGMENTS)) == CONTENT
    assert max(len(segment) for segment in SEGMENTS) == 64 * 1024


def test_an_empty_blob_has_one_empty_chunk() -> None:
    segment = blobs.seal_chunk(KEY, DIGEST, 0, 1, b"")
    assert blobs.chunk_count(0) == 1
    assert blobs.open_chunk(KEY, DIGEST, 0, 0, segment) == b""


@pytest.mark.parametrize(
    ("index", "segment", "changes"),
    [
        (1, SEGMENTS[0], {}),
        (0, SEGMENTS[0], {"digest": bytes(32)}),
        (0, SEGMENTS[0], {"key": bytes(32)}),
        (0, SEGMENTS[0][:-1] + bytes([SEGMENTS[0][-1] ^ 1]), {}),
    ],
    ids=["another place", "another blob", "another key", "a flipped bit"],
)
def test_mix_and_match_attack_a_chunk_fits_nowhere_else(
    index: int, segment: bytes, changes: dict[str, bytes]
) -> None:
    with pytest.raises(TrustError) as caught:
        opened(index, segment, **changes)
    assert caught.value.code is Code.DECRYPT


def test_endless_data_attack_a_chunk_of_another_length_is_refused() -> None:
    for segment in (SEGMENTS[0] + b"x", SEGMENTS[0][:-1], b""):
        with pytest.raises(DecodeError, match="must be 65536"):
            opened(0, segment)
    with pytest.raises(DecodeError, match="it has 3"):
        opened(3, SEGMENTS[2])


def test_chunk_sizes_add_up() -> None:
    sizes = [blobs.chunk_size(len(CONTENT), n) for n in range(COUNT)]
    assert sizes == [CHUNK_BYTES, CHUNK_BYTES, len(CONTENT) - 2 * CHUNK_BYTES]
    with pytest.raises(ValueError, match="chunk 3"):
        blobs.chunk_size(len(CONTENT), 3)


def test_a_content_key_wrapped_for_one_connection_opens_for_no_other() -> None:
    wrapped = blobs.wrap_key(bytes(32), KEY)
    assert blobs.unwrap_key(bytes(32), wrapped) == KEY
    with pytest.raises(TrustError, match="not wrapped for this connection"):
        blobs.unwrap_key(bytes(31) + b"x", wrapped)
