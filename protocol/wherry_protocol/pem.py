"""Private keys as PKCS#8 PEM (RFC 8410), encrypted where a passphrase is given.

Apart from `keys`, because the library's serialization keeps 2 MB: a device whose keys are not
encrypted reads them without it.
"""

import base64
import binascii
import re
from typing import Any, Final

from wherry_protocol.errors import Code, DecodeError, TrustError

SEED_BYTES: Final = 32
_PLAIN: Final = re.compile(
    rb"-----BEGIN PRIVATE KEY-----\r?\n([A-Za-z0-9+/=\r\n]{60,80})-----END PRIVATE KEY-----\s*"
)
# PrivateKeyInfo, version 0, without attributes, up to the seed; by the curve's last OID byte.
ED25519: Final = bytes.fromhex("302e020100300506032b657004220420")
X25519: Final = bytes.fromhex("302e020100300506032b656e04220420")


def plain_seed(pem: bytes, prefix: bytes) -> bytes | None:
    """The 32 bytes of an unencrypted key of the curve; None for any other form."""
    found = _PLAIN.fullmatch(pem)
    if found is None:
        return None
    try:
        der = base64.b64decode(b"".join(found[1].split()), validate=True)
    except binascii.Error:
        return None
    is_of_curve = der.startswith(prefix) and len(der) == len(prefix) + SEED_BYTES
    return der[len(prefix) :] if is_of_curve else None


def to_pem(private: Any, passphrase: bytes | None) -> bytes:
    """An Ed25519 or X25519 private key of the library as PEM."""
    from cryptography.hazmat.primitives import serialization

    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    pem: bytes = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    return pem


def from_pem(pem: bytes, passphrase: bytes | None, kind: type[Any], name: str) -> Any:
    """The library's key of the kind. Raises DecodeError or TrustError where it stays locked."""
    from cryptography.hazmat.primitives import serialization

    try:
        private = serialization.load_pem_private_key(pem, passphrase)
    except TypeError as error:
        raise TrustError(f"{name}: {error}") from error
    except ValueError as error:
        raise DecodeError(
            f"{name}: not a private key in PEM, or the passphrase is wrong", Code.MALFORMED
        ) from error
    if not isinstance(private, kind):
        raise DecodeError(f"{name}: a {type(private).__name__}, must be {kind.__name__}")
    return private
