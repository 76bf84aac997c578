"""How many bytes a rollout would bring to the broker, and to devices."""

from collections import Counter
from itertools import pairwise
from typing import Any, Final

from sqlite_utils import Database
from wherry_protocol.blobs import chunk_count
from wherry_protocol.messages.limits import CHUNK_BYTES

from wherry_controller.core.rollouts import Rollout
from wherry_controller.core.rollouts.members import MemberPhase
from wherry_controller.store import chunks, devices, registry
from wherry_controller.store.registry import BlobRow

NOTHING: Final = (None, None)  # the version and digest of who serves nothing
Chain = tuple[bytes | None, ...]  # what serves, then what is brought, one after the other


def load(db: Database, rollout: Rollout) -> dict[str, Any]:
    """Bytes: of the bundle, still to be published (once, whatever the fleet's size), and to be
    fetched by devices, where layers that a device serves already are not fetched again. What is
    brought before the rollout's own version counts; `first`: what that adds."""
    chains = _chains(db, rollout)
    own: Counter[Chain] = Counter()
    for chain, count in chains.items():
        own[chain[0], rollout.digest] += count
    whole, without = _counted(db, rollout, chains), _counted(db, rollout, own)
    first = {key: whole[key] - without[key] for key in ("publish_bytes", "fetch_bytes")}
    size = sum(blob.size_bytes for blob in registry.blobs_of(db, rollout.digest))
    return {"bundle_bytes": size, **whole, "first": first}


def _chains(db: Database, rollout: Rollout) -> Counter[Chain]:
    """How many units go each way."""
    units = {u: m for u, m in rollout.members.items() if m.phase is not MemberPhase.SKIPPED}
    serving = devices.serving(db, rollout.model)
    return Counter(
        (serving.get(unit, NOTHING)[1], *member.first, rollout.digest)
        for unit, member in units.items()
    )


def _counted(db: Database, rollout: Rollout, chains: Counter[Chain]) -> dict[str, int]:
    brought = {rollout.digest}.union(*(chain[1:] for chain in chains))
    blobs = {
        blob.digest: blob
        for digest in brought
        if digest is not None
        for blob in registry.blobs_of(db, digest)
    }
    fetched = {
        chain: sum(_missing_bytes(db, held, wanted) for held, wanted in pairwise(chain))
        for chain in chains
    }
    return {
        "publish_bytes": sum(_unpublished_bytes(db, blob) for blob in blobs.values()),
        "fetch_bytes": sum(fetched[chain] * count for chain, count in chains.items()),
        "fetch_bytes_per_unit_max": max(fetched.values(), default=0),
    }


def _missing_bytes(db: Database, serving: bytes | None, wanted: bytes | None) -> int:
    """Of what is brought, where that serves."""
    held = set()
    if serving is not None and registry.find_bundle(db, serving) is not None:
        held = {blob.digest for blob in registry.blobs_of(db, serving)}
    blobs = () if wanted is None else registry.blobs_of(db, wanted)
    return sum(blob.size_bytes for blob in blobs if blob.digest not in held)


def _unpublished_bytes(db: Database, blob: BlobRow) -> int:
    published = chunks.published_indices(db, blob.digest)
    left = [n for n in range(chunk_count(blob.size_bytes)) if n not in published]
    return sum(min(CHUNK_BYTES, blob.size_bytes - n * CHUNK_BYTES) for n in left)
