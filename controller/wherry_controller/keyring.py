"""The keys that `wherry serve` holds: director, agreement and storage. Read once, at start.

The director's key may come from a systemd credential (`$CREDENTIALS_DIRECTORY/director.pem`).
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wherry_protocol.errors import Code, NotFoundError, TrustError
from wherry_protocol.keys import AgreementKey, ConnectionKeys, SigningKey

from wherry_controller.layout import DataDir, write_durably

DIRECTOR: Final = "director.pem"
AGREEMENT: Final = "agreement.pem"
STORAGE: Final = "storage.key"
STORAGE_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Keyring:
    """The online private keys of one organization."""

    director: SigningKey
    agreement: AgreementKey
    storage: bytes

    def of_connection(self, org: str, connection: str, agreement_key: bytes) -> ConnectionKeys:
        """What the controller shares with one device."""
        return self.agreement.agree(agreement_key, org, connection)


def create(data: DataDir) -> Keyring:
    """Fresh keys, written 0600."""
    keyring = Keyring(SigningKey.generate(), AgreementKey.generate(), os.urandom(STORAGE_KEY_BYTES))
    write_durably(data.keys / DIRECTOR, keyring.director.to_pem())
    write_durably(data.keys / AGREEMENT, keyring.agreement.to_pem())
    write_durably(data.keys / STORAGE, keyring.storage)
    return keyring


def load(data: DataDir) -> Keyring:
    """Raises NotFoundError where a key is missing, TrustError where others can read it."""
    storage = _read_private(data.keys / STORAGE)
    if len(storage) != STORAGE_KEY_BYTES:
        raise TrustError(
            f"{data.keys / STORAGE}: {len(storage)} bytes, must be {STORAGE_KEY_BYTES}",
            Code.MALFORMED,
        )
    return Keyring(
        SigningKey.from_pem(_read_private(director_path(data))),
        AgreementKey.from_pem(_read_private(data.keys / AGREEMENT)),
        storage,
    )


def director_path(data: DataDir) -> Path:
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and (Path(credentials) / DIRECTOR).is_file():
        return Path(credentials) / DIRECTOR
    return data.keys / DIRECTOR


def _read_private(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise NotFoundError(f"key {path} is missing: restore it, or run `wherry init`") from error
    if mode & 0o077:
        raise TrustError(
            f"key {path} can be read by others (mode {mode & 0o777:o}): run `chmod 600 {path}`",
            Code.FORBIDDEN,
        )
    return path.read_bytes()
