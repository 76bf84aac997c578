"""Twin of the codec: a message travels as an object behind opaque bytes of the true length.

Made up are the CBOR and the COSE of what is sealed (signatures and MACs with them), and the CBOR
of the agent's record on disk. Manifests and root chains are verified once per content, and not by
each device again. Everything else is encoded as ever.

Rules:
1. Opaque bytes are as long as the real ones, so that limits, spools and traces are the same
   (`Attaching` does without: its worlds have neither).
2. Whoever opens them gets the message if it is of that class, role and key. Anything else, and
   bytes that nobody sealed, goes to the real part, which refuses it in its own words.
3. Who wants to flip a bit takes `real_bytes`.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypeVar

from wherry_agent.core import record as records
from wherry_agent.core.record import CHECKSUM_BYTES, AgentRecord
from wherry_protocol import cose, sealed, trust
from wherry_protocol.codec import content_type, dumps, encode
from wherry_protocol.codec import decode as really_decode
from wherry_protocol.frozen import quick
from wherry_protocol.keys import KEY_ID_BYTES, SigningKey
from wherry_protocol.manifest import Manifest
from wherry_protocol.messages.trust import TrustRole
from wherry_protocol.trust import TrustState

from tests.simulation.twins.putting import put_in_place
from tests.simulation.twins.sizes import head, size_of

T = TypeVar("T")
TOKEN_BYTES = 16  # no message is shorter
SIGNATURE_BYTES = 64
MAC_BYTES = 32
ENCLOSED_BYTES = 1  # nothing looks at how long it is


@quick
@dataclass(frozen=True, slots=True)
class Carried:
    """What stands behind opaque bytes; `right` is what must be shown to open them."""

    message: Any
    right: Any
    make: Callable[[], bytes]


class Remembering:
    """Opaque bytes are remembered for a whole voyage: a disk or a store gives equal ones back."""

    def __init__(self) -> None:
        self.carried: dict[bytes, Carried] = {}

    def put(self, frame_bytes: int, carried: Carried, *, has_head: bool = True) -> bytes:
        """Bytes as long as a frame and the message in it; as a string in CBOR it has a head."""
        size_bytes = size_of(carried.message)
        size_bytes += head(size_bytes) if has_head else 0
        token = b"%*d" % (TOKEN_BYTES, len(self.carried))
        data = token.ljust(frame_bytes + size_bytes, b"\0")
        self.carried[data] = carried
        return data

    def get(self, data: bytes) -> Carried | None:
        return self.carried.get(data)


class Opaque(bytes):
    """Bytes with what stands behind them."""

    carried: Carried

    def __repr__(self) -> str:
        return repr(self.carried.message)


class Attaching:
    """What opaque bytes carry goes with them: for worlds that pass on the very object."""

    def put(self, frame_bytes: int, carried: Carried, *, has_head: bool = True) -> bytes:
        del has_head
        data = Opaque(frame_bytes)
        data.carried = carried
        return data

    def get(self, data: bytes) -> Carried | None:
        return data.carried if type(data) is Opaque else None


Carrier = Remembering | Attaching
_carrier: Carrier = Remembering()


def real_bytes(data: bytes) -> bytes:
    """What would be on the wire; the data itself where it is."""
    carried = _carrier.get(data)
    return data if carried is None else carried.make()


# --- the envelopes


@cache
def _signed_frame_bytes(cls: type[Any], role: TrustRole) -> int:
    """Everything of a COSE_Sign1 but its payload."""
    header = {cose.ALGORITHM: cose.EDDSA, cose.KEY_ID: bytes(KEY_ID_BYTES),
              cose.ROLE: role.name.lower(), cose.CONTENT_TYPE: content_type(cls)}  # fmt: skip
    return _frame_bytes(len(dumps(header)), SIGNATURE_BYTES)


@cache
def _mac_frame_bytes(cls: type[Any]) -> int:
    header = {cose.ALGORITHM: cose.HMAC_256, cose.CONTENT_TYPE: content_type(cls)}
    return _frame_bytes(len(dumps(header)), MAC_BYTES)


def _frame_bytes(header_bytes: int, proof_bytes: int) -> int:
    tag_array_and_empty_map = 3
    headers = head(header_bytes) + header_bytes + head(proof_bytes) + proof_bytes
    return tag_array_and_empty_map + headers


def seal(message: Any, role: TrustRole, key: SigningKey) -> bytes:
    carried = Carried(message, (role, key.public), lambda: REAL_SEAL(message, role, key))
    return _carrier.put(_signed_frame_bytes(type(message), role), carried)


def open_sealed(cls: type[T], data: bytes, role: TrustRole, keys: Iterable[bytes]) -> T:
    carried = _carrier.get(data)
    if carried is None:
        return REAL_OPEN_SEALED(cls, data, role, keys)
    message, keys = carried.message, tuple(keys)
    if type(message) is cls and carried.right in [(role, key) for key in keys]:
        return message
    return REAL_OPEN_SEALED(cls, carried.make(), role, keys)


def seal_mac(message: Any, mac_key: bytes) -> bytes:
    carried = Carried(message, mac_key, lambda: REAL_SEAL_MAC(message, mac_key))
    return _carrier.put(_mac_frame_bytes(type(message)), carried)


def open_mac(cls: type[T], data: bytes, mac_key: bytes) -> T:
    carried = _carrier.get(data)
    if carried is None:
        return REAL_OPEN_MAC(cls, data, mac_key)
    message = carried.message
    if type(message) is cls and carried.right == mac_key:
        return message
    return REAL_OPEN_MAC(cls, carried.make(), mac_key)


# --- a message in a message


def enclose(message: Any) -> bytes:
    """Its encoding, for a field of another message."""
    carried = Carried(message, None, lambda: REAL_ENCODE(message))
    return _carrier.put(ENCLOSED_BYTES, carried, has_head=False)


def decode(cls: type[T], data: bytes, **limits: Any) -> T:
    """Only what carries a message by itself: everything that is decoded comes by here."""
    if type(data) is not Opaque:
        return REAL_DECODE(cls, data, **limits)
    carried = data.carried
    if type(carried.message) is cls and carried.right is None:
        return carried.message  # type: ignore[no-any-return]
    return REAL_DECODE(cls, carried.make(), **limits)


# --- the record


def encode_record(record: AgentRecord) -> bytes:
    carried = Carried(record, None, lambda: REAL_ENCODE_RECORD(record))
    return _carrier.put(CHECKSUM_BYTES, carried, has_head=False)


def decode_record(data: bytes) -> AgentRecord:
    carried = _carrier.get(data)
    return REAL_DECODE_RECORD(data) if carried is None else carried.message


# --- what is the same for many devices


@lru_cache(maxsize=64)
def _verified_chain(org: str, roots: tuple[bytes, ...], now_s: int | None) -> TrustState:
    return REAL_START(org, roots, now_s)


def start(org: str, roots: tuple[bytes, ...], now_s: int | None = None) -> TrustState:
    return _verified_chain(org, roots, now_s)


@lru_cache(maxsize=64)
def _verified_manifest(
    org: str, roots: tuple[bytes, ...], digest: bytes, data: bytes, signatures: bytes
) -> Manifest:
    return REAL_OPEN_MANIFEST(_verified_chain(org, roots, None), digest, data, signatures)


def open_manifest(
    state: TrustState, digest: bytes, manifest_bytes: bytes, signatures: bytes
) -> Manifest:
    return _verified_manifest(state.org, state.roots, digest, manifest_bytes, signatures)


REAL_START, REAL_OPEN_MANIFEST = trust.start, trust.open_manifest
REAL_ENCODE, REAL_DECODE = encode, really_decode
REAL_SEAL, REAL_OPEN_SEALED = sealed.seal, sealed.open_sealed
REAL_SEAL_MAC, REAL_OPEN_MAC = sealed.seal_mac, sealed.open_mac
REAL_ENCODE_RECORD, REAL_DECODE_RECORD = records.encode_record, records.decode_record
PARTS = {
    REAL_DECODE: decode,
    REAL_SEAL: seal,
    REAL_OPEN_SEALED: open_sealed,
    REAL_SEAL_MAC: seal_mac,
    REAL_OPEN_MAC: open_mac,
    REAL_ENCODE_RECORD: encode_record,
    REAL_DECODE_RECORD: decode_record,
    REAL_START: start,
    REAL_OPEN_MANIFEST: open_manifest,
}


@contextmanager
def in_place(carrier: Carrier | None = None) -> Iterator[None]:
    """Everything that is sealed inside is carried; outside nothing of it can be opened."""
    global _carrier
    before, _carrier = _carrier, Remembering() if carrier is None else carrier
    try:
        with put_in_place(PARTS):
            yield
    finally:
        _carrier = before
        _verified_chain.cache_clear()  # by keys that may be twins
        _verified_manifest.cache_clear()
