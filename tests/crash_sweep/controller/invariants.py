"""What must hold of a controller at every start and of all that it publishes.

1. The audit chain holds.
2. A bundle in the registry is whole: every blob is in the vault, opens, and is what it claims.
3. Nothing is on the broker that was not committed; one revision is one document, for ever.
4. No device is ahead of the store. What is due can be made.
"""

from collections import Counter
from typing import TYPE_CHECKING

from wherry_controller.core.audit_chain import verify
from wherry_controller.fleet import Outbound, bundles
from wherry_controller.store import (
    assignments,
    audit,
    devices,
    meta,
    performance,
    registry,
)
from wherry_controller.store import rollouts as kept
from wherry_protocol import trust
from wherry_protocol.errors import TrustError, WherryError
from wherry_protocol.messages.desired import Desired
from wherry_protocol.topics import parse_device_topic

from tests.crash_sweep.sweep import Broken

if TYPE_CHECKING:
    from tests.crash_sweep.controller.port import Port

UNSTEADY = frozenset((
    "reports.ask",  # once per start after a restore
    "device.verify",  # a question that a stop swallowed is asked again
))  # fmt: skip


def check_start(port: "Port") -> None:
    db = port.org.db
    verdict = verify(audit.everything(db))
    if verdict.bad_id is not None:
        raise Broken(f"audit row {verdict.bad_id}: {verdict.problem}")
    for row in db.execute("SELECT digest FROM bundles").fetchall():
        _check_bundle(port, row[0])
    for unit in devices.units(db):
        device = port.devices.get(unit.connection)
        if device is None or device.trust.root.epoch != unit.epoch or port.home != "data":
            continue  # after a restore devices are ahead for a while
        if device.revision > unit.revision:
            raise Broken(f"{unit.id} has revision {device.revision}, the store {unit.revision}")
    for topic, payload in port.retained.items() if port.home == "data" else ():
        _check_document(port, topic, payload)


def _check_bundle(port: "Port", digest: bytes) -> None:
    try:
        bundle = bundles.pull(port.org, digest)
        port.org.vault.read(digest)
    except WherryError as error:
        raise Broken(f"the registry lists a bundle that is not whole: {error}") from error
    for wanted, content in bundle.blobs.items():
        if registry.find_blob(port.org.db, wanted) is None or not content:
            raise Broken(f"blob {wanted.hex()} is in a bundle, and the store does not know it")


def check_published(port: "Port", message: Outbound) -> None:
    """Before the broker takes it; what is due was read from the store."""
    if port.org.db.conn.in_transaction:
        raise Broken(f"{message.topic} is published within a transaction")
    _check_document(port, message.topic, message.payload)


def _check_document(port: "Port", topic: str, payload: bytes) -> None:
    """Rule 3, by the store: a fresh look at what is committed."""
    address = parse_device_topic(topic)
    if address is None or address.leaf != "desired" or address.unit is None or not payload:
        return
    try:
        document = trust.open_director(port.org.trust, Desired, payload)
    except TrustError:  # of a former epoch: nobody believes it
        return
    unit = devices.unit(port.org.db, address.connection, address.unit)
    if document.epoch == unit.epoch and document.revision > unit.revision:
        raise Broken(f"{unit.id}: revision {document.revision} is on the broker, committed is "
                     f"{unit.revision}")  # fmt: skip
    key = (port.home, unit.id, document.epoch, document.revision)
    known = port.documents.setdefault(key, payload)
    if known != payload:
        raise Broken(f"{unit.id}: two documents under revision {document.revision}")


def outcome(port: "Port") -> dict[str, object]:
    """How all has ended, without what a stop may lawfully change (times, numbers of revisions)."""
    db = port.org.db
    actions = Counter(row.action for row in audit.everything(db))
    return {
        "versions": [port.versions("digits"), port.versions("words")],
        "rollouts": sorted((row.model, row.state) for row in kept.everyone(db)),
        "assigned": sorted(
            (unit.id, row.model, row.bundle_digest.hex()[:8], row.owner)
            for unit in devices.units(db)
            for row in assignments.of_unit(db, unit.connection, unit.unit)
        ),
        "bundles": db.execute("SELECT model, version FROM bundles ORDER BY 1, 2").fetchall(),
        "reports lost or counted twice": (
            db.execute("SELECT count(*) FROM reports").fetchone()[0] - port.told_count,
            sum(row.inferences for row in performance.windows(db)) - port.told_inferences,
        ),
        "audit": sorted((name, n) for name, n in actions.items() if name not in UNSTEADY),
        "behind": [
            unit.id
            for unit in devices.units(db)
            if unit.connection in port.devices
            and unit.revision != port.devices[unit.connection].revision
        ],
        "stop": (meta.get(db, "stop.sequence"), meta.get(db, "stop.is_stopped")),
        "root": port.org.trust.root.number,
        "blobs on the broker": sorted({t.split("/")[-2][:8] for t in port.retained if "/b/" in t}),
        "due": [row.topic for row in port.live.due()],
    }
