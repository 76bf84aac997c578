"""The report spool on disk: one file per segment, in the order of their names."""

import contextlib

from wherry_protocol.errors import DecodeError

from wherry_agent.core.reports import Segment, found_segment
from wherry_agent.shell.disk import Disk, replace_durably


def load(disk: Disk) -> tuple[Segment, ...]:
    """What earlier boots left, oldest first; torn files are removed. Raises OSError."""
    segments = []
    for name in disk.names("spool"):
        try:
            segments.append(found_segment(name, disk.read(f"spool/{name}")))
        except DecodeError:
            disk.unlink(f"spool/{name}")
    return tuple(segments)


def write(disk: Disk, name: str, data: bytes) -> None:
    """Durable when this returns. Raises OSError; no half of it is left then."""
    try:
        replace_durably(disk, f"spool/{name}", data, "spool")
    except OSError:
        with contextlib.suppress(OSError):
            disk.unlink(f"spool/{name}.new")
        raise


def read(disk: Disk, name: str) -> bytes | None:
    """The segment's bytes, or None where they cannot be read."""
    try:
        return disk.read(f"spool/{name}")
    except OSError:
        return None
