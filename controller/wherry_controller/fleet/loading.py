"""How many bytes a rollout would bring to the broker, and to devices."""

from collections import Counter
from typing import Any

from wherry_protocol.blobs import chunk_count
from wherry_protocol.messages.limits import CHUNK_BYTES

from wherry_controller.core.rollouts import Rollout
from wherry_controller.core.rollouts.members import MemberPhase
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import chunks, devices, registry
from wherry_controller.store.registry import BlobRow


def load(org: Organization, rollout: Rollout) -> dict[str, Any]:
    """Bytes: of the bundle, still to be published (once, whatever the fleet's size), and to be
    fetched by devices, where layers that a device serves already are not fetched again."""
    wanted = registry.blobs_of(org.db, rollout.digest)
    units = {u for u, m in rollout.members.items() if m.phase is not MemberPhase.SKIPPED}
    serving = Counter(
        row.active_digest
        for row in devices.all_models(org.db)
        if row.model == rollout.model and f"{row.connection}/{row.unit}" in units
    )
    serving[None] += len(units) - serving.total()
    fetched = {digest: _missing_bytes(org, wanted, digest) for digest in serving}
    return {
        "bundle_bytes": sum(blob.size_bytes for blob in wanted),
        "publish_bytes": sum(_unpublished_bytes(org, blob) for blob in wanted),
        "fetch_bytes": sum(fetched[digest] * count for digest, count in serving.items()),
        "fetch_bytes_per_unit_max": max((fetched[d] for d in +serving), default=0),
    }


def _missing_bytes(org: Organization, wanted: list[BlobRow], serving: bytes | None) -> int:
    held = set()
    if serving is not None and registry.find_bundle(org.db, serving) is not None:
        held = {blob.digest for blob in registry.blobs_of(org.db, serving)}
    return sum(blob.size_bytes for blob in wanted if blob.digest not in held)


def _unpublished_bytes(org: Organization, blob: BlobRow) -> int:
    published = chunks.published_indices(org.db, blob.digest)
    left = [n for n in range(chunk_count(blob.size_bytes)) if n not in published]
    return sum(min(CHUNK_BYTES, blob.size_bytes - n * CHUNK_BYTES) for n in left)
