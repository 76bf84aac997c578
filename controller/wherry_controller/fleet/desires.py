"""Desired documents: what the store holds for a unit becomes one signed, retained message.

A new document has a new revision, persisted in the same transaction as the outbox row that
carries it. A unit that has never said which protocol it speaks is sent nothing, and an assignment
whose engine it does not offer, or which takes a newer protocol than it speaks, is left out until it
does.
"""

from functools import lru_cache

from wherry_protocol.blobs import wrap_key
from wherry_protocol.codec import decode
from wherry_protocol.errors import LimitError
from wherry_protocol.manifest import Manifest, manifest_protocol
from wherry_protocol.messages.desired import (
    Assignment,
    Desired,
    SlotRelease,
    TelemetryConfig,
    protocol_of,
)
from wherry_protocol.messages.limits import BLOBS_MAX, DESIRED_BYTES_MAX, MANIFEST_BYTES_MAX
from wherry_protocol.replacing import replace

from wherry_controller.fleet.blobs import content_key
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import (
    assignments,
    classes,
    devices,
    outbox,
    registry,
    releases,
    rollouts,
)
from wherry_controller.store.devices import Unit

PROTOCOL = 1  # the one that this controller speaks
RELEASES_SINCE = 2  # the protocol that knows releases
REVISION_MAX = 1 << 62  # nobody has counted so far; whoever says so has moved the number by hand


def speaks_our_protocol(unit: Unit) -> bool:
    low, high = unit.protocol_min, unit.protocol_max
    return low is not None and high is not None and low <= PROTOCOL <= high


def understands(unit: Unit, assignment: Assignment, manifest: Manifest) -> bool:
    """False for what the unit could not even read."""
    return (unit.protocol_max or 0) >= needed_protocol(assignment, manifest)


def needed_protocol(assignment: Assignment, manifest: Manifest) -> int:
    """To read the assignment, to do what it says, and to read the manifest that it names."""
    return max(protocol_of(assignment), manifest_protocol(manifest))


def runs_abi(unit: Unit, abi: int) -> bool:
    low, high = unit.abi_min, unit.abi_max
    return low is not None and high is not None and low <= abi <= high


def issue(org: Organization, unit: Unit, now_s: float) -> Unit:
    """Persist the next revision and queue its document; the unit's row as it is afterwards.

    Raises LimitError where the document would be too large.
    """
    if not speaks_our_protocol(unit):
        return unit
    after = replace(
        unit,
        revision=unit.revision + 1 if unit.epoch == org.epoch else 1,
        epoch=org.epoch,
        issued_s=now_s,
        expires_s=now_s + org.settings.desired_valid_s,
    )
    document = org.direct(build(org, after, now_s))
    if len(document) > DESIRED_BYTES_MAX:
        raise LimitError(
            f"desired document of {unit.id}: {len(document)} bytes, at most {DESIRED_BYTES_MAX}; "
            "assign fewer models"
        )
    devices.put_unit(org.db, after)
    topic = org.topics.desired(unit.connection, unit.unit)
    outbox.queue(org.db, topic, document, outbox.Priority.DESIRED, now_s)
    return after


def build(org: Organization, unit: Unit, now_s: float) -> Desired:
    """The unit's document at its present revision."""
    offered = _offered(org, unit)
    return Desired(
        org=org.name,
        connection=unit.connection,
        unit=unit.unit,
        epoch=unit.epoch,
        revision=unit.revision,
        issued_s=int(now_s),
        expires_s=int(unit.expires_s or now_s),
        assignments=tuple(offered),
        blob_keys=_blob_keys(org, unit, offered),
        hardware_class=classes.get(org.db, unit.hardware_class),
        telemetry=TelemetryConfig(
            performance_s=unit.performance_s,
            resources_s=unit.resources_s,
            json_mirror=bool(unit.json_mirror),
        ),
        is_isolated=bool(unit.is_isolated),
        chunk_window=_chunk_window(org, unit),
        releases=_releases(org, unit),
    )


def _chunk_window(org: Organization, unit: Unit) -> int:
    """The unit's own, or the smaller one of a rollout that it has not answered yet."""
    asked = rollouts.chunk_window(org.db, unit.connection, unit.unit)
    return unit.chunk_window if asked is None else min(asked, unit.chunk_window)


def _releases(org: Organization, unit: Unit) -> tuple[SlotRelease, ...]:
    """What the unit may unload, if it can read that."""
    if (unit.protocol_max or 0) < RELEASES_SINCE:
        return ()
    return tuple(
        SlotRelease(model=row.model, manifest_digest=row.digest, is_purged=bool(row.is_purged))
        for row in releases.of_unit(org.db, unit.connection, unit.unit)
    )


def _offered(org: Organization, unit: Unit) -> list[Assignment]:
    found = []
    for row in assignments.of_unit(org.db, unit.connection, unit.unit):
        manifest = manifest_of(registry.bundle(org.db, row.bundle_digest).manifest)
        assignment = decode(Assignment, row.document)
        if runs_abi(unit, manifest.engine_abi) and understands(unit, assignment, manifest):
            found.append(assignment)
    return found


@lru_cache(maxsize=256)
def manifest_of(data: bytes) -> Manifest:
    """A bundle's manifest; decoded once, since every report asks for its budgets."""
    return decode(Manifest, data, size_max=MANIFEST_BYTES_MAX)


def _blob_keys(org: Organization, unit: Unit, offered: list[Assignment]) -> dict[bytes, bytes]:
    wrapping = org.keys_of(devices.connection(org.db, unit.connection)).wrap_key
    keys: dict[bytes, bytes] = {}
    for assignment in offered:
        for blob in registry.blobs_of(org.db, assignment.manifest_digest):
            if blob.digest not in keys:
                keys[blob.digest] = wrap_key(wrapping, content_key(org, blob))
    if len(keys) > BLOBS_MAX * 4:
        raise LimitError(f"{unit.id}: {len(keys)} blobs assigned, at most {BLOBS_MAX * 4}")
    return keys
