"""Keys: Ed25519 to sign, X25519 to agree, and what a connection derives from the agreement.

A key's id is the first 16 bytes of the SHA-256 of its raw public key. Private keys travel as
PKCS#8 PEM, encrypted where a passphrase is given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wherry_protocol.errors import TrustError
from wherry_protocol.pem import ED25519, X25519, from_pem, plain_seed, to_pem

KEY_ID_BYTES: Final = 16


def key_id(public: bytes) -> bytes:
    """16 bytes that name a raw 32-byte public key in COSE headers."""
    return sha256(public).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 private key; `public` is its raw 32-byte public key."""

    private: Ed25519PrivateKey
    public: bytes

    @classmethod
    def generate(cls) -> "SigningKey":
        private = Ed25519PrivateKey.generate()
        return cls(private, private.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, seed: bytes) -> "SigningKey":
        """The key of a 32-byte seed (RFC 8032), also for a key's plain PEM."""
        private = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(private, private.public_key().public_bytes_raw())

    @classmethod
    def from_pem(cls, pem: bytes, passphrase: bytes | None = None) -> "SigningKey":
        """Raises DecodeError or TrustError where it is no Ed25519 key or stays locked."""
        seed = plain_seed(pem, ED25519) if passphrase is None else None
        if seed is not None:
            return cls.from_seed(seed)
        private = from_pem(pem, passphrase, Ed25519PrivateKey, "signing key")
        return cls(private, private.public_key().public_bytes_raw())

    def to_pem(self, passphrase: bytes | None = None) -> bytes:
        return to_pem(self.private, passphrase)

    def sign(self, data: bytes) -> bytes:
        """64 bytes, Ed25519 (RFC 8032)."""
        return self.private.sign(data)

    @property
    def id(self) -> bytes:
        return key_id(self.public)


@dataclass(frozen=True, slots=True)
class ConnectionKeys:
    """What one connection and its controller share: 32 bytes each."""

    mac_key: bytes
    wrap_key: bytes


@dataclass(frozen=True, slots=True)
class AgreementKey:
    """An X25519 private key; `public` is its raw 32-byte public key."""

    private: X25519PrivateKey
    public: bytes

    @classmethod
    def generate(cls) -> "AgreementKey":
        private = X25519PrivateKey.generate()
        return cls(private, private.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, seed: bytes) -> "AgreementKey":
        """The key of a 32-byte seed (RFC 7748), also for a key's plain PEM."""
        private = X25519PrivateKey.from_private_bytes(seed)
        return cls(private, private.public_key().public_bytes_raw())

    @classmethod
    def from_pem(cls, pem: bytes, passphrase: bytes | None = None) -> "AgreementKey":
        """Raises DecodeError or TrustError where it is no X25519 key or stays locked."""
        seed = plain_seed(pem, X25519) if passphrase is None else None
        if seed is not None:
            return cls.from_seed(seed)
        private = from_pem(pem, passphrase, X25519PrivateKey, "agreement key")
        return cls(private, private.public_key().public_bytes_raw())

    def to_pem(self, passphrase: bytes | None = None) -> bytes:
        return to_pem(self.private, passphrase)

    def agree(self, peer_public: bytes, org: str, connection: str) -> ConnectionKeys:
        """Both ends derive the same keys (X25519, HKDF-SHA256). TrustError for a weak key."""
        try:
            secret = self.private.exchange(X25519PublicKey.from_public_bytes(peer_public))
        except ValueError as error:
            raise TrustError(f"connection {connection}: its agreement key is weak") from error
        derive = _deriver(secret, org, connection)
        return ConnectionKeys(derive("report mac"), derive("blob key wrap"))


def _deriver(secret: bytes, org: str, connection: str) -> Callable[[str], bytes]:
    def derive(purpose: str) -> bytes:
        info = "\0".join(("wherry/1", purpose, org, connection)).encode()
        return HKDF(hashes.SHA256(), 32, None, info).derive(secret)

    return derive
