"""Files that commands read and write: whole or not at all, every failure one sentence."""

import getpass
import io
import os
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from wherry_protocol.bundle import Bundle, read_bundle
from wherry_protocol.errors import Code, DecodeError, NotFoundError, WherryError, error_of
from wherry_protocol.keys import SigningKey


def read_file(path: Path, what: str) -> bytes:
    """The file's bytes. Raises NotFoundError or WherryError, naming what it was to be."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"{what} {path} does not exist") from error
    except OSError as error:
        raise WherryError(
            f"{what} {path} cannot be read: {error.strerror}", Code.INVALID
        ) from error


def read_text(path: Path, what: str) -> str:
    """The file's text. Raises what `read_file` raises, and DecodeError where it is not UTF-8."""
    try:
        return read_file(path, what).decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"{path}: not UTF-8 at byte {error.start}") from error


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The table in a TOML file. Raises what `read_text` raises, and DecodeError for other text."""
    try:
        return tomllib.loads(read_text(path, what))
    except tomllib.TOMLDecodeError as error:
        raise DecodeError(f"{path}: not TOML: {error}") from error


def read_array(path: Path) -> Any:
    """The NumPy array in a .npy file. Raises DecodeError for anything else."""
    import numpy as np

    data = read_file(path, "array")
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DecodeError(f"{path}: not a .npy array: {error}") from error
    if not isinstance(loaded, np.ndarray):
        raise DecodeError(f"{path}: holds several arrays, must be one .npy")
    return loaded


def read_bundle_file(path: Path) -> Bundle:
    """The bundle in a file. Raises what `read_bundle` raises, with the file's name."""
    data = read_file(path, "bundle")
    try:
        return read_bundle(data)
    except WherryError as error:
        raise type(error)(f"{path}: {error}", error.code) from error


def signing_key(path: Path, passphrase_file: Path | None) -> SigningKey:
    """The private key in a PEM file; who is at the keyboard is asked for its passphrase."""
    pem = read_file(path, "key")
    passphrase = None
    if passphrase_file is not None:
        passphrase = read_file(passphrase_file, "passphrase").strip()
    elif b"ENCRYPTED" in pem:
        if not sys.stdin.isatty():
            raise WherryError(f"key {path} is locked: give --passphrase-file")
        passphrase = getpass.getpass(f"passphrase of {path}: ").encode()
    try:
        return SigningKey.from_pem(pem, passphrase)
    except WherryError as error:
        raise type(error)(f"{path}: {error}", error.code) from error


def write_file(path: Path, content: bytes) -> None:
    """Write beside the target, sync, rename: a reader sees the old file or the new one."""
    beside: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".wherry-", delete=False) as file:
            beside = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(0o644)
        beside.replace(path)
    except OSError as error:
        if beside is not None:
            beside.unlink(missing_ok=True)
        raise error_of(Code.STORAGE, f"{path} cannot be written: {error.strerror}") from error


def read_directory(path: Path) -> dict[str, bytes]:
    """Every file below a folder by its relative path. Raises WherryError for a link."""
    if not path.is_dir():
        raise NotFoundError(f"directory {path} does not exist")
    files = {}
    for entry in sorted(path.rglob("*")):
        if entry.is_symlink():
            raise WherryError(f"{entry} is a link; a bundle's directory holds plain files only")
        if entry.is_file():
            files[entry.relative_to(path).as_posix()] = read_file(entry, "file")
    return files


def write_directory(path: Path, files: dict[str, bytes]) -> None:
    """A new folder with these files, all or none. Raises WherryError where it is not empty."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise WherryError(f"{path} exists and is not an empty directory")
    beside: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=path.parent, prefix=".wherry-"))
        beside.chmod(0o755)
        for name, content in files.items():
            target = beside / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)
        raise error_of(Code.STORAGE, f"{path} cannot be written: {error.strerror}") from error
