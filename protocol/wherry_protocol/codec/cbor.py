"""One CBOR item, whole and deterministic, or an error.

Rules, in order:
1. At most `size_max` bytes, at most `DEPTH_MAX` levels.
2. Definite lengths, no duplicate keys, no trailing bytes.
3. Deterministic encoding (RFC 8949 §4.2): encoding what was decoded gives the same bytes, so
   shortest integers, shortest floats and sorted keys hold without a check of their own.
4. No references between values (tags 25, 28, 29, 256): one value has one encoding.
"""

from io import BytesIO
from typing import Any, Final

import cbor2

from wherry_protocol.errors import Code, DecodeError

DEPTH_MAX: Final = 16
SIZE_BYTES_MAX: Final = 1 << 20


def _no_references(*_: Any) -> Any:
    raise ValueError("references between values are not allowed")


REFERENCES: Final = dict.fromkeys((25, 28, 29, 256), _no_references)


def dumps(item: Any) -> bytes:
    """Deterministic encoding of plain values. Raises ValueError for what CBOR cannot carry."""
    try:
        return cbor2.dumps(item, canonical=True)
    except cbor2.CBOREncodeError as error:
        raise ValueError(str(error)) from error


def loads(data: bytes, *, what: str, size_max: int = SIZE_BYTES_MAX) -> Any:
    """The one item in `data`; arrays come back as lists, maps as dicts.

    Raises DecodeError, naming `what`, unless `data` is exactly the deterministic encoding of it.
    """
    if len(data) > size_max:
        raise DecodeError(
            f"{what}: {len(data)} bytes, at most {size_max} are allowed", Code.OUT_OF_BOUNDS
        )
    stream = BytesIO(data)
    try:
        item = cbor2.CBORDecoder(
            stream,
            max_depth=DEPTH_MAX,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            semantic_decoders=REFERENCES,
        ).decode()
        again = cbor2.dumps(item, canonical=True)
    # A hostile item can make a tag's own constructor raise anything: all of it is the peer's.
    except Exception as error:
        raise DecodeError(f"{what}: not one well-formed CBOR item ({error})") from error
    if again != data:
        raise DecodeError(
            f"{what}: not deterministic CBOR, or {len(data) - len(again)} bytes too many",
            Code.NOT_DETERMINISTIC,
        )
    return item
