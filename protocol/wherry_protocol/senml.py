"""SenML records (RFC 8428) in CBOR with the RFC's integer labels.

Units are SenML units: J, W, s, B, Cel, "/" for ratios, "1" for counts. A figure that a device
cannot have is a record `NAME.unavailable` whose string value is the reason.
"""

from wherry_protocol.codec import Bool, Octets, Real, Text, field, part


@part
class Record:
    """One SenML record; the labels are those of RFC 8428 §6, Table 4."""

    base_name: str | None = field(-2, Text(192), default=None)
    base_time_s: float | None = field(-3, Real(), default=None)
    name: str | None = field(0, Text(96), default=None)
    unit: str | None = field(1, Text(16), default=None)
    value: float | None = field(2, Real(), default=None)
    string: str | None = field(3, Text(256), default=None)
    boolean: bool | None = field(4, Bool(), default=None)
    data: bytes | None = field(8, Octets(32_768, 0), default=None)
    time_s: float | None = field(6, Real(), default=None)
