"""Figures and golden samples of a bundle, as suites need them."""

from sqlite_utils import Database
from wherry_protocol import sketch
from wherry_protocol.manifest import Manifest, Role

from wherry_controller.core.assurance.limits import Figures
from wherry_controller.fleet import desires
from wherry_controller.fleet.organization import ExamKey, Organization
from wherry_controller.store import performance, registry


def of_unit(db: Database, key: ExamKey, digest: bytes, since_s: float) -> Figures:
    """What the unit's reports say of the bundle since then."""
    connection, unit, model = key
    windows = [
        row
        for row in performance.windows(db, since_s=since_s, connection=connection)
        if (row.unit, row.model, row.digest, row.slot) == (unit, model, digest, "active")
    ]
    if not windows:
        return Figures()
    latencies = sketch.merge(sketch.from_bytes(row.sketch) for row in windows)

    def microseconds(value_ns: float | None) -> float | None:
        return None if value_ns is None else value_ns / 1e3

    counted = sum(row.energy_count for row in windows)
    return Figures(
        sum(row.inferences for row in windows),
        sum(row.errors for row in windows),
        microseconds(latencies.mean_ns),
        microseconds(latencies.quantile_ns(0.95)),
        microseconds(latencies.quantile_ns(0.99)),
        sum(row.energy_sum_uj for row in windows) / counted if counted else None,
    )


def _pieces(org: Organization, manifest: Manifest, role: Role) -> bytes:
    return b"".join(org.vault.read(b.digest) for b in manifest.blobs if b.role is role)


def _manifest(org: Organization, digest: bytes) -> Manifest | None:
    row = registry.find_bundle(org.db, digest)
    return None if row is None else desires.manifest_of(row.manifest)


def sample_input(org: Organization, digest: bytes) -> bytes:
    """The bundle's first golden input, or zeros in its shape."""
    manifest = _manifest(org, digest)
    if manifest is None:
        return b"\0"
    if manifest.golden_count:
        golden = _pieces(org, manifest, Role.GOLDEN_INPUTS)
        return golden[: len(golden) // manifest.golden_count]
    return bytes(sum(tensor.size_bytes for tensor in manifest.contract.inputs))
