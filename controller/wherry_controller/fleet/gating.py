"""The release gates of a version: its manifest, the organization's limits, the fleet's figures."""

from collections.abc import Iterable

from sqlite_utils import Database
from wherry_protocol import sketch

from wherry_controller.core.registry.gates import Gate, Measured, release_gates
from wherry_controller.fleet import desires
from wherry_controller.settings import RegistrySettings
from wherry_controller.store import performance
from wherry_controller.store.registry import BundleRow

MEASURED_S = 24 * 3600.0  # so far back the fleet's figures count
WINDOWS_MAX = 2_000  # so many of them are merged for one class


def gates(
    db: Database, settings: RegistrySettings, bundle: BundleRow, now_s: float
) -> tuple[Gate, ...]:
    """Every gate of the version with its verdict; it may be let into production if all passed."""
    manifest = desires.manifest_of(bundle.manifest)
    measured = fleet_figures(db, bundle, manifest.budgets, now_s)
    return release_gates(manifest, settings.limits(bundle.model), measured)


def fleet_figures(
    db: Database, bundle: BundleRow, classes: Iterable[str], now_s: float
) -> dict[str, Measured]:
    """What units of each class measured of the version while it served, in the last day."""
    found = {}
    for name in classes:
        sketches = performance.sketches_of(
            db, bundle.model, bundle.digest, name, now_s - MEASURED_S, WINDOWS_MAX
        )
        merged = sketch.merge(sketch.from_bytes(data) for data in sketches)
        p95_ns = merged.quantile_ns(0.95)
        if p95_ns is not None:
            found[name] = Measured(p95_ns / 1e3, merged.count)
    return found


def failed(
    db: Database, settings: RegistrySettings, bundle: BundleRow, now_s: float
) -> tuple[str, ...]:
    """The names of the gates that the version does not pass."""
    return tuple(one.name for one in gates(db, settings, bundle, now_s) if not one.is_passed)
