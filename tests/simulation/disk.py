"""Twin of a disk: what was not synced may be forgotten or torn, and operations may fail (EIO)."""

import errno
from collections.abc import Callable
from dataclasses import dataclass

from tests.agent.sim_disk import PowerCutError, SimDisk

__all__ = ["FaultyDisk", "PowerCutError"]


@dataclass
class FaultyDisk(SimDisk):
    """`failures_left` operations end with EIO and change nothing, once `good_left` have not.

    `note` hears what goes wrong.
    """

    failures_left: int = 0
    good_left: int = 0
    note: Callable[[str], None] = lambda _: None

    def write(self, name: str, data: bytes, offset: int | None = None) -> None:
        try:
            super().write(name, data, offset)
        except OSError as error:
            self.note(f"disk: {name}: {error.strerror}")
            raise

    def _operation(self, act: Callable[[], None], tear: Callable[[], None] | None = None) -> None:
        if self.good_left > 0:
            self.good_left -= 1
        elif self.failures_left > 0:
            self.failures_left -= 1
            self.operation_count += 1
            raise OSError(errno.EIO, "Input/output error")
        super()._operation(act, tear)

    def after_power_cut(self) -> "FaultyDisk":
        """The disk as the next boot finds it; a full one stays full."""
        found = super().after_power_cut()
        new = FaultyDisk(self.source, self.capacity_bytes, note=self.note)
        self._tell_what_is_lost(found)
        new.files, new.inodes = found.files, found.inodes
        new.names_durable, new.synced_inodes = found.names_durable, found.synced_inodes
        new._next_inode = found._next_inode
        new.operation_count = self.operation_count
        new.is_full = self.is_full
        return new

    def _tell_what_is_lost(self, found: SimDisk) -> None:
        for name, content in self.files.items():
            left = found.files.get(name)
            if left is not None and left != content and content.startswith(left):
                self.note(f"disk: {name} is torn after {len(left)} of {len(content)} B")
            elif left != content:
                self.note(f"disk: {name} was not synced, and is as it was")
