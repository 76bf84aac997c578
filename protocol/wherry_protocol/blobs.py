"""Blobs on the wire: encrypted chunks that verify alone, and content keys wrapped per connection.

A blob of `size_bytes` is cut into chunks of 65,520 bytes. Chunk n is one AES-256-GCM segment
with nonce n and additional data (digest, n, count), so it verifies alone and fits nowhere else.
Every blob has a content key of its own, so a nonce is never used twice under one key.
"""

from struct import pack
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)

from wherry_protocol.errors import Code, DecodeError, TrustError
from wherry_protocol.messages.limits import CHUNK_BYTES

TAG_BYTES: Final = 16
CONTENT_KEY_BYTES: Final = 32


def chunk_count(size_bytes: int) -> int:
    """How many chunks a blob has; an empty blob has one, empty."""
    return max(1, -(-size_bytes // CHUNK_BYTES))


def chunk_size(size_bytes: int, index: int) -> int:
    """Plaintext bytes of chunk `index`. Raises ValueError past the last chunk."""
    count = chunk_count(size_bytes)
    if not 0 <= index < count:
        raise ValueError(f"chunk {index} of a blob with {count}")
    return min(CHUNK_BYTES, size_bytes - index * CHUNK_BYTES)


def chunk_of(content: bytes, index: int) -> bytes:
    """Plaintext of chunk `index`."""
    return content[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]


def seal_chunk(key: bytes, digest: bytes, index: int, count: int, plaintext: bytes) -> bytes:
    """One segment: ciphertext and a 16-byte tag."""
    nonce, context = _nonce_and_context(digest, index, count)
    return AESGCM(key).encrypt(nonce, plaintext, context)


def open_chunk(key: bytes, digest: bytes, index: int, size_bytes: int, segment: bytes) -> bytes:
    """Plaintext of chunk `index` of the blob with that digest and size.

    Raises DecodeError where the length is not what the signed size demands, TrustError(DECRYPT)
    where the segment is not what the controller made.
    """
    count = chunk_count(size_bytes)
    if not 0 <= index < count:
        raise DecodeError(f"blob {digest.hex()}: chunk {index}, it has {count}")
    expected = chunk_size(size_bytes, index) + TAG_BYTES
    if len(segment) != expected:
        raise DecodeError(
            f"blob {digest.hex()}: chunk {index} has {len(segment)} bytes, must be {expected}"
        )
    nonce, context = _nonce_and_context(digest, index, count)
    try:
        return AESGCM(key).decrypt(nonce, segment, context)
    except InvalidTag as error:
        raise TrustError(
            f"blob {digest.hex()}: chunk {index} was not made with its content key", Code.DECRYPT
        ) from error


def wrap_key(wrapping_key: bytes, content_key: bytes) -> bytes:
    """A 32-byte content key as 40 bytes (AES key wrap, RFC 3394)."""
    return aes_key_wrap(wrapping_key, content_key)


def unwrap_key(wrapping_key: bytes, wrapped: bytes) -> bytes:
    """The content key. Raises TrustError(DECRYPT) where it was wrapped for somebody else."""
    try:
        return aes_key_unwrap(wrapping_key, wrapped)
    except InvalidUnwrap as error:
        raise TrustError("a blob key was not wrapped for this connection", Code.DECRYPT) from error


def _nonce_and_context(digest: bytes, index: int, count: int) -> tuple[bytes, bytes]:
    return pack(">QI", 0, index), digest + pack(">II", index, count)
