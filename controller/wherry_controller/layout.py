"""Where things lie in a data directory: one organization each, private to its owner (0700)."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from wherry_protocol.errors import StateError


@dataclass(frozen=True, slots=True)
class DataDir:
    """Paths below one data directory."""

    root: Path

    @property
    def settings(self) -> Path:
        return self.root / "wherry.toml"

    @property
    def database(self) -> Path:
        return self.root / "wherry.db"

    @property
    def vault(self) -> Path:
        return self.root / "vault"

    @property
    def keys(self) -> Path:
        """Online keys: the director's, the agreement key, the storage key."""
        return self.root / "keys"

    @property
    def offline(self) -> Path:
        """Root and release keys, to be moved off this machine."""
        return self.root / "offline"

    @property
    def roots(self) -> Path:
        return self.root / "roots"

    @property
    def broker(self) -> Path:
        return self.root / "broker"

    @property
    def operator_token(self) -> Path:
        """The first operator's token, for commands on this machine."""
        return self.root / "operator.token"

    @property
    def lock(self) -> Path:
        """Held by the running controller."""
        return self.root / "lock"

    def make(self) -> None:
        """Create the folders, readable by their owner alone."""
        for folder in (self.root, self.vault, self.keys, self.offline, self.roots, self.broker):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def hold(data: DataDir) -> int:
    """Hold the directory for this process: one controller writes. Keep the descriptor.

    The kernel lets go when the process ends, however it ends. Raises StateError where it is held.
    """
    descriptor = os.open(data.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StateError(
            f"{data.root} is in use by another `wherry serve`; end that one first"
        ) from error
    return descriptor


def write_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file whole: write beside it, fsync, rename, fsync of the folder."""
    beside = path.with_name(f".{path.name}.new")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(handle, mode)
        view = memoryview(content)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    beside.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
