"""Twin of a disk: what was not synced may be forgotten or torn, and operations may fail (EIO)."""

import errno
from collections.abc import Callable
from dataclasses import dataclass

from tests.agent.sim_disk import PowerCutError, SimDisk

__all__ = ["FaultyDisk", "PowerCutError"]


@dataclass
class FaultyDisk(SimDisk):
    """`failures_left` operations end with EIO and change nothing, once `good_left` have not."""

    failures_left: int = 0
    good_left: int = 0

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
        new = FaultyDisk(self.source, self.capacity_bytes)
        new.files, new.inodes = found.files, found.inodes
        new.names_durable, new.synced_inodes = found.names_durable, found.synced_inodes
        new._next_inode = found._next_inode
        new.operation_count = self.operation_count
        new.is_full = self.is_full
        return new
