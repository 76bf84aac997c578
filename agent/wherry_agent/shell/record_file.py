"""The agent record on disk: one file, replaced as a whole."""

from typing import Final

from wherry_agent.core.record import AgentRecord, decode_record, encode_record
from wherry_agent.shell.disk import Disk, replace_durably

NAME: Final = "record"


def load(disk: Disk) -> AgentRecord | None:
    """The record, or None where there never was one. Raises DecodeError for a damaged one."""
    if disk.size(NAME) is None:
        return None
    return decode_record(disk.read(NAME))


def save(disk: Disk, record: AgentRecord) -> None:
    """Durable when this returns. Raises OSError; the old record is whole then."""
    replace_durably(disk, NAME, encode_record(record), ".")
