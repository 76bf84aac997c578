"""Bundles, the blobs they share, and each blob's content key (sealed, never in the clear)."""

from dataclasses import dataclass

from sqlite_utils import Database
from wherry_protocol.errors import NotFoundError
from wherry_protocol.frozen import quick
from wherry_protocol.version import Version

from wherry_controller.store import rows


@quick
@dataclass(frozen=True, slots=True)
class BundleRow:
    """`signatures` is the detached COSE_Sign; `image_signatures` is CBOR, see fleet/registry."""

    digest: bytes
    model: str
    version: str
    major: int
    minor: int
    patch: int
    manifest: bytes
    signatures: bytes
    image_signatures: bytes
    size_bytes: int
    pushed_s: float
    pushed_by: str
    stage: str = "development"
    pinned_by: str = ""
    accuracy: float | None = None  # the lowest on record, as `trained_s` for queries
    trained_s: int | None = None


@dataclass(frozen=True, slots=True)
class BlobRow:
    """A blob of the vault; `size_bytes` is of the plaintext."""

    digest: bytes
    size_bytes: int
    sealed_key: bytes


def put_bundle(db: Database, row: BundleRow, blob_digests: list[bytes]) -> None:
    """Insert a bundle with its blobs in manifest order; the blobs must be there."""
    rows.put(db, "bundles", row)
    for ordinal, digest in enumerate(blob_digests):
        db.execute("INSERT INTO bundle_blobs VALUES (?, ?, ?)", (row.digest, ordinal, digest))


def replace_signatures(db: Database, digest: bytes, signatures: bytes, images: bytes) -> None:
    db.execute(
        "UPDATE bundles SET signatures = ?, image_signatures = ? WHERE digest = ?",
        (signatures, images, digest),
    )


def put_blob(db: Database, row: BlobRow) -> None:
    rows.put(db, "blobs", row)


def find_blob(db: Database, digest: bytes) -> BlobRow | None:
    return rows.one(db, BlobRow, "blobs", "WHERE digest = ?", (digest,))


def find_bundle(db: Database, digest: bytes) -> BundleRow | None:
    return rows.one(db, BundleRow, "bundles", "WHERE digest = ?", (digest,))


def bundle(db: Database, digest: bytes) -> BundleRow:
    """Raises NotFoundError."""
    found = find_bundle(db, digest)
    if found is None:
        raise NotFoundError(f"bundle {digest.hex()} is not in the registry")
    return found


def find_version(db: Database, model: str, version: str) -> BundleRow | None:
    where = "WHERE model = ? AND version = ?"
    return rows.one(db, BundleRow, "bundles", where, (model, str(Version.parse(version))))


def version(db: Database, model: str, wanted: str) -> BundleRow:
    """Raises NotFoundError, naming the versions that exist."""
    found = find_version(db, model, wanted)
    if found is None:
        known = ", ".join(row.version for row in bundles(db, model)) or "none"
        raise NotFoundError(f"{model}:{wanted} is not in the registry, versions there: {known}")
    return found


def bundles(db: Database, model: str | None = None) -> list[BundleRow]:
    """Oldest version first, ordered as numbers."""
    where = "" if model is None else "WHERE model = ? "
    args = () if model is None else (model,)
    return rows.many(db, BundleRow, "bundles", f"{where}ORDER BY model, major, minor, patch", args)


def blobs_of(db: Database, bundle_digest: bytes) -> list[BlobRow]:
    """Each blob of the bundle once, the manifest's own first."""
    found = db.execute(
        "SELECT b.digest, b.size_bytes, b.sealed_key FROM bundle_blobs l JOIN blobs b "
        "ON b.digest = l.blob_digest WHERE l.bundle_digest = ? GROUP BY b.digest "
        "ORDER BY min(l.ordinal)",
        (bundle_digest,),
    ).fetchall()
    return [BlobRow(*row) for row in found]


def delete_bundle(db: Database, digest: bytes) -> list[BlobRow]:
    """Delete a bundle; the blobs that no other bundle has, whose rows are still there."""
    had = blobs_of(db, digest)
    db.execute("DELETE FROM bundle_blobs WHERE bundle_digest = ?", (digest,))
    db.execute("DELETE FROM bundles WHERE digest = ?", (digest,))
    used = "SELECT count(*) FROM bundle_blobs WHERE blob_digest = ?"
    return [blob for blob in had if not rows.scalar(db, used, (blob.digest,))]


def delete_blob(db: Database, digest: bytes) -> None:
    """Its chunks must be gone."""
    db.execute("DELETE FROM blobs WHERE digest = ?", (digest,))


def all_blobs(db: Database) -> list[BlobRow]:
    return rows.many(db, BlobRow, "blobs", "ORDER BY digest")
