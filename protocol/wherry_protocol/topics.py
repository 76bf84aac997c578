"""Topic names under `wherry/1/<org>/` (DESIGN §4), made and read in one place.

>>> Topics("acme").desired("gw1", "self")
'wherry/1/acme/d/gw1/self/desired'
"""

from dataclasses import dataclass
from typing import Final

from wherry_protocol.frozen import quick
from wherry_protocol.names import CONNECTION, ORG, UNIT, check_name

ROOT: Final = "wherry/1"
DEVICE_LEAVES: Final = ("reported", "telemetry", "event", "reply", "telemetry-json")


@quick
@dataclass(frozen=True, slots=True)
class DeviceTopic:
    """What a topic below `d/` addresses; `unit` is None for presence and ack."""

    org: str
    connection: str
    unit: str | None
    leaf: str


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one organization. Raises WherryError for an illegal name."""

    org: str

    def __post_init__(self) -> None:
        check_name("organization", ORG, self.org)

    @property
    def prefix(self) -> str:
        return f"{ROOT}/{self.org}"

    def connection(self, connection: str, leaf: str) -> str:
        """`presence` or `ack` of one connection."""
        return f"{self.prefix}/d/{check_name('connection', CONNECTION, connection)}/{leaf}"

    def unit(self, connection: str, unit: str, leaf: str) -> str:
        return f"{self.connection(connection, check_name('unit', UNIT, unit))}/{leaf}"

    def presence(self, connection: str) -> str:
        return self.connection(connection, "presence")

    def ack(self, connection: str) -> str:
        return self.connection(connection, "ack")

    def desired(self, connection: str, unit: str) -> str:
        return self.unit(connection, unit, "desired")

    def reported(self, connection: str, unit: str) -> str:
        return self.unit(connection, unit, "reported")

    def telemetry(self, connection: str, unit: str) -> str:
        return self.unit(connection, unit, "telemetry")

    def telemetry_json(self, connection: str, unit: str) -> str:
        return self.unit(connection, unit, "telemetry-json")

    def event(self, connection: str, unit: str) -> str:
        return self.unit(connection, unit, "event")

    def rpc(self, connection: str, unit: str) -> str:
        return self.unit(connection, unit, "rpc")

    def reply(self, connection: str, unit: str) -> str:
        return self.unit(connection, unit, "reply")

    def chunk(self, digest: bytes, index: int) -> str:
        return f"{self.prefix}/b/{digest.hex()}/{index}"

    def root(self, number: int) -> str:
        return f"{self.prefix}/trust/root/{number}"

    @property
    def time(self) -> str:
        return f"{self.prefix}/trust/time"

    @property
    def stop(self) -> str:
        return f"{self.prefix}/all/stop"

    @property
    def report(self) -> str:
        return f"{self.prefix}/all/report"

    @property
    def from_devices(self) -> tuple[str, ...]:
        """The filters that a controller subscribes to."""
        units = tuple(f"{self.prefix}/d/+/+/{leaf}" for leaf in DEVICE_LEAVES[:4])
        return (f"{self.prefix}/d/+/presence", *units)


def parse_device_topic(topic: str) -> DeviceTopic | None:
    """The address in a topic below `d/`, or None if it is not one."""
    parts = topic.split("/")
    if len(parts) not in (6, 7) or parts[:2] != ["wherry", "1"] or parts[3] != "d":
        return None
    org, connection = parts[2], parts[4]
    unit = parts[5] if len(parts) == 7 else None
    names_hold = ORG.fullmatch(org) and CONNECTION.fullmatch(connection)
    if not names_hold or (unit is not None and not UNIT.fullmatch(unit)):
        return None
    return DeviceTopic(org, connection, unit, parts[-1])


def parse_chunk_topic(topic: str) -> tuple[bytes, int] | None:
    """(digest, index) of a topic below `b/`, or None if it is not one."""
    parts = topic.split("/")
    if len(parts) != 6 or parts[:2] != ["wherry", "1"] or parts[3] != "b":
        return None
    if len(parts[4]) != 64 or not parts[5].isdecimal() or len(parts[5]) > 7:
        return None
    try:
        return bytes.fromhex(parts[4]), int(parts[5])
    except ValueError:
        return None
