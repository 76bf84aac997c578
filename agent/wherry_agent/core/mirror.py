"""A SenML pack as JSON (RFC 8428 §5), for consumers that read no CBOR.

Rules:
1. The same records under the RFC's JSON labels; data values are base64url without padding.
2. The envelope that tells a CBOR reader the time is missing here, so the first record's base time
   tells it. Without the fleet's time there is none: records are relative to now (§4.5.3).

Pure.

    >>> from wherry_protocol.senml import Record
    >>> senml_json((Record(base_name="acme/gw1/self/", name="cpu", unit="/", value=0.5),), 7)
    b'[{"bn":"acme/gw1/self/","bt":7,"n":"cpu","u":"/","v":0.5}]'
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Final

from wherry_protocol.replacing import replace
from wherry_protocol.senml import Record

LABELS: Final[Mapping[str, str]] = {
    "base_name": "bn",
    "base_time_s": "bt",
    "name": "n",
    "unit": "u",
    "value": "v",
    "string": "vs",
    "boolean": "vb",
    "data": "vd",
    "time_s": "t",
}


def senml_json(pack: tuple[Record, ...], time_s: int | None) -> bytes:
    """`pack` in UTF-8; `time_s` is the fleet's time, None while it is unknown.

    Raises ValueError for a figure that JSON has no number for (NaN, infinity).
    """
    if pack and pack[0].base_time_s is None:
        pack = (replace(pack[0], base_time_s=time_s), *pack[1:])
    records = [_labelled(record) for record in pack]
    return json.dumps(records, separators=(",", ":"), allow_nan=False).encode()


def _labelled(record: Record) -> dict[str, Any]:
    return {
        label: _plain(value)
        for attribute, label in LABELS.items()
        if (value := getattr(record, attribute)) is not None
    }


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return urlsafe_b64encode(value).rstrip(b"=").decode()
    return value
