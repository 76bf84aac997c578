"""The root of trust, the fleet's time and the emergency stop: signed, retained."""

from enum import IntEnum

from wherry_protocol.codec import (
    Bool,
    Closed,
    Int,
    Mapping,
    Nested,
    Sequence,
    Uint,
    field,
    instruction,
    part,
)
from wherry_protocol.messages.limits import KEYS_MAX, Nonce, PublicKey, Reason, UnixSeconds
from wherry_protocol.names import OrgName


class TrustRole(IntEnum):
    """Who may sign what (DESIGN §5). Part of every signature's protected header."""

    ROOT = 1
    RELEASE = 2
    DIRECTOR = 3
    DEVICE = 4


@part
class RoleKeys:
    """Which keys hold a role, and how many distinct ones must sign."""

    threshold: int = field(1, Int(1, KEYS_MAX))
    keys: tuple[bytes, ...] = field(2, Sequence(PublicKey, KEYS_MAX))


@instruction("wherry-root")
class Root:
    """One link of the root chain: signed by its own threshold and its predecessor's.

    `epoch` is the director's: a new one resets the revision and the time floor.
    """

    org: str = field(1, OrgName)
    number: int = field(2, Int(1, 1 << 32))
    issued_s: int = field(3, UnixSeconds)
    expires_s: int = field(4, UnixSeconds)
    epoch: int = field(5, Uint())
    roles: dict[TrustRole, RoleKeys] = field(6, Mapping(Closed(TrustRole), Nested(RoleKeys), 4))


@instruction("wherry-time")
class FleetTime:
    """The director's clock and the newest root, published every few minutes."""

    org: str = field(1, OrgName)
    epoch: int = field(2, Uint())
    time_s: int = field(3, UnixSeconds)
    root_number: int = field(4, Uint())


@instruction("wherry-stop")
class Stop:
    """Halt every update of the organization, or (`is_stopped` false) let them go on."""

    org: str = field(1, OrgName)
    epoch: int = field(2, Uint())
    sequence: int = field(3, Uint())
    issued_s: int = field(4, UnixSeconds)
    is_stopped: bool = field(5, Bool())
    reason: str = field(6, Reason, default="")


@instruction("wherry-report-request")
class ReportRequest:
    """Ask every device to send `reported` again, each after a random part of `spread_s`."""

    org: str = field(1, OrgName)
    epoch: int = field(2, Uint())
    issued_s: int = field(3, UnixSeconds)
    nonce: bytes = field(4, Nonce)
    spread_s: int = field(5, Uint(86_400), default=60)
