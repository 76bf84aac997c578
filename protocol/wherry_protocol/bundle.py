"""`NAME-VERSION.wherry`: a manifest, its signatures and its blobs in one canonical tar file.

Rules:
1. Members, in this order: `manifest.cbor`, `signatures.cose` (if signed),
   `image-signatures.cbor` (if signed for microcontrollers), then `blobs/<sha256 hex>`, sorted.
2. A bundle file has one form: writing what was read gives the same bytes. So links, absolute
   names, `..`, duplicates, other cases, times, owners and trailing bytes are all refused.
3. The manifest names every blob with its digest and size; nothing is missing, nothing is extra.
4. Nothing is compressed, and a member's size is checked before it is read.
"""

import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from wherry_protocol.codec import Nested, Sequence, decode, encode, field, instruction
from wherry_protocol.errors import Code, DecodeError, TrustError
from wherry_protocol.manifest import Blob, Manifest, Role
from wherry_protocol.messages.desired import ImageSignature
from wherry_protocol.messages.limits import BLOB_BYTES_MAX, MANIFEST_BYTES_MAX

BUNDLE_BYTES_MAX: Final = 2 << 30
BLOCK: Final = 512
MANIFEST: Final = "manifest.cbor"
SIGNATURES: Final = "signatures.cose"
IMAGE_SIGNATURES: Final = "image-signatures.cbor"
BLOB: Final = re.compile(r"blobs/([0-9a-f]{64})")
SIZE_MAX: Final = {MANIFEST: MANIFEST_BYTES_MAX, SIGNATURES: 8192, IMAGE_SIGNATURES: 8192}


@instruction("wherry-image-signatures")
class ImageSignatures:
    """Release signatures over a microcontroller image's SHA-256."""

    signatures: tuple[ImageSignature, ...] = field(1, Sequence(Nested(ImageSignature), 16))


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in memory. `signatures` is a detached COSE_Sign, empty while unsigned."""

    manifest_bytes: bytes
    signatures: bytes
    image_signatures: tuple[ImageSignature, ...]
    blobs: Mapping[bytes, bytes]  # by SHA-256

    @property
    def manifest(self) -> Manifest:
        return decode(Manifest, self.manifest_bytes, size_max=MANIFEST_BYTES_MAX)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the manifest: the bundle's identity."""
        return sha256(self.manifest_bytes).digest()

    def pieces(self, role: Role) -> bytes:
        """The blobs of a role, one after the other in manifest order."""
        return b"".join(self.blobs[b.digest] for b in self.manifest.blobs if b.role == role)


def program_image(bundle: Bundle) -> bytes:
    """The program as the engine runs it. Raises TrustError(DIGEST) if it is not what was signed."""
    image = bundle.pieces(Role.PROGRAM)
    if sha256(image).digest() != bundle.manifest.program_digest:
        raise TrustError("the program pieces do not add up to the program digest", Code.DIGEST)
    return image


def check_blobs(manifest: Manifest, blobs: Mapping[bytes, bytes]) -> None:
    """Every blob of the manifest, exactly, and no other. Raises DecodeError or TrustError."""
    for blob in manifest.blobs:
        if blob.digest not in blobs:
            raise DecodeError(f"blob {blob.name} ({blob.digest.hex()}) is missing", Code.CONTAINER)
        _check_blob(blob, blobs[blob.digest])
    extra = blobs.keys() - {blob.digest for blob in manifest.blobs}
    if extra:
        raise DecodeError(f"blob {min(extra).hex()} is not in the manifest", Code.CONTAINER)


def _check_blob(blob: Blob, content: bytes) -> None:
    if len(content) != blob.size_bytes:
        raise TrustError(
            f"blob {blob.name}: {len(content)} bytes, the manifest says {blob.size_bytes}",
            Code.DIGEST,
        )
    if sha256(content).digest() != blob.digest:
        raise TrustError(f"blob {blob.name}: its bytes are not {blob.digest.hex()}", Code.DIGEST)


def write_bundle(bundle: Bundle) -> bytes:
    """The bundle's one file form. Raises DecodeError or TrustError where its parts do not fit."""
    check_blobs(bundle.manifest, bundle.blobs)
    members = {MANIFEST: bundle.manifest_bytes}
    if bundle.signatures:
        members[SIGNATURES] = bundle.signatures
    if bundle.image_signatures:
        members[IMAGE_SIGNATURES] = encode(ImageSignatures(signatures=bundle.image_signatures))
    for digest in sorted(bundle.blobs):
        members[f"blobs/{digest.hex()}"] = bundle.blobs[digest]
    out = io.BytesIO()
    for name, content in members.items():
        out.write(_header(name, len(content)))
        out.write(content + bytes(-len(content) % BLOCK))
    return out.getvalue() + bytes(2 * BLOCK)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def read_bundle(data: bytes) -> Bundle:
    """The bundle in a file's bytes. Raises DecodeError(CONTAINER) or TrustError(DIGEST)."""
    if len(data) > BUNDLE_BYTES_MAX:
        raise DecodeError(
            f"bundle: {len(data)} bytes, at most {BUNDLE_BYTES_MAX}", Code.OUT_OF_BOUNDS
        )
    if not data:
        raise DecodeError("bundle: the file is empty", Code.CONTAINER)
    members: dict[str, bytes] = {}
    for name, content in _members(data):
        if name in members:
            raise DecodeError(f"bundle: member {name!r} is there twice", Code.CONTAINER)
        members[name] = content
    bundle = _assemble(members)
    if write_bundle(bundle) != data:
        raise DecodeError(
            "bundle: not in canonical form (order, times, owners or trailing bytes)",
            Code.CONTAINER,
        )
    return bundle


def _assemble(members: Mapping[str, bytes]) -> Bundle:
    if MANIFEST not in members:
        raise DecodeError(f"bundle: {MANIFEST} is missing", Code.CONTAINER)
    image_signatures: tuple[ImageSignature, ...] = ()
    if IMAGE_SIGNATURES in members:
        image_signatures = decode(ImageSignatures, members[IMAGE_SIGNATURES]).signatures
    blobs = {}
    for name, content in members.items():
        matched = BLOB.fullmatch(name)
        if matched:
            blobs[bytes.fromhex(matched[1])] = content
    return Bundle(members[MANIFEST], members.get(SIGNATURES, b""), image_signatures, blobs)


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Each (name, content), with name, type and size checked before the content is touched."""
    offset = 0
    while data[offset : offset + BLOCK].strip(b"\0"):
        name, size = _checked_header(data[offset : offset + BLOCK], len(data) - offset - BLOCK)
        offset += BLOCK
        yield name, data[offset : offset + size]
        offset += size + -size % BLOCK
    if len(data) - offset != 2 * BLOCK:
        raise DecodeError(
            f"bundle: {len(data) - offset} bytes after the last member, must be {2 * BLOCK}",
            Code.CONTAINER,
        )


def _checked_header(block: bytes, rest: int) -> tuple[str, int]:
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError, ValueError) as error:
        raise DecodeError(f"bundle: not a tar member ({error})", Code.CONTAINER) from error
    if info.type != tarfile.REGTYPE:
        raise DecodeError(f"bundle: member {info.name!r} is not a plain file", Code.CONTAINER)
    size_max = SIZE_MAX.get(info.name, BLOB_BYTES_MAX if BLOB.fullmatch(info.name) else None)
    if size_max is None:
        raise DecodeError(f"bundle: member {info.name!r} does not belong here", Code.CONTAINER)
    if not 0 <= info.size <= min(size_max, rest):
        raise DecodeError(
            f"bundle: member {info.name!r} says {info.size} bytes, "
            f"at most {min(size_max, max(rest, 0))} are possible",
            Code.CONTAINER,
        )
    return info.name, info.size
