"""How a device joins: a request made on the device, an answer made by the controller."""

from wherry_protocol.codec import (
    Bool,
    Int,
    Mapping,
    Nested,
    Octets,
    Sequence,
    Text,
    field,
    instruction,
    part,
)
from wherry_protocol.hardware import HardwareClass
from wherry_protocol.messages.limits import Nonce, PublicKey, UnixSeconds
from wherry_protocol.names import ClassName, ConnectionName, LabelName, OrgName, UnitName


@part
class UnitRequest:
    """One unit of the connection and its hardware class."""

    unit: str = field(1, UnitName)
    hardware_class: str = field(2, ClassName)


@instruction("wherry-enrol-request")
class EnrolRequest:
    """Signed by the device's own key, which it thereby proves to hold."""

    connection: str = field(1, ConnectionName)
    signing_key: bytes = field(2, PublicKey)
    agreement_key: bytes = field(3, PublicKey)
    units: tuple[UnitRequest, ...] = field(4, Sequence(Nested(UnitRequest), 32))
    labels: dict[str, str] = field(5, Mapping(LabelName, Text(64), 32), default={})
    agent_version: str = field(6, Text(32))
    nonce: bytes = field(7, Nonce)


@part
class BrokerLogin:
    """Where and as whom the device connects. `ca_pem` empty means: no TLS (loopback only)."""

    host: str = field(1, Text(255))
    port: int = field(2, Int(1, 65535))
    username: str = field(3, Text(128))
    password: str = field(4, Text(128))
    ca_pem: str = field(5, Text(65536), default="")
    is_tls: bool = field(6, Bool(), default=False)


@instruction("wherry-enrol-answer")
class EnrolAnswer:
    """What a device needs to know of its organization; carried to it by hand, once."""

    org: str = field(1, OrgName)
    connection: str = field(2, ConnectionName)
    nonce: bytes = field(3, Nonce)
    issued_s: int = field(4, UnixSeconds)
    roots: tuple[bytes, ...] = field(5, Sequence(Octets(65536, 1), 64))
    agreement_key: bytes = field(6, PublicKey)
    broker: BrokerLogin = field(7, Nested(BrokerLogin))
    classes: dict[str, HardwareClass] = field(8, Mapping(UnitName, Nested(HardwareClass), 32))
