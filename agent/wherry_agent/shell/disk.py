"""The disk, as five writing operations and a few reads, so that a crash sweep can count them.

Names are relative (`blobs/3f…`); folders exist from the start. Whoever wants durability says so:
`write` and `rename` alone may be lost or torn by a power cut.
"""

import contextlib
import mmap
import os
import shutil
from pathlib import Path
from typing import Final, Protocol

FOLDERS: Final = ("blobs", "parts", "images", "spool")
Image = bytes | mmap.mmap


class Disk(Protocol):
    """What the record, the blob store and the spool need of a disk. Raises OSError."""

    def write(self, name: str, data: bytes, offset: int | None = None) -> None:
        """Replace the whole file (offset None), or write into it; makes the file if needed."""

    def fsync(self, name: str) -> None:
        """The file's bytes are durable after this."""

    def rename(self, old: str, new: str) -> None:
        """On one file system, replacing `new` at once."""

    def fsync_dir(self, folder: str) -> None:
        """The folder's names are durable after this."""

    def unlink(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError where it is not there."""

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        """Fewer bytes at the file's end."""

    def size(self, name: str) -> int | None:
        """None where it is not there."""

    def names(self, folder: str) -> list[str]:
        """Sorted, without the folder."""

    def image(self, name: str) -> Image:
        """The file's bytes for running in place, read-only."""

    def free_bytes(self) -> int:
        """What may still be written."""


class FolderDisk:
    """A private folder (0700) of a real file system."""

    def __init__(self, root: Path, bytes_max: int | None = None) -> None:
        """Makes the folders. `bytes_max` bounds what the agent may use in all. Raises OSError."""
        self._root = root
        self._bytes_max = bytes_max
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)
        for folder in FOLDERS:
            (root / folder).mkdir(mode=0o700, exist_ok=True)

    def _path(self, name: str) -> Path:
        return self._root / name

    def write(self, name: str, data: bytes, offset: int | None = None) -> None:
        truncate = os.O_TRUNC if offset is None else 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | truncate
        descriptor = os.open(self._path(name), flags, 0o600)
        try:
            position = offset or 0
            view = memoryview(data)
            while view:
                written = os.pwrite(descriptor, view, position)
                position += written
                view = view[written:]
        finally:
            os.close(descriptor)

    def fsync(self, name: str) -> None:
        self._sync(self._path(name))

    def fsync_dir(self, folder: str) -> None:
        self._sync(self._path(folder))

    def _sync(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, old: str, new: str) -> None:
        os.replace(self._path(old), self._path(new))

    def unlink(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(name))

    def read(self, name: str) -> bytes:
        return self._path(name).read_bytes()

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        descriptor = os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)

    def size(self, name: str) -> int | None:
        try:
            return self._path(name).stat().st_size
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        return sorted(entry.name for entry in os.scandir(self._path(folder)) if entry.is_file())

    def image(self, name: str) -> Image:
        descriptor = os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if os.fstat(descriptor).st_size == 0:
                return b""
            return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)

    def free_bytes(self) -> int:
        free = shutil.disk_usage(self._root).free
        if self._bytes_max is None:
            return free
        used = sum(self.size(f"{d}/{name}") or 0 for d in FOLDERS for name in self.names(d))
        return max(0, min(free, self._bytes_max - used))


def replace_durably(disk: Disk, name: str, data: bytes, folder: str) -> None:
    """The file is the old one or the new one, whatever happens; the new one after this."""
    new = f"{name}.new"
    disk.write(new, data)
    disk.fsync(new)
    disk.rename(new, name)
    disk.fsync_dir(folder)


def name_durably(disk: Disk, new: str, name: str, folder: str) -> None:
    """What was written as `new` gets its content-addressed name, for good. Raises OSError.

    Neither name is left then: bytes that could not be made durable once may look durable the next
    time, and a name that is only seen would be trusted.
    """
    try:
        disk.fsync(new)
        disk.rename(new, name)
        disk.fsync_dir(folder)
    except OSError:
        for doubtful in (new, name):
            with contextlib.suppress(OSError):
                disk.unlink(doubtful)
        raise
