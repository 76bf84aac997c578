"""Twin of Ed25519: a keyed hash of the same sizes, refused where the real one would be.

Implements what `wherry_protocol.keys` and `wherry_protocol.cose` use of the library's
`Ed25519PrivateKey` and `Ed25519PublicKey`. The public key is the hash's key: whoever knows it
could forge, and nobody in a simulation does. A wrong key, another text or a flipped bit is an
`InvalidSignature`, as with the real one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tests.simulation.twins.putting import put_in_place

KEY_BYTES = 32
SIGNATURE_BYTES = 64


def _hash(public: bytes, data: bytes) -> bytes:
    return blake2b(data, key=public, digest_size=SIGNATURE_BYTES).digest()


@dataclass(frozen=True, slots=True)
class PublicKeyTwin:
    """In the place of `Ed25519PublicKey`."""

    public: bytes

    @classmethod
    def from_public_bytes(cls, public: bytes) -> "PublicKeyTwin":
        """Raises ValueError where it is no key."""
        if len(public) != KEY_BYTES:
            raise ValueError("An Ed25519 public key is 32 bytes long")
        return cls(public)

    def public_bytes_raw(self) -> bytes:
        return self.public

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raises InvalidSignature."""
        if not compare_digest(signature, _hash(self.public, data)):
            raise InvalidSignature


@dataclass(frozen=True, slots=True)
class PrivateKeyTwin:
    """In the place of `Ed25519PrivateKey`."""

    public: bytes

    @classmethod
    def from_private_bytes(cls, seed: bytes) -> "PrivateKeyTwin":
        """Raises ValueError where it is no key."""
        if len(seed) != KEY_BYTES:
            raise ValueError("An Ed25519 private key is 32 bytes long")
        return cls(blake2b(seed, digest_size=KEY_BYTES, person=b"public").digest())

    def public_key(self) -> PublicKeyTwin:
        return PublicKeyTwin(self.public)

    def sign(self, data: bytes) -> bytes:
        return _hash(self.public, data)


@contextmanager
def in_place() -> Iterator[None]:
    """Every key that is made inside is a twin."""
    with put_in_place({Ed25519PrivateKey: PrivateKeyTwin, Ed25519PublicKey: PublicKeyTwin}):
        yield
