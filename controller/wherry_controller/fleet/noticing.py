"""What nobody reports: the broker is away, a disk fills, a device's trust or clock is out of date.

Each look says what is wrong now; what is new becomes a notice, and what is no longer wrong one of
recovery. The guard (guarding.py) looks at what devices report; this looks at the rest.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from wherry_protocol.errors import Code

from wherry_controller.core.notify import Cause, rank
from wherry_controller.fleet.desires import REVISION_MAX
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import alerts, devices
from wherry_controller.store import rollouts as notes
from wherry_controller.store.rollouts import Notice

LOOK_S: Final = 60.0
PREFIX: Final = "seen:"
MIB: Final = 1 << 20
ROOT_WARN_S: Final = 30 * 86_400
ALONE_MAX: Final = 10  # with more, what befalls a device is a matter of the fleet
NAMES_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that is wrong now; `topic` is the same as long as it is."""

    topic: str
    cause: Cause
    severity: str
    text: str
    unit: str = ""


def tick(org: Organization, now_s: float) -> None:
    """Compare what is wrong with what is known to be. Every ten seconds or so."""
    if org.link_is_up:
        org.link_down_since_s = None
    elif org.link_down_since_s is None:
        org.link_down_since_s = now_s
    if now_s - org.looked_s >= LOOK_S or now_s < org.looked_s:
        org.looked_s = now_s
        _settle(org, f"{PREFIX}", _all(org, now_s), now_s)
    else:
        _settle(org, f"{PREFIX}broker", list(_link(org, now_s)), now_s)


def _all(org: Organization, now_s: float) -> list[Wrong]:
    return [*_link(org, now_s), *_room(org), *_root(org, now_s), *_stale(org)]


def _settle(org: Organization, prefix: str, wrong: list[Wrong], now_s: float) -> None:
    standing = {alert.topic: alert for alert in alerts.unresolved_below(org.db, prefix)}
    for one in wrong:
        before = standing.pop(one.topic, None)
        is_worse = before is not None and rank(one.severity) > rank(before.severity)
        if before is None or is_worse or before.good_since_s is not None:
            notice = Notice(
                None, now_s, one.severity, one.topic, "", one.text, one.cause.value, one.unit
            )
            notes.put_notice(org.db, notice)
    for alert in standing.values():
        if alert.good_since_s is None:
            text = f"no longer: {alert.text}"
            notice = Notice(
                None, now_s, "info", alert.topic, "", text, alert.cause, alert.unit, "", 1
            )
            notes.put_notice(org.db, notice)


def _link(org: Organization, now_s: float) -> Iterator[Wrong]:
    since_s = org.link_down_since_s
    if since_s is not None and now_s - since_s >= org.alerts.link_down_s:
        text = f"no link to the broker for {org.alerts.link_down_s} s: no device is heard"
        yield Wrong(f"{PREFIX}broker", Cause.BROKER, "critical", text)


def _room(org: Organization) -> Iterator[Wrong]:
    """The controller's own disk and database; a database in memory has neither."""
    if org.folder is None:
        return
    free, least = shutil.disk_usage(org.folder).free, org.alerts.disk_free_bytes_min
    if free < least:
        severity = "critical" if free < least // 4 else "warning"
        text = f"{free // MIB} MiB free for the controller's data, at least {least // MIB} needed"
        yield Wrong(f"{PREFIX}disk", Cause.DISK, severity, text)
    size, most = os.path.getsize(org.folder / "wherry.db"), org.alerts.database_bytes_max
    if size > most:
        text = f"the database has {size // MIB} MiB, at most {most // MIB} are wanted; keep less"
        yield Wrong(f"{PREFIX}database", Cause.DATABASE, "warning", text)


def _root(org: Organization, now_s: float) -> Iterator[Wrong]:
    """A root that ends soon, or has: under that one devices take nothing new."""
    root = org.trust.root
    left_s = root.expires_s - now_s
    if left_s < ROOT_WARN_S:
        severity = "warning" if left_s > 0 else "critical"
        at = datetime.fromtimestamp(root.expires_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
        ends = f"ends at {at}" if left_s > 0 else f"ended at {at}: devices take nothing new"
        text = f"root {root.number} {ends}; draft, sign and publish the next one (wherry root)"
        yield Wrong(f"{PREFIX}root", Cause.STALE, severity, text)


def _stale(org: Organization) -> Iterator[Wrong]:
    """Devices that believe nothing new: their root chain or their clock is out of date, or both
    are in the hands of a thief."""
    clock, expired = int(Code.TIME_UNKNOWN), int(Code.EXPIRED)
    found = devices.stale_units(org.db, (int(Code.STALE_TRUST), clock, expired))
    unsure = [unit for unit, code in found if code == clock]
    ahead = [unit for unit, code in found if code == expired]
    stale = [unit for unit, code in found if code not in (clock, expired)]
    yield from _of_each("time", unsure, "does not know the time", "do not know the time")
    yield from _of_each("trust", stale, "has stale trust", "have stale trust")
    words = ("takes what we say for expired", "take what we say for expired")
    yield from _of_each("expired", ahead, *words, until="our times agree")
    yield from _beyond(org)


def _beyond(org: Organization) -> Iterator[Wrong]:
    found = devices.units_beyond(org.db, REVISION_MAX)
    if found:
        unit, revision = found[0]
        who = f"{len(found)} units follow" if len(found) > 1 else f"{unit} follows"
        text = (
            f"{who} revision {revision}, to which nobody can have counted: somebody else signs "
            "with the director's key; publish a root with a new director key and a higher epoch"
        )
        yield Wrong(f"{PREFIX}beyond", Cause.STALE, "critical", text)


def _of_each(
    kind: str, units: list[str], one: str, many: str, *, until: str = ""
) -> Iterator[Wrong]:
    """An alert of each unit; of many at once a single one, since they have one cause."""
    if len(units) > ALONE_MAX:
        names = ", ".join(units[:NAMES_MAX])
        text = f"{len(units)} units {many} ({names}, ...): they take no update until "
        text += until or "they have heard of us"
        yield Wrong(f"{PREFIX}stale:{kind}", Cause.STALE, "warning", text)
        return
    for unit in units:
        text = f"{unit} {one}: it takes no update until {until or 'it has heard of us'}"
        yield Wrong(f"{PREFIX}stale:{unit}", Cause.STALE, "warning", text, unit)
