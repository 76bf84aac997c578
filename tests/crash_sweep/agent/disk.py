"""A disk that stops at one operation, and keeps of what was not synced all, nothing or a part."""

import errno
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.agent.sim_disk import SimDisk
from tests.crash_sweep.sweep import Cut, CutError

ENDS = ("lost", "kept", "torn", "shuffled")  # what a power cut leaves of what was not synced
FAILS = ("eio", "full")  # no cut: the operation fails once, and the life goes on
FAILURES = {"eio": errno.EIO, "full": errno.ENOSPC}


def _ignore(_name: str) -> None:
    """Nobody looks."""


@dataclass
class SweptDisk(SimDisk):
    """`cuts` are armed; `counts` are the operations of each part so far.

    lost: nothing that was not synced is left. kept: all of it is, and the operation was done.
    torn: names and the beginnings of files are. shuffled: each as chance wills, by the cut.
    """

    cuts: list[Cut] = field(default_factory=list)
    counts: list[int] = field(default_factory=lambda: [0])
    way: str = "lost"
    is_armed: bool = False
    on_synced: Callable[[str], None] = _ignore
    on_unlink: Callable[[str], None] = _ignore

    def arm(self, cuts: Sequence[Cut]) -> None:
        self.cuts, self.counts, self.is_armed = list(cuts), [0], True

    def _operation(self, act: Callable[[], None], tear: Callable[[], None] | None = None) -> None:
        self.counts[-1] += int(self.is_armed)
        if not self.is_armed or not self.cuts or self.counts[-1] != self.cuts[0].at:
            act()
            return
        at, self.way = self.cuts.pop(0)
        self.counts.append(0)
        if self.way in FAILURES:
            raise OSError(FAILURES[self.way], f"simulated {self.way}")
        self.source = random.Random(f"{at} {self.way}")
        if self.way == "kept":
            act()
        elif self.way != "lost" and tear is not None:
            tear()
        raise CutError

    def after_power_cut(self) -> "SweptDisk":
        """The disk as the next boot finds it."""
        found = super().after_power_cut()
        new = SweptDisk(found.source, self.capacity_bytes, found.files, found.names_durable)
        new.inodes, new.synced_inodes = found.inodes, found.synced_inodes
        new._next_inode = found._next_inode
        new.cuts, new.counts, new.is_armed = self.cuts, self.counts, self.is_armed
        new.on_synced, new.on_unlink = self.on_synced, self.on_unlink
        return new

    def _surviving_inode(self, name: str) -> str | None:
        before, now = self.names_durable.get(name), self.inodes.get(name)
        if self.way == "shuffled":
            return super()._surviving_inode(name)
        return before if self.way == "lost" else now

    def _surviving_bytes(self, inode: str) -> bytes:
        synced = self.synced_inodes.get(inode, b"")
        if self.way == "lost":
            return synced
        if self.way == "shuffled":
            return super()._surviving_bytes(inode)
        seen = next((self.files[n] for n, i in self.inodes.items() if i == inode), synced)
        if self.way == "kept" or seen == synced:
            return seen
        return seen[: self.source.randrange(len(seen) + 1)]

    def fsync_dir(self, folder: str) -> None:
        super().fsync_dir(folder)
        self.on_synced(folder)

    def unlink(self, name: str) -> None:
        if name in self.files:
            self.on_unlink(name)
        super().unlink(name)

    def copied(self) -> "SweptDisk":
        """For another play, which must not see this one."""
        new = SweptDisk(random.Random(1), self.capacity_bytes, dict(self.files))
        new.names_durable, new.inodes = dict(self.names_durable), dict(self.inodes)
        new.synced_inodes, new._next_inode = dict(self.synced_inodes), self._next_inode
        return new
