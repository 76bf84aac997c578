"""Images in MCUboot's format: a program that a microcontroller may run, and who vouches for it.

Rules, in order:
1. An image is header | payload | protected TLVs (ours have none) | TLVs. Its digest is the SHA-256
   of everything before the unprotected TLVs.
2. Each signer signs the 32-byte digest with Ed25519 and leaves two TLVs: KEYHASH, the SHA-256 of
   the public key as SubjectPublicKeyInfo, then ED25519, the signature.
3. An image is trusted when at least `threshold` different keys of the given ones signed it; a key
   that signed twice counts once, a signature by a stranger counts nothing.
4. The header is 32 bytes, so that a payload in a slot keeps the slot's alignment of 16.

The stages: `make_header` when a bundle is packaged, `sign_digest` with each release key,
`assemble_image` at the gateway. imgtool makes and accepts the same images.

Source: MCUboot, docs/design.md; imgtool's image.py.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from wherry_protocol.errors import Code, DecodeError, LimitError, TrustError
from wherry_protocol.keys import SigningKey
from wherry_protocol.messages.desired import ImageSignature

MAGIC: Final = 0x96F3B83D
HEADER_BYTES: Final = 32
TLV_MAGIC: Final = 0x6907
PROTECTED_TLV_MAGIC: Final = 0x6908
TLV_KEYHASH: Final = 0x01
TLV_SHA256: Final = 0x10
TLV_ED25519: Final = 0x24
SIGNERS_MAX: Final = 8
PAYLOAD_BYTES_MAX: Final = 1 << 24

_HEADER: Final = struct.Struct("<IIHHIIBBHII")
_TLV: Final = struct.Struct("<HH")
_SPKI_PREFIX: Final = bytes.fromhex("302a300506032b6570032100")


@dataclass(frozen=True, slots=True, order=True)
class ImageVersion:
    """MAJOR.MINOR.REVISION+BUILD: 8, 8, 16 and 32 bits."""

    major: int
    minor: int
    revision: int
    build: int = 0

    def __post_init__(self) -> None:
        for name, limit in (("major", 255), ("minor", 255), ("revision", 65535)):
            value = getattr(self, name)
            if not 0 <= value <= limit:
                raise LimitError(f"image version: {name} is {value}, must be 0 to {limit}")
        if not 0 <= self.build <= 0xFFFF_FFFF:
            raise LimitError(f"image version: build is {self.build}, must be 0 to 4294967295")

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.revision}"
        return f"{text}.{self.build}" if self.build else text


@dataclass(frozen=True, slots=True)
class Image:
    """A parsed image, not verified. `signatures` are (key hash, signature) in their order."""

    version: ImageVersion
    payload: bytes
    digest: bytes  # computed, SHA-256 of header, payload and protected TLVs
    stated_digest: bytes  # the SHA256 TLV's
    signatures: tuple[tuple[bytes, bytes], ...]


def key_hash(public: bytes) -> bytes:
    """What a KEYHASH TLV holds: SHA-256 of a raw 32-byte Ed25519 key's SubjectPublicKeyInfo."""
    return sha256(_SPKI_PREFIX + public).digest()


def make_header(payload_bytes: int, version: ImageVersion) -> bytes:
    """The 32 bytes in front of a payload. Raises LimitError for one that is empty or too large."""
    if not 0 < payload_bytes <= PAYLOAD_BYTES_MAX:
        raise LimitError(
            f"image: payload of {payload_bytes} bytes, must be 1 to {PAYLOAD_BYTES_MAX}"
        )
    return _HEADER.pack(
        MAGIC, 0, HEADER_BYTES, 0, payload_bytes, 0,
        version.major, version.minor, version.revision, version.build, 0,
    )  # fmt: skip


def image_digest(header: bytes, payload: bytes) -> bytes:
    """What the release keys sign: 32 bytes."""
    return sha256(header + payload).digest()


def sign_digest(key: SigningKey, digest: bytes) -> ImageSignature:
    """One signer's word for an image."""
    return ImageSignature(key=key.public, signature=key.sign(digest))


def assemble_image(header: bytes, payload: bytes, signatures: Iterable[ImageSignature]) -> bytes:
    """The image as it is uploaded: header, payload, SHA256, then KEYHASH and ED25519 per signer."""
    records = [(TLV_SHA256, image_digest(header, payload))]
    for signature in signatures:
        records += [(TLV_KEYHASH, key_hash(signature.key)), (TLV_ED25519, signature.signature)]
    if len(records) > 1 + 2 * SIGNERS_MAX:
        raise LimitError(f"image: {len(records) // 2} signers, at most {SIGNERS_MAX} are allowed")
    tlvs = b"".join(_TLV.pack(kind, len(value)) + value for kind, value in records)
    return header + payload + _TLV.pack(TLV_MAGIC, _TLV.size + len(tlvs)) + tlvs


def build_image(payload: bytes, version: ImageVersion, keys: Iterable[SigningKey]) -> bytes:
    """All stages at once."""
    header = make_header(len(payload), version)
    digest = image_digest(header, payload)
    return assemble_image(header, payload, (sign_digest(key, digest) for key in keys))


def parse_image(data: bytes) -> Image:
    """The parts of an image. Raises DecodeError for what does not have MCUboot's form."""
    header_bytes, protected_bytes, payload_bytes, version = _parse_header(data)
    payload_end = header_bytes + payload_bytes
    if protected_bytes:
        _records(data, payload_end, PROTECTED_TLV_MAGIC, exactly=protected_bytes)
    hashed_end = payload_end + protected_bytes
    records, end = _records(data, hashed_end, TLV_MAGIC)
    if data[end:].strip(b"\xff"):
        raise DecodeError(f"image: {len(data) - end} bytes follow its TLVs")
    return Image(
        version=version,
        payload=data[header_bytes:payload_end],
        digest=sha256(data[:hashed_end]).digest(),
        stated_digest=_stated_digest(records),
        signatures=_signatures(records),
    )


def verify_image(data: bytes, keys: Sequence[bytes], threshold: int) -> Image:
    """The image, if `threshold` different keys (raw, 32 bytes) of `keys` vouch for it.

    Raises DecodeError for its form, TrustError for its digest or signatures.
    """
    image = parse_image(data)
    if image.digest != image.stated_digest:
        raise TrustError("image: its SHA-256 is not what its SHA256 TLV states", Code.DIGEST)
    by_hash = {key_hash(key): key for key in keys}
    signers = {
        by_hash[name]
        for name, signature in image.signatures
        if name in by_hash and _is_signed(by_hash[name], signature, image.digest)
    }
    if len(signers) < max(threshold, 1):
        raise TrustError(
            f"image: {len(signers)} trusted signers, {max(threshold, 1)} are needed",
            Code.THRESHOLD,
        )
    return image


def _parse_header(data: bytes) -> tuple[int, int, int, ImageVersion]:
    if len(data) < HEADER_BYTES:
        raise DecodeError(f"image: {len(data)} bytes, its header alone has {HEADER_BYTES}")
    magic, _load, header_bytes, protected, payload_bytes, flags, *version, _pad = (
        _HEADER.unpack_from(data)
    )
    if magic != MAGIC:
        raise DecodeError(f"image: magic is {magic:#010x}, must be {MAGIC:#010x}")
    if header_bytes < HEADER_BYTES or flags:
        raise DecodeError(
            f"image: header of {header_bytes} bytes with flags {flags:#x}; at least {HEADER_BYTES}"
            " bytes and no flags are supported",
            Code.UNSUPPORTED_FORMAT,
        )
    if header_bytes + payload_bytes + protected + _TLV.size > len(data):
        raise DecodeError(f"image: {len(data)} bytes, cut off before its TLVs")
    return header_bytes, protected, payload_bytes, ImageVersion(*version)


def _records(
    data: bytes, at: int, magic: int, exactly: int | None = None
) -> tuple[list[tuple[int, bytes]], int]:
    if at + _TLV.size > len(data):
        raise DecodeError(f"image: {len(data)} bytes, cut off before its TLVs")
    found, total = _TLV.unpack_from(data, at)
    end = at + total
    if found != magic or total < _TLV.size or end > len(data) or total != (exactly or total):
        raise DecodeError(f"image: no valid TLV area {magic:#x} at byte {at}")
    records = []
    at += _TLV.size
    while at < end:
        if at + _TLV.size > end:
            raise DecodeError(f"image: TLV at byte {at} is cut off")
        kind, size = _TLV.unpack_from(data, at)
        at += _TLV.size
        if at + size > end:
            raise DecodeError(f"image: TLV {kind:#x} at byte {at - _TLV.size} leaves its area")
        records.append((kind, data[at : at + size]))
        at += size
    return records, end


def _stated_digest(records: Sequence[tuple[int, bytes]]) -> bytes:
    digests = [value for kind, value in records if kind == TLV_SHA256]
    if len(digests) != 1 or len(digests[0]) != 32:
        raise DecodeError(f"image: {len(digests)} SHA256 TLVs, must be one of 32 bytes")
    return digests[0]


def _signatures(records: Sequence[tuple[int, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """Each ED25519 TLV belongs to the KEYHASH before it."""
    found = []
    name = b""
    for kind, value in records:
        if kind == TLV_KEYHASH:
            name = value
        elif kind == TLV_ED25519:
            found.append((name, value))
            name = b""
    return tuple(found)


def _is_signed(key: bytes, signature: bytes, digest: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, digest)
    except (InvalidSignature, ValueError):
        return False
    return True
