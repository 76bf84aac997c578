"""COSE (RFC 9052) in the three shapes that Wherry uses: Sign1, Sign and Mac0.

Rules:
1. Everything that gives a signature its meaning is in its protected header: algorithm, content
   type, key id, and the role it speaks for. A signature for one purpose never fits another.
2. Algorithms are fixed: EdDSA with Ed25519 (-8), HMAC 256/256 (5). Nothing is negotiated.
3. A threshold counts distinct keys of the role; a key that signs twice counts once; a signature
   that does not verify is an error, not a missing vote.
4. Unprotected headers are empty.
"""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any, Final

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from wherry_protocol.codec import dumps, loads
from wherry_protocol.codec.cbor import SIZE_BYTES_MAX
from wherry_protocol.errors import Code, DecodeError, TrustError
from wherry_protocol.keys import SigningKey, key_id
from wherry_protocol.messages.trust import TrustRole

TAG_SIGN1: Final = 18
TAG_SIGN: Final = 98
TAG_MAC0: Final = 17
ALGORITHM: Final = 1
CONTENT_TYPE: Final = 3
KEY_ID: Final = 4
ROLE: Final = "wherry-role"
EDDSA: Final = -8
HMAC_256: Final = 5
SIGNATURES_MAX: Final = 16
FIELDS: Final = 4  # of each of the three messages
MAC_BYTES: Final = 32
MAC_HEAD: Final = b"\x58\x20"  # a byte string of 32 bytes follows
BYTE_STRINGS: Final = ((1, 1 + 23), (2, 2 + 0xFF), (3, 3 + 0xFFFF))  # (head, most with its bytes)

Header = dict[Any, Any]


def _signature_header(role: TrustRole, key: SigningKey) -> Header:
    return {ALGORITHM: EDDSA, KEY_ID: key.id, ROLE: role.name.lower()}


def sign1(payload: bytes, *, content_type: str, role: TrustRole, key: SigningKey) -> bytes:
    """COSE_Sign1 around `payload`."""
    protected = dumps(_signature_header(role, key) | {CONTENT_TYPE: content_type})
    signature = key.sign(dumps(["Signature1", protected, b"", payload]))
    return dumps(cbor2.CBORTag(TAG_SIGN1, [protected, {}, payload, signature]))


def verify1(data: bytes, *, content_type: str, role: TrustRole, keys: Iterable[bytes]) -> bytes:
    """The payload of a COSE_Sign1 that one of `keys` (raw public) signed in that role.

    Raises DecodeError for other bytes, TrustError for another key, role or content type.
    """
    protected, payload, signature = _open(data, TAG_SIGN1, "COSE_Sign1")
    header = _header(protected, "COSE_Sign1")
    _require(header, {CONTENT_TYPE: content_type}, content_type)
    public = _signer(header, role, keys, content_type)
    _check_signature(public, signature, ["Signature1", protected, b"", payload], content_type)
    return bytes(payload)


def sign(
    payload: bytes,
    *,
    content_type: str,
    role: TrustRole,
    keys: Sequence[SigningKey],
    is_detached: bool = False,
) -> bytes:
    """COSE_Sign with one signature per key; detached leaves the payload out of the result."""
    body = dumps({CONTENT_TYPE: content_type})
    signatures = [_one_signature(body, payload, role, key) for key in keys]
    return _sign_message(body, None if is_detached else payload, signatures)


def add_signature(data: bytes, payload: bytes, *, role: TrustRole, key: SigningKey) -> bytes:
    """`data` (COSE_Sign over `payload`) with one more signature; replaces one by the same key."""
    body, attached, signatures = _open(data, TAG_SIGN, "COSE_Sign")
    kept = [list(s) for s in signatures if _header(s[0], "signature").get(KEY_ID) != key.id]
    return _sign_message(body, attached, [*kept, _one_signature(body, payload, role, key)])


def merge_signatures(first: bytes, second: bytes) -> bytes:
    """All signatures of two COSE_Sign over the same payload, in order, without repetition."""
    body, attached, signatures = _open(first, TAG_SIGN, "COSE_Sign")
    other_body, _, more = _open(second, TAG_SIGN, "COSE_Sign")
    if body != other_body:
        raise TrustError("signatures over different content types cannot be joined")
    joined = [list(s) for s in signatures]
    joined += [list(s) for s in more if list(s) not in joined]
    return _sign_message(body, attached, joined)


def verify(
    data: bytes,
    *,
    content_type: str,
    role: TrustRole,
    keys: Iterable[bytes],
    threshold: int,
    payload: bytes | None = None,
) -> bytes:
    """The payload of a COSE_Sign that at least `threshold` distinct keys of the role signed.

    `payload` is given for a detached signature. Signatures by keys or roles other than the given
    ones are passed over (a root carries its predecessor's too). Raises DecodeError or TrustError.
    """
    body, attached, signatures = _open(data, TAG_SIGN, "COSE_Sign")
    _require(_header(body, "COSE_Sign"), {CONTENT_TYPE: content_type}, content_type)
    if (attached is None) == (payload is None):
        raise DecodeError(f"{content_type}: the payload must be given exactly once")
    signed: bytes = attached if payload is None else payload
    signers = _signers(body, signed, signatures, role, {key_id(k): k for k in keys}, content_type)
    if len(signers) < threshold:
        raise TrustError(
            f"{content_type}: {len(signers)} valid {role.name.lower()} signatures, "
            f"{threshold} are needed",
            Code.THRESHOLD,
        )
    return signed


def signer_ids(data: bytes) -> tuple[bytes, ...]:
    """The key ids that a COSE_Sign claims, unverified, for display."""
    _, _, signatures = _open(data, TAG_SIGN, "COSE_Sign")
    return tuple(_header(s[0], "signature").get(KEY_ID, b"") for s in signatures)


def mac0(payload: bytes, *, content_type: str, key: bytes) -> bytes:
    """COSE_Mac0 around `payload` with HMAC-SHA-256."""
    frame = _mac_frame(content_type)
    body = dumps(payload)
    tag = hmac.digest(key, frame.authenticated + body, sha256)
    return frame.begin + body + MAC_HEAD + tag


def verify_mac0(data: bytes, *, content_type: str, key: bytes) -> bytes:
    """The payload of a COSE_Mac0 made with `key`. Raises DecodeError or TrustError.

    What `mac0` makes has one possible place for its payload: it is cut out there, and what
    `mac0` would have put around it is compared. All else is read as any other COSE message.
    """
    frame = _mac_frame(content_type)
    begin, end = len(frame.begin), len(data) - MAC_BYTES - len(MAC_HEAD)
    payload = data[begin + _head_bytes_within(end - begin) : end]
    body = dumps(payload)
    if len(data) > SIZE_BYTES_MAX or data[:-MAC_BYTES] != frame.begin + body + MAC_HEAD:
        return _verify_unusual_mac0(data, content_type, key)
    _check_mac(frame.authenticated + body, key, data[-MAC_BYTES:], content_type)
    return payload


def _verify_unusual_mac0(data: bytes, content_type: str, key: bytes) -> bytes:
    protected, payload, tag = _open(data, TAG_MAC0, "COSE_Mac0")
    wanted = {ALGORITHM: HMAC_256, CONTENT_TYPE: content_type}
    _require(_header(protected, "COSE_Mac0"), wanted, content_type)
    _check_mac(dumps(["MAC0", protected, b"", payload]), key, tag, content_type)
    return bytes(payload)


def _check_mac(structure: bytes, key: bytes, tag: bytes, what: str) -> None:
    if not hmac.compare_digest(hmac.digest(key, structure, sha256), tag):
        raise TrustError(f"{what}: its authentication code is wrong")


def unverified_payload(data: bytes) -> bytes:
    """What a COSE message carries, believed by nobody: for display and for routing only."""
    item = loads(data, what="COSE message")
    if not isinstance(item, cbor2.CBORTag) or item.tag not in (TAG_SIGN1, TAG_SIGN, TAG_MAC0):
        raise DecodeError("COSE message: not a Sign1, Sign or Mac0")
    payload = _open(data, item.tag, "COSE message")[1]
    if not isinstance(payload, bytes):
        raise DecodeError("COSE message: its payload is detached")
    return payload


def _one_signature(body: bytes, payload: bytes, role: TrustRole, key: SigningKey) -> list[Any]:
    protected = dumps(_signature_header(role, key))
    structure = ["Signature", body, protected, b"", payload]
    return [protected, {}, key.sign(dumps(structure))]


def _sign_message(body: bytes, payload: bytes | None, signatures: list[list[Any]]) -> bytes:
    return dumps(cbor2.CBORTag(TAG_SIGN, [body, {}, payload, signatures]))


@dataclass(frozen=True, slots=True)
class _MacFrame:
    """What stands before the payload of one content type: in the message, and in what is hashed."""

    begin: bytes
    authenticated: bytes


@cache
def _mac_frame(content_type: str) -> _MacFrame:
    protected = dumps({ALGORITHM: HMAC_256, CONTENT_TYPE: content_type})
    message = dumps(cbor2.CBORTag(TAG_MAC0, [protected, {}, 0, 0]))
    return _MacFrame(message[:-2], dumps(["MAC0", protected, b"", 0])[:-1])


def _head_bytes_within(size: int) -> int:
    """How long the head of a byte string is that takes `size` bytes with its head."""
    return next((head for head, most in BYTE_STRINGS if size <= most), 5)


def _open(data: bytes, tag: int, what: str) -> tuple[bytes, Any, Any]:
    """(protected, payload, rest) of a tagged COSE array with an empty unprotected header."""
    item = loads(data, what=what)
    if not isinstance(item, cbor2.CBORTag) or item.tag != tag:
        raise DecodeError(f"{what}: tag {getattr(item, 'tag', 'missing')}, must be {tag}")
    fields = item.value
    if not isinstance(fields, (list, tuple)) or len(fields) != FIELDS:
        raise DecodeError(f"{what}: must be an array of {FIELDS}")
    protected, unprotected, payload, rest = fields
    if not isinstance(protected, bytes) or not _is_empty_map(unprotected):
        raise DecodeError(f"{what}: its protected header must be bytes, the other one empty")
    _check_shapes(payload, rest, tag, what)
    return protected, payload, rest


def _is_empty_map(value: Any) -> bool:
    return isinstance(value, Mapping) and not value


def _check_shapes(payload: Any, rest: Any, tag: int, what: str) -> None:
    if tag != TAG_SIGN:
        if not isinstance(payload, bytes) or not isinstance(rest, bytes):
            raise DecodeError(f"{what}: payload and signature must be bytes")
        return
    if payload is not None and not isinstance(payload, bytes):
        raise DecodeError(f"{what}: payload must be bytes or null")
    if not isinstance(rest, (list, tuple)) or not 0 < len(rest) <= SIGNATURES_MAX:
        raise DecodeError(f"{what}: must hold 1 to {SIGNATURES_MAX} signatures")
    for one in rest:
        holds = isinstance(one, (list, tuple)) and len(one) == 3 and _is_empty_map(one[1])
        if not holds or not isinstance(one[0], bytes) or not isinstance(one[2], bytes):
            raise DecodeError(f"{what}: a signature must be [bytes, {{}}, bytes]")


def _header(protected: bytes, what: str) -> Header:
    header = loads(protected, what=f"{what} header", size_max=1024)
    if not isinstance(header, dict):
        raise DecodeError(f"{what}: its protected header must be a map")
    return header


def _require(header: Header, wanted: Header, what: str) -> None:
    for label, value in wanted.items():
        if header.get(label) != value:
            raise TrustError(
                f"{what}: header {label} is {header.get(label)!r}, must be {value!r}",
                Code.WRONG_ROLE,
            )


def _signer(header: Header, role: TrustRole, keys: Iterable[bytes], what: str) -> bytes:
    """The raw public key that the header names, if it holds the role."""
    _require(header, {ALGORITHM: EDDSA, ROLE: role.name.lower()}, what)
    for public in keys:
        if key_id(public) == header.get(KEY_ID):
            return public
    raise TrustError(f"{what}: signed by a key that is no {role.name.lower()} key")


def _signers(
    body: bytes,
    payload: bytes,
    signatures: Sequence[Any],
    role: TrustRole,
    keys: dict[bytes, bytes],
    what: str,
) -> set[bytes]:
    """The distinct public keys among `keys` that signed in the role."""
    signers = set()
    for protected, _, signature in signatures:
        header = _header(protected, "signature")
        public = keys.get(header.get(KEY_ID, b""))
        if public is None or header.get(ROLE) != role.name.lower():
            continue
        _require(header, {ALGORITHM: EDDSA}, what)
        structure = ["Signature", body, protected, b"", payload]
        _check_signature(public, signature, structure, what)
        signers.add(public)
    return signers


def _check_signature(public: bytes, signature: bytes, structure: list[Any], what: str) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, dumps(structure))
    except (InvalidSignature, ValueError) as error:
        raise TrustError(f"{what}: signature of key {key_id(public).hex()} is wrong") from error
