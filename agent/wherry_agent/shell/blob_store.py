"""Blobs and program images on disk, each named by its SHA-256.

Rules:
1. `blobs/<digest>` and `images/<digest>` are whole and durable: a file gets such a name only
   after its bytes were hashed, and it is hashed again before it runs.
2. `parts/<digest>` is a blob under way; `parts/<digest>.map` lists its chunks with a CRC each,
   appended after the chunk, so that after any cut a torn chunk is known as missing.
3. The pieces of a program are kept once, joined in the image: a later bundle that shares a layer
   takes it from there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Final
from zlib import crc32

from cryptography.hazmat.primitives.hashes import SHA256, Hash
from wherry_protocol.blobs import chunk_count, chunk_size
from wherry_protocol.codec import decode
from wherry_protocol.errors import Code, TrustError, WherryError
from wherry_protocol.manifest import Manifest, Role
from wherry_protocol.messages.limits import CHUNK_BYTES, MANIFEST_BYTES_MAX

from wherry_agent.core.effects import Wanted
from wherry_agent.core.inputs import Surveyed
from wherry_agent.shell.disk import Disk, Image, name_durably

MAP_ENTRY: Final = Struct("<II")  # chunk index, CRC-32 of its bytes
READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """Where a program blob lies inside an image."""

    image: str
    offset: int
    size_bytes: int


@dataclass(slots=True)
class BlobStore:
    """All content-addressed bytes of one agent. Used by one thread at a time."""

    disk: Disk
    pieces: dict[bytes, Piece] = field(default_factory=dict)

    def survey(self, wanted: Iterable[Wanted], *, is_content_wanted: bool) -> Surveyed:
        """What of these is here. Raises OSError."""
        blobs = tuple(wanted)
        whole = frozenset(blob.digest for blob in blobs if self._has(blob))
        contents = {}
        if is_content_wanted:
            found = ((digest, self._intact(digest)) for digest in whole)
            contents = {digest: data for digest, data in found if data is not None}
        lacking = [blob for blob in blobs if blob.digest not in whole]
        return Surveyed(
            wanted=tuple(blob.digest for blob in blobs),
            whole=whole,
            chunks={blob.digest: self._chunks(blob) for blob in lacking},
            contents=contents,
            free_bytes=self.disk.free_bytes(),
        )

    def _has(self, blob: Wanted) -> bool:
        piece = self.pieces.get(blob.digest)
        if piece is not None and self.disk.size(piece.image) is not None:
            return True
        return self.disk.size(_blob(blob.digest)) == blob.size_bytes

    def _intact(self, digest: bytes) -> bytes | None:
        data = self.disk.read(_blob(digest))
        return data if sha256(data) == digest else None

    def _chunks(self, blob: Wanted) -> frozenset[int]:
        """The chunks of an unfinished blob whose bytes are on disk as they came."""
        name = _part(blob.digest)
        if self.disk.size(name) is None or self.disk.size(f"{name}.map") is None:
            return frozenset()
        entries = self.disk.read(f"{name}.map")
        usable = len(entries) - len(entries) % MAP_ENTRY.size
        count = chunk_count(blob.size_bytes)
        have = set()
        for index, crc in MAP_ENTRY.iter_unpack(entries[:usable]):
            if index < count and index not in have:
                size = chunk_size(blob.size_bytes, index)
                data = self.disk.read_at(name, index * CHUNK_BYTES, size)
                if len(data) == size and crc32(data) == crc:
                    have.add(index)
        return frozenset(have)

    def keep_chunk(self, digest: bytes, index: int, data: bytes) -> None:
        """Write a chunk to its place. Raises OSError."""
        name = _part(digest)
        self.disk.write(name, data, index * CHUNK_BYTES)
        size = self.disk.size(f"{name}.map") or 0
        entry = MAP_ENTRY.pack(index, crc32(data))
        self.disk.write(f"{name}.map", entry, size - size % MAP_ENTRY.size)

    def keep_blob(self, digest: bytes, data: bytes) -> None:
        """A small blob, whole and verified by the caller. Raises OSError."""
        if self.disk.size(_blob(digest)) != len(data) or self._intact(digest) is None:
            self.disk.write(f"{_blob(digest)}.new", data)
            name_durably(self.disk, f"{_blob(digest)}.new", _blob(digest), "blobs")

    def finish(self, digest: bytes, size_bytes: int) -> bool:
        """Hash a blob whose chunks are all here; False (and gone) if it is not what it claims."""
        name = _part(digest)
        is_intact = self.disk.size(name) == size_bytes and self._hash(name) == digest
        if is_intact:
            name_durably(self.disk, name, _blob(digest), "blobs")
        else:
            self.disk.unlink(name)
        self.disk.unlink(f"{name}.map")
        return is_intact

    def _hash(self, name: str) -> bytes:
        digest = Hash(SHA256())
        offset = 0
        while data := self.disk.read_at(name, offset, READ_BYTES):
            digest.update(data)
            offset += len(data)
        return digest.finalize()

    def assemble(self, manifest: Manifest) -> None:
        """Join the program's pieces into its image. Raises TrustError(DIGEST), OSError."""
        name = _image(manifest.program_digest)
        if self.disk.size(name) is None or self._hash(name) != manifest.program_digest:
            self._join(manifest, name)
        self._know_pieces(manifest)
        for blob in manifest.blobs:
            if blob.role is Role.PROGRAM:
                self.disk.unlink(_blob(blob.digest))

    def _join(self, manifest: Manifest, name: str) -> None:
        new = f"{name}.new"
        digest = Hash(SHA256())
        offset = 0
        self.disk.write(new, b"")
        for blob in manifest.blobs:
            if blob.role is Role.PROGRAM:
                data = self.read_blob(blob.digest)
                digest.update(data)
                self.disk.write(new, data, offset)
                offset += len(data)
        if digest.finalize() != manifest.program_digest:
            self.disk.unlink(new)
            raise TrustError(
                f"{manifest.model} {manifest.version}: its pieces do not add up to the program "
                "digest",
                Code.DIGEST,
            )
        name_durably(self.disk, new, name, "images")

    def _know_pieces(self, manifest: Manifest) -> None:
        offset = 0
        name = _image(manifest.program_digest)
        for blob in manifest.blobs:
            if blob.role is Role.PROGRAM:
                self.pieces[blob.digest] = Piece(name, offset, blob.size_bytes)
                offset += blob.size_bytes

    def read_blob(self, digest: bytes) -> bytes:
        """A verified blob's bytes, from its file or out of an image.

        Raises FileNotFoundError, TrustError(DIGEST).
        """
        piece = self.pieces.get(digest)
        if self.disk.size(_blob(digest)) is None and piece is not None:
            data = self.disk.read_at(piece.image, piece.offset, piece.size_bytes)
        else:
            data = self.disk.read(_blob(digest))
        if sha256(data) != digest:
            raise TrustError(f"blob {digest.hex()}: damaged on disk", Code.DIGEST)
        return data

    def open_image(self, manifest: Manifest) -> Image:
        """The program, mapped; what is mapped was hashed. Raises TrustError(DIGEST), OSError."""
        image = self.disk.image(_image(manifest.program_digest))
        if sha256(image) != manifest.program_digest:
            raise TrustError(
                f"{manifest.model} {manifest.version}: the image is damaged on disk", Code.DIGEST
            )
        return image

    def pieces_of(self, manifest: Manifest, role: Role) -> bytes:
        """All blobs of a role, joined. Raises FileNotFoundError, TrustError."""
        return b"".join(self.read_blob(b.digest) for b in manifest.blobs if b.role is role)

    def intact_manifests(self, digests: Iterable[bytes]) -> Mapping[bytes, Manifest]:
        """At boot: the bundles whose every byte is there and hashes, by manifest digest."""
        found = {}
        for digest in digests:
            try:
                data = self.read_blob(digest)
                manifest = decode(Manifest, data, size_max=MANIFEST_BYTES_MAX)
                self.open_image(manifest)
                self._know_pieces(manifest)
                for blob in manifest.blobs:
                    if blob.role is not Role.PROGRAM:
                        self.read_blob(blob.digest)
            except (OSError, WherryError):
                continue
            found[digest] = manifest
        return found

    def collect(self, manifest_digests: Iterable[bytes]) -> None:
        """Remove what none of these bundles needs. Raises OSError; where a manifest cannot be read
        for now, nothing is removed."""
        manifests = {}
        for digest in manifest_digests:
            try:
                data = self.read_blob(digest)
                manifests[digest] = decode(Manifest, data, size_max=MANIFEST_BYTES_MAX)
            except (FileNotFoundError, WherryError):
                continue  # not here yet, or damaged: there is nothing of it to keep
        blobs = {blob.digest.hex() for one in manifests.values() for blob in one.blobs}
        images = {f"images/{one.program_digest.hex()}" for one in manifests.values()}
        images |= {piece.image for digest, piece in self.pieces.items() if digest.hex() in blobs}
        kept = {
            "blobs": blobs | {digest.hex() for digest in manifests},
            "parts": blobs | {f"{digest}.map" for digest in blobs},
            "images": {name.removeprefix("images/") for name in images},
        }
        for folder, names in kept.items():
            for name in self.disk.names(folder):
                if name not in names:
                    self.disk.unlink(f"{folder}/{name}")
        self.pieces = {d: piece for d, piece in self.pieces.items() if piece.image in images}


def sha256(data: Image) -> bytes:
    """SHA-256 by `cryptography`, which uses the processor's instructions in any case."""
    digest = Hash(SHA256())
    digest.update(memoryview(data))
    return digest.finalize()


def _blob(digest: bytes) -> str:
    return f"blobs/{digest.hex()}"


def _part(digest: bytes) -> str:
    return f"parts/{digest.hex()}"


def _image(digest: bytes) -> str:
    return f"images/{digest.hex()}"
