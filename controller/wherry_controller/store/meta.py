"""Single values: stop sequence, publication times, and what else has exactly one row."""

from sqlite_utils import Database

from wherry_controller.store.rows import scalar


def get(db: Database, name: str, default: str = "") -> str:
    value = scalar(db, "SELECT value FROM meta WHERE name = ?", (name,))
    return default if value is None else str(value)


def put(db: Database, name: str, value: str) -> None:
    db.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, value))


def newer_roots(db: Database) -> list[bytes]:
    """The roots that were published after the first, which is a file, oldest first."""
    found: list[bytes] = []
    while root := get(db, f"root.{len(found) + 2}"):
        found.append(bytes.fromhex(root))
    return found
