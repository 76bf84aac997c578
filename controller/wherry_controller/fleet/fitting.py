"""Which units can run a version: agent, engine and class of each against the bundle."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlite_utils import Database
from wherry_protocol.manifest import Manifest

from wherry_controller.core.registry.fits import Misfit, Runner, misfits
from wherry_controller.fleet import desires, targets
from wherry_controller.store import classes, devices, registry
from wherry_controller.store.registry import BundleRow

Kind = tuple[str, int | None, int | None, bytes | None]  # class, ABI range, what it serves


@dataclass(frozen=True, slots=True)
class Fit:
    """One row of the matrix; `misfits` is empty where the unit can run it."""

    unit: devices.Runner
    serving: str | None
    misfits: tuple[Misfit, ...]


def matrix(db: Database, bundle: BundleRow, target: str, now_s: float) -> list[Fit]:
    """Each unit that the selector takes, by name. Raises WherryError for a bad selector."""
    found = of_units(db, bundle, {facts.name for facts in targets.chosen(db, target, now_s)})
    return sorted(found, key=lambda fit: fit.unit.id)


def of_units(db: Database, bundle: BundleRow, units: Collection[str]) -> Iterator[Fit]:
    """The same for these units (`connection/unit`); a fleet has few kinds of them, and each kind
    is judged once."""
    manifest = desires.manifest_of(bundle.manifest)
    budgets = {row.name: row.memory_budget_bytes for row in classes.everyone(db)}
    judged: dict[Kind, tuple[Misfit, ...]] = {}
    for unit in devices.runners(db, bundle.model):
        if unit.id not in units:
            continue
        digest = unit.active_digest
        kind = (unit.hardware_class, unit.abi_min, unit.abi_max, digest)
        if kind not in judged:
            budget = budgets.get(unit.hardware_class)
            now = None if digest is None else _manifest(db, digest)
            runner = Runner(unit.hardware_class, budget, unit.abi_min, unit.abi_max, now)
            judged[kind] = misfits(manifest, runner)
        yield Fit(unit, unit.active_version, judged[kind])


def _manifest(db: Database, digest: bytes) -> Manifest | None:
    row = registry.find_bundle(db, digest)
    return None if row is None else desires.manifest_of(row.manifest)
