"""The registry's door: a pushed bundle is checked whole before anything of it is kept.

Rules, in order: the container is canonical; every blob is what the manifest pins; the release
threshold has signed; the version is new, or it is the same bundle with more signatures; the
contract is that of its neighbours of the same MAJOR version.
"""

from wherry_protocol import cose
from wherry_protocol.bundle import Bundle, ImageSignatures, program_image, read_bundle
from wherry_protocol.codec import decode, encode
from wherry_protocol.errors import NotFoundError, StateError
from wherry_protocol.manifest import Manifest
from wherry_protocol.messages.desired import ImageSignature
from wherry_protocol.trust import open_manifest
from wherry_protocol.version import Version

from wherry_controller.core.registry.bumps import check_same_contract
from wherry_controller.core.registry.gates import accuracy_of
from wherry_controller.fleet.blobs import new_blob
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import registry, versions
from wherry_controller.store.registry import BundleRow
from wherry_controller.store.versions import VersionEvent


def check(org: Organization, data: bytes) -> tuple[Bundle, Manifest]:
    """Raises DecodeError, TrustError(THRESHOLD | SIGNATURE | DIGEST)."""
    bundle = read_bundle(data)
    manifest = open_manifest(org.trust, bundle.digest, bundle.manifest_bytes, bundle.signatures)
    program_image(bundle)
    return bundle, manifest


def push(org: Organization, data: bytes, who: str, now_s: float) -> BundleRow:
    """Keep a bundle; pushing it again adds signatures. StateError where the version is taken."""
    bundle, manifest = check(org, data)
    existing = registry.find_version(org.db, manifest.model, manifest.version)
    if existing is not None:
        return _again(org, existing, bundle, who, now_s)
    version = Version.parse(manifest.version)
    _check_neighbours(org, manifest, version)
    contents = [bundle.manifest_bytes, *(bundle.blobs[blob.digest] for blob in manifest.blobs)]
    digests = []
    for content in contents:
        digest = org.vault.write(content)
        digests.append(digest)
        if registry.find_blob(org.db, digest) is None:
            registry.put_blob(org.db, new_blob(org, digest, len(content)))
    row = BundleRow(
        digest=bundle.digest,
        model=manifest.model,
        version=str(version),
        major=version.major,
        minor=version.minor,
        patch=version.patch,
        manifest=bundle.manifest_bytes,
        signatures=bundle.signatures,
        image_signatures=encode(ImageSignatures(signatures=bundle.image_signatures)),
        size_bytes=sum(len(content) for content in contents),
        pushed_s=now_s,
        pushed_by=who,
        accuracy=accuracy_of(manifest),
        trained_s=manifest.provenance.trained_at_s,
    )
    registry.put_bundle(org.db, row, digests)
    event = VersionEvent(
        None, now_s, row.model, row.version, row.digest, who, "pushed", "", row.stage,
        manifest.release_notes.partition("\n")[0][:256],
    )  # fmt: skip
    versions.put_event(org.db, event)
    org.record(now_s, who, "bundle.push", f"{row.model}:{row.version}", digest=row.digest.hex())
    return row


def _check_neighbours(org: Organization, manifest: Manifest, version: Version) -> None:
    """Raises ContractError where the contract is not the one of this MAJOR version."""
    for row in registry.bundles(org.db, manifest.model):
        if row.major == version.major:
            check_same_contract(decode(Manifest, row.manifest), manifest)
            return  # those that are there agree with each other


def _again(
    org: Organization, existing: BundleRow, bundle: Bundle, who: str, now_s: float
) -> BundleRow:
    if existing.digest != bundle.digest:
        raise StateError(
            f"{existing.model}:{existing.version} is {existing.digest.hex()} in the registry, "
            f"this bundle is {bundle.digest.hex()}; a version never changes, choose a higher one"
        )
    signatures = cose.merge_signatures(existing.signatures, bundle.signatures)
    known = decode(ImageSignatures, existing.image_signatures).signatures
    merged = {s.key: s for s in (*known, *bundle.image_signatures)}
    images = encode(ImageSignatures(signatures=tuple(merged.values())))
    if (signatures, images) != (existing.signatures, existing.image_signatures):
        registry.replace_signatures(org.db, existing.digest, signatures, images)
        subject = f"{existing.model}:{existing.version}"
        org.record(now_s, who, "bundle.sign", subject, digest=existing.digest.hex())
    return registry.bundle(org.db, existing.digest)


def image_signatures(row: BundleRow) -> tuple[ImageSignature, ...]:
    return decode(ImageSignatures, row.image_signatures).signatures


def pull(org: Organization, digest: bytes) -> Bundle:
    """The bundle as it was pushed. Raises NotFoundError, TrustError for a damaged vault."""
    row = registry.find_bundle(org.db, digest)
    if row is None:
        raise NotFoundError(f"bundle {digest.hex()} is not in the registry")
    manifest = decode(Manifest, row.manifest)
    blobs = {blob.digest: org.vault.read(blob.digest) for blob in manifest.blobs}
    return Bundle(row.manifest, row.signatures, image_signatures(row), blobs)
