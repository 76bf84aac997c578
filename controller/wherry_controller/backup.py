"""Backup and restore: database, keys, roots, vault and settings, as one folder.

The database is copied with SQLite's own backup, so the service may run meanwhile. Blobs are
content-addressed and never change, so a hard link is a copy. A backup holds private keys: keep it
as you keep them. The offline keys are not in it.
"""

import os
import shutil
import sqlite3
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Final

from wherry_protocol.errors import Code, DecodeError, NotFoundError, StateError

from wherry_controller.core import audit_chain
from wherry_controller.layout import DataDir, write_durably
from wherry_controller.store import audit, meta, open_reader, open_writer

DONE: Final = "COMPLETE"
FOLDERS: Final = ("keys", "roots", "broker", "vault")


def make(data: DataDir, folder: Path, now_s: float) -> Path:
    """Write a backup into a new folder below `folder`; its path. Raises StateError."""
    name = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    target = folder / name
    if target.exists():
        raise StateError(f"backup {target} exists already")
    target.mkdir(mode=0o700, parents=True)
    with (
        closing(sqlite3.connect(f"file:{data.database}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(target / "wherry.db")) as copy,
    ):
        source.backup(copy)
        # Whoever reads a database in WAL mode leaves files beside it, and the seal would be broken.
        copy.execute("PRAGMA journal_mode = DELETE")
    (target / "wherry.db").chmod(0o600)
    for part in FOLDERS:
        shutil.copytree(data.root / part, target / part, copy_function=_copy)
    _copy(str(data.settings), str(target / data.settings.name))
    write_durably(target / DONE, _seal(target).encode())
    return target


def _copy(source: str, target: str) -> str:
    """Link what never changes, copy the rest."""
    if f"{os.sep}vault{os.sep}" in source:
        try:
            os.link(source, target)
            return target
        except OSError:  # another file system
            pass
    return str(shutil.copy2(source, target))


def _seal(folder: Path) -> str:
    """Name and SHA-256 of every file, so that a damaged backup is known before it is used."""
    lines = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != DONE):
        digest = sha256(path.read_bytes()).hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder)}\n")
    return "".join(lines)


def check(backup: Path) -> None:
    """Raises NotFoundError where it is no backup, DecodeError where it is damaged."""
    done = backup / DONE
    if not done.is_file():
        raise NotFoundError(f"{backup} is not a complete backup: it has no {DONE}")
    if done.read_text() != _seal(backup):
        raise DecodeError(f"backup {backup} was changed or damaged; use another one", Code.DIGEST)
    db = open_reader(backup / "wherry.db")
    try:
        verdict = audit_chain.verify(audit.everything(db))
    finally:
        db.close()
    if verdict.bad_id is not None:
        raise DecodeError(f"backup {backup}: {verdict.problem}", Code.DIGEST)


def restore(backup: Path, data: DataDir, now_s: float, who: str) -> None:
    """Fill an empty data directory from a backup. Raises StateError where it is not empty.

    Devices may hold revisions above the backup's: each is sent a higher one when it reports.
    """
    check(backup)
    if data.settings.exists() or data.database.exists():
        raise StateError(f"{data.root} already holds an organization; restore into an empty folder")
    data.make()
    for part in FOLDERS:
        shutil.copytree(backup / part, data.root / part, dirs_exist_ok=True)
    shutil.copy2(backup / "wherry.db", data.database)
    db = open_writer(data.database)
    try:
        with db.atomic():
            audit.add(db, now_s, who, "restore", str(backup.name))
            meta.put(db, "restore.pending", "1")  # the service asks everybody to report again
    finally:
        db.close()
    shutil.copy2(backup / data.settings.name, data.settings)
