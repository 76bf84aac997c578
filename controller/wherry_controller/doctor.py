"""`wherry doctor`: what would bite later, each a line with what to do about it."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wherry_protocol import trust
from wherry_protocol.errors import WherryError
from wherry_protocol.messages.trust import TrustRole

from wherry_controller import keyring
from wherry_controller.core import audit_chain
from wherry_controller.layout import DataDir
from wherry_controller.settings import Settings
from wherry_controller.store import audit, meta, open_reader, registry
from wherry_controller.store.rows import scalar
from wherry_controller.vault import Vault

FREE_BYTES_MIN: Final = 1 << 30
ROOT_WARN_S: Final = 30 * 86_400
YEAR_2025_S: Final = 1_735_689_600
LIMITS_MIN: Final = {"max_queued_messages": 10_000, "max_inflight_messages": 100}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check; `text` says what was seen, and what to do where it did not pass."""

    name: str
    passed: bool
    text: str


def run(
    data: DataDir, settings: Settings, now_s: float, *, is_link_up: bool | None = None
) -> list[Finding]:
    """All checks. `is_link_up` None: the service does not run here."""
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("keys", lambda: _keys(data)),
        ("offline keys", lambda: _offline(data)),
        ("root", lambda: _root(data, settings, now_s)),
        ("database", lambda: _database(data)),
        ("audit", lambda: _audit(data)),
        ("vault", lambda: _vault(data)),
        ("disk", lambda: _disk(data)),
        ("clock", lambda: _clock(now_s)),
        ("broker", lambda: _broker(data, settings, is_link_up)),
    ]
    return [finding for name, check in checks for finding in _careful(name, check)]


def _careful(name: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """A check that cannot be made has not passed."""
    try:
        return list(check())
    except (WherryError, OSError) as error:
        return [Finding(name, False, str(error))]


def _keys(data: DataDir) -> Iterator[Finding]:
    keyring.load(data)
    yield Finding("keys", True, f"{data.keys}: there, readable by their owner alone")


def _offline(data: DataDir) -> Iterator[Finding]:
    left = sorted(path.name for path in data.offline.glob("*.pem"))
    text = "no root or release key lies on this machine"
    if left:
        text = f"move {', '.join(left)} from {data.offline} to where only their holders reach them"
    yield Finding("offline keys", not left, text)


def _root(data: DataDir, settings: Settings, now_s: float) -> Iterator[Finding]:
    db = open_reader(data.database)
    try:
        roots = ((data.roots / "1.cose").read_bytes(), *meta.newer_roots(db))
    finally:
        db.close()
    state = trust.start(settings.organization, roots)
    if keyring.load(data).director.public not in state.role(TrustRole.DIRECTOR).keys:
        text = f"root {state.root.number} does not name the director's key in {data.keys}"
        yield Finding("root", False, f"{text}: publish the one that does, or put the old key back")
    left_s = state.root.expires_s - now_s
    text = f"root {state.root.number} is valid for {left_s / 86_400:.0f} days"
    if left_s <= 0:
        text = f"root {state.root.number} has ended: devices take nothing new"
    if left_s < ROOT_WARN_S:
        text += "; sign and publish the next one (wherry root draft)"
    yield Finding("root", left_s >= ROOT_WARN_S, text)


def _database(data: DataDir) -> Iterator[Finding]:
    db = open_reader(data.database)
    try:
        result = scalar(db, "PRAGMA quick_check")
    finally:
        db.close()
    text = f"{data.database}: {result}"
    yield Finding("database", result == "ok", text + ("" if result == "ok" else "; restore it"))


def _audit(data: DataDir) -> Iterator[Finding]:
    db = open_reader(data.database)
    try:
        verdict = audit_chain.verify(audit.everything(db))
    finally:
        db.close()
    if verdict.bad_id is None:
        yield Finding("audit", True, f"{verdict.count} rows, last {verdict.last_hash.hex()[:16]}")
    else:
        yield Finding("audit", False, f"{verdict.problem}; compare with a backup")


def _vault(data: DataDir) -> Iterator[Finding]:
    vault = Vault(data.vault, b"")
    db = open_reader(data.database)
    try:
        blobs = registry.all_blobs(db)
    finally:
        db.close()
    missing = [blob.digest.hex() for blob in blobs if not vault.has(blob.digest)]
    text = f"{len(blobs)} blobs are there"
    if missing:
        text = (
            f"{len(missing)} of {len(blobs)} blobs are missing (first {missing[0]}); restore them"
        )
    yield Finding("vault", not missing, text)


def _disk(data: DataDir) -> Iterator[Finding]:
    free = shutil.disk_usage(data.root).free
    text = f"{free >> 20} MiB free, at least {FREE_BYTES_MIN >> 20} MiB should be"
    yield Finding("disk", free >= FREE_BYTES_MIN, text)


def _clock(now_s: float) -> Iterator[Finding]:
    """The director's clock is the fleet's: it must be right and keep going."""
    drift_s = abs(time.time() - now_s)
    is_sane = now_s > YEAR_2025_S and drift_s < 60
    text = "the clock is plausible" if is_sane else f"the clock says {now_s:.0f}; set it (NTP)"
    yield Finding("clock", is_sane, text)


def _broker(data: DataDir, settings: Settings, is_link_up: bool | None) -> Iterator[Finding]:
    place = f"{settings.broker.host}:{settings.broker.port}"
    if is_link_up is not None:
        state = "connected" if is_link_up else "not connected; is it running?"
        yield Finding("broker", is_link_up, f"{place} {state}")
    if settings.broker.provisioning == "mosquitto":
        yield from _limits(data.broker / "mosquitto.conf")


def _limits(path: Path) -> Iterator[Finding]:
    lines = [line.split(None, 1) for line in path.read_text().splitlines() if line.strip()]
    found = {line[0]: line[1].strip() for line in lines if len(line) == 2}
    for key, least in LIMITS_MIN.items():
        value = found.get(key, "")
        passed = value.isdigit() and (int(value) >= least or int(value) == 0)
        text = f"{key} is {value or 'at its default'}, at least {least} is needed in {path}"
        yield Finding(f"broker {key}", passed, text)
    persists = found.get("persistence") == "true"
    yield Finding("broker persistence", persists, f"persistence is {found.get('persistence')}")
