"""What operators change of a unit: intervals, labels, isolation."""

import json
from dataclasses import replace
from typing import Any

from wherry_protocol.codec import Mapping, Text
from wherry_protocol.errors import Code, WherryError
from wherry_protocol.names import LabelName

from wherry_controller.fleet import desires
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import devices
from wherry_controller.store.devices import CORRUPTED, Unit

LABELS = Mapping(LabelName, Text(64), 32)


def configure(
    org: Organization, unit_id: str, changes: dict[str, Any], who: str, now_s: float
) -> Unit:
    """Change intervals, mirror or window of a unit, or labels of its connection."""
    unit = devices.unit(org.db, *devices.split_id(unit_id))
    labels = changes.pop("labels", None)
    if labels is not None:
        _label(org, unit.connection, labels)
    if changes:
        numbers: dict[str, Any] = {name: int(value) for name, value in changes.items()}
        unit = desires.issue(org, _kept(org, replace(unit, **numbers)), now_s)
    details = changes if labels is None else {**changes, "labels": labels}
    org.record(now_s, who, "device.configure", unit.id, **details)
    return unit


def _kept(org: Organization, unit: Unit) -> Unit:
    devices.put_unit(org.db, unit)
    return unit


def _label(org: Organization, connection: str, labels: dict[str, str]) -> None:
    try:
        LABELS.to_wire(labels, "labels")
    except ValueError as error:
        raise WherryError(str(error), Code.INVALID) from error
    row = devices.connection(org.db, connection)
    devices.put_connection(org.db, replace(row, labels=json.dumps(labels, sort_keys=True)))


def isolate(
    org: Organization, unit_id: str, is_isolated: bool, who: str, reason: str, now_s: float
) -> Unit:
    """Take a unit out of service and out of every rollout, or let it back."""
    unit = devices.unit(org.db, *devices.split_id(unit_id))
    after = replace(unit, is_isolated=int(is_isolated))
    if not is_isolated:  # somebody looked at what was corrupted; a way back shows by itself
        is_over = unit.trouble == CORRUPTED
        after = replace(after, trouble="" if is_over else unit.trouble, released_s=now_s)
    after = _kept(org, after)
    after = desires.issue(org, after, now_s)
    org.record(now_s, who, "device.isolate" if is_isolated else "device.release", unit.id, reason)
    return after
