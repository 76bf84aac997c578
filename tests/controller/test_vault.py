"""Blobs at rest: ciphertext, bound to their name, hashed when read."""

import os
from pathlib import Path

import pytest
from wherry_controller.vault import Vault
from wherry_protocol.errors import NotFoundError, TrustError

CONTENT = b"weights " * 1000


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path, os.urandom(32))


def test_what_is_stored_is_read_back(vault: Vault) -> None:
    digest = vault.write(CONTENT)
    assert vault.read(digest) == CONTENT


def test_bytes_at_rest_are_ciphertext(vault: Vault) -> None:
    path = vault.path(vault.write(CONTENT))
    assert b"weights" not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0


def test_a_missing_blob_is_named(vault: Vault) -> None:
    with pytest.raises(NotFoundError, match="ab" * 32):
        vault.read(b"\xab" * 32)


@pytest.mark.parametrize("place", [0, 12, 500, -1])
def test_a_changed_byte_is_found(vault: Vault, place: int) -> None:
    digest = vault.write(CONTENT)
    path = vault.path(digest)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(TrustError, match="was changed"):
        vault.read(digest)


def test_a_truncated_file_is_found(vault: Vault) -> None:
    digest = vault.write(CONTENT)
    vault.path(digest).write_bytes(b"short")
    with pytest.raises(TrustError):
        vault.read(digest)


def test_a_file_under_another_blobs_name_is_found(vault: Vault) -> None:
    first, second = vault.write(CONTENT), vault.write(b"other")
    vault.path(second).write_bytes(vault.path(first).read_bytes())
    with pytest.raises(TrustError):
        vault.read(second)


def test_another_organizations_key_opens_nothing(vault: Vault) -> None:
    digest = vault.write(CONTENT)
    with pytest.raises(TrustError):
        Vault(vault.folder, os.urandom(32)).read(digest)
