"""Which units an operator means: the fleet's rows as facts for the selector."""

import json
from collections import defaultdict

from sqlite_utils import Database

from wherry_controller.core.selector import Facts, Predicate, parse_selector, select
from wherry_controller.store import devices, groups
from wherry_controller.store.devices import Connection, Unit, UnitModel

STORAGE_FREE_BYTES_MIN = 1 << 20  # with less a device can take no bundle, and soon no record


def health(connection: Connection, unit: Unit, models: list[UnitModel]) -> str:
    """One word for the fleet view."""
    if connection.is_revoked:
        return "revoked"
    if unit.trouble:
        return unit.trouble
    if unit.is_isolated:
        return "isolated"
    if unit.seen_s is None:
        return "unseen"
    if not connection.is_online:
        return "offline"
    free = unit.storage_free_bytes
    is_full = free is not None and free < STORAGE_FREE_BYTES_MIN
    is_degraded = is_full or unit.refusal_code or any(row.code for row in models)
    return "degraded" if is_degraded else "ok"


def facts(db: Database) -> list[Facts]:
    """What the selector may ask of every unit whose connection is not revoked."""
    connections = {row.name: row for row in devices.connections(db)}
    models: defaultdict[tuple[str, str], list[UnitModel]] = defaultdict(list)
    for row in devices.all_models(db):
        models[row.connection, row.unit].append(row)
    return [
        _facts(connections[unit.connection], unit, models[unit.connection, unit.unit])
        for unit in devices.units(db)
        if not connections[unit.connection].is_revoked
    ]


def _facts(connection: Connection, unit: Unit, models: list[UnitModel]) -> Facts:
    return Facts(
        unit.connection,
        unit.unit,
        unit.hardware_class,
        json.loads(connection.labels),
        {row.model: row.active_version for row in models if row.active_version is not None},
        health(connection, unit, models),
        unit.seen_s,
    )


def chosen(db: Database, target: str, now_s: float, salt: bytes = b"") -> list[Facts]:
    """The units that a selector takes. Raises WherryError(INVALID) naming the position."""
    return select(parse_selector(target, named(db)), facts(db), now_s, salt)


def named(db: Database) -> dict[str, Predicate]:
    """group -> which units it means: those of a list, or whoever its selector takes now."""
    found = {}
    for row in groups.everyone(db):
        if row.is_dynamic:
            found[row.name] = parse_selector(row.target).matches
        else:
            found[row.name] = _listed(groups.units(db, row.name))
    return found


def _listed(units: set[str]) -> Predicate:
    return lambda facts, _now_s: facts.name in units
