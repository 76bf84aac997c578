"""Blobs at rest: content-addressed files, encrypted under the organization's storage key.

A file is a random 12-byte nonce and one AES-256-GCM message whose additional data is the blob's
digest, so a file renamed to another digest does not open. What is read is hashed before use.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from wherry_protocol.errors import Code, NotFoundError, TrustError

from wherry_controller.layout import write_durably

NONCE_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Vault:
    """One organization's blobs. `random_bytes` makes nonces: every file needs a fresh one."""

    folder: Path
    storage_key: bytes
    random_bytes: Callable[[int], bytes] = os.urandom

    def path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self.folder / name[:2] / name

    def has(self, digest: bytes) -> bool:
        return self.path(digest).is_file()

    def write(self, content: bytes) -> bytes:
        """Keep a blob durably; its digest. Writing what is there already changes nothing."""
        digest = sha256(content).digest()
        path = self.path(digest)
        if not path.is_file():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            nonce = self.random_bytes(NONCE_BYTES)
            write_durably(path, nonce + AESGCM(self.storage_key).encrypt(nonce, content, digest))
        return digest

    def remove(self, digest: bytes) -> None:
        """Take a blob's file away, durably; one that is gone already stays gone."""
        path = self.path(digest)
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def read(self, digest: bytes) -> bytes:
        """The blob's bytes. Raises NotFoundError, or TrustError where the file was changed."""
        try:
            sealed = self.path(digest).read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(f"blob {digest.hex()} is not in the vault") from error
        try:
            content = AESGCM(self.storage_key).decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], digest
            )
        except (InvalidTag, ValueError) as error:
            raise TrustError(
                f"blob {digest.hex()}: its file in the vault was changed; restore it from a "
                "backup or push the bundle again",
                Code.DECRYPT,
            ) from error
        if sha256(content).digest() != digest:
            raise TrustError(f"blob {digest.hex()}: the vault holds other bytes", Code.DIGEST)
        return content
