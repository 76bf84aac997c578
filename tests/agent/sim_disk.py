"""A disk that loses power: it forgets what was not synced, and tears what was being written.

Implements `wherry_agent.shell.disk.Disk`. Every writing operation is counted; `cut_after` stops
at one of them, before, in the middle of, or after it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from wherry_agent.shell.disk import FOLDERS


class PowerCutError(BaseException):
    """Not an Exception: nothing may catch it and go on."""


@dataclass
class SimDisk:
    """`files` is what programs see; `durable` is what a power cut leaves at least.

    A file's bytes are durable after `fsync`, its name after `fsync_dir`. What is not durable
    survives a cut or not, as `source` decides.
    """

    source: random.Random = field(default_factory=lambda: random.Random(1))
    capacity_bytes: int = 1 << 30
    files: dict[str, bytes] = field(default_factory=dict)
    names_durable: dict[str, str] = field(default_factory=dict)  # name -> inode
    inodes: dict[str, str] = field(default_factory=dict)  # name -> inode, as seen
    synced_inodes: dict[str, bytes] = field(default_factory=dict)
    operation_count: int = 0
    cut_at: int | None = None
    is_full: bool = False
    bytes_written: int = 0
    _next_inode: int = 0

    # --- counting

    def _operation(self, act: Callable[[], None], tear: Callable[[], None] | None = None) -> None:
        self.operation_count += 1
        if self.cut_at is not None and self.operation_count > self.cut_at:
            if tear is not None and self.source.random() < 0.5:
                tear()
            raise PowerCutError
        act()

    def after_power_cut(self) -> "SimDisk":
        """The disk as the next boot finds it."""
        new = SimDisk(self.source, self.capacity_bytes)
        for name in sorted(set(self.names_durable) | set(self.inodes)):
            inode = self._surviving_inode(name)
            if inode is None:
                continue
            content = self._surviving_bytes(inode)
            new.files[name] = content
            new.inodes[name] = new.names_durable[name] = inode
            new.synced_inodes[inode] = content
        new._next_inode = self._next_inode
        return new

    def _surviving_inode(self, name: str) -> str | None:
        before, now = self.names_durable.get(name), self.inodes.get(name)
        return now if before == now or self.source.random() < 0.5 else before

    def _surviving_bytes(self, inode: str) -> bytes:
        synced = self.synced_inodes.get(inode, b"")
        seen = next((self.files[n] for n, i in self.inodes.items() if i == inode), synced)
        chance = self.source.random()
        if chance < 0.4 or seen == synced:
            return synced
        if chance < 0.7:
            return seen
        cut = self.source.randrange(len(seen) + 1)
        return seen[:cut]

    # --- the five operations

    def write(self, name: str, data: bytes, offset: int | None = None) -> None:
        if self.is_full or self.used_bytes + len(data) > self.capacity_bytes:
            raise OSError(28, "No space left on device")

        def put(what: bytes) -> None:
            if name not in self.inodes:
                self._next_inode += 1
                self.inodes[name] = f"inode {self._next_inode}"
            old = b"" if offset is None else self.files.get(name, b"")
            at = offset or 0
            padded = old.ljust(at, b"\0")
            self.files[name] = padded[:at] + what + padded[at + len(what) :]
            self.bytes_written += len(what)

        self._operation(lambda: put(data), lambda: put(data[: len(data) // 2]))

    def fsync(self, name: str) -> None:
        content, inode = self.files[name], self.inodes[name]
        self._operation(lambda: self.synced_inodes.__setitem__(inode, content))

    def fsync_dir(self, folder: str) -> None:
        def sync() -> None:
            for table_name in set(self.inodes) | set(self.names_durable):
                if _folder(table_name) == folder:
                    if table_name in self.inodes:
                        self.names_durable[table_name] = self.inodes[table_name]
                    else:
                        self.names_durable.pop(table_name)

        self._operation(sync)

    def rename(self, old: str, new: str) -> None:
        def move() -> None:
            self.files[new] = self.files.pop(old)
            self.inodes[new] = self.inodes.pop(old)

        self._operation(move)

    def unlink(self, name: str) -> None:
        if name not in self.files:
            return

        def remove() -> None:
            del self.files[name]
            del self.inodes[name]

        self._operation(remove)

    # --- reads

    def read(self, name: str) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(name)
        return self.files[name]

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        return self.read(name)[offset : offset + size]

    def size(self, name: str) -> int | None:
        return len(self.files[name]) if name in self.files else None

    def names(self, folder: str) -> list[str]:
        assert folder in FOLDERS
        prefix = f"{folder}/"
        return sorted(n.removeprefix(prefix) for n in self.files if n.startswith(prefix))

    def image(self, name: str) -> bytes:
        return self.read(name)

    @property
    def used_bytes(self) -> int:
        return sum(map(len, self.files.values()))

    def free_bytes(self) -> int:
        return max(0, self.capacity_bytes - self.used_bytes)


def _folder(name: str) -> str:
    return name.rpartition("/")[0] or "."
