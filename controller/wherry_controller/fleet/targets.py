"""Which units an operator means: the fleet's rows as facts for the selector."""

import json
from functools import lru_cache

from sqlite_utils import Database

from wherry_controller.core.selector import Facts, Predicate, parse_selector, select
from wherry_controller.store import devices, groups
from wherry_controller.store.devices import Connection, Glance, Unit, UnitModel

STORAGE_FREE_BYTES_MIN = 1 << 20  # with less a device can take no bundle, and soon no record


def health(connection: Connection, unit: Unit, models: list[UnitModel]) -> str:
    """One word for the fleet view."""
    if connection.is_revoked:
        return "revoked"
    return _health(unit, connection.is_online, is_failing=any(row.code for row in models))


def _health(unit: Unit | Glance, is_online: int, *, is_failing: bool) -> str:
    if unit.trouble:
        return unit.trouble
    if unit.is_isolated:
        return "isolated"
    if unit.seen_s is None:
        return "unseen"
    if not is_online:
        return "offline"
    free = unit.storage_free_bytes
    is_full = free is not None and free < STORAGE_FREE_BYTES_MIN
    return "degraded" if is_full or unit.refusal_code or is_failing else "ok"


def facts(db: Database) -> list[Facts]:
    """What the selector may ask of every unit whose connection is not revoked."""
    read = lru_cache(maxsize=1024)(json.loads)  # many have the same labels and versions
    return [
        Facts(
            row.connection,
            row.unit,
            row.hardware_class,
            read(row.labels),
            read(row.versions),
            _health(row, row.is_online, is_failing=bool(row.is_failing)),
            row.seen_s,
        )
        for row in devices.glances(db)
    ]


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
