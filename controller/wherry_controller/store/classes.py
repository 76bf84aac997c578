"""Hardware classes, kept as their wire encoding."""

from sqlite_utils import Database
from wherry_protocol.codec import decode, encode
from wherry_protocol.errors import NotFoundError
from wherry_protocol.hardware import HardwareClass

from wherry_controller.store.rows import scalar


def put(db: Database, profile: HardwareClass, now_s: float) -> None:
    db.execute(
        "INSERT OR REPLACE INTO classes (name, document, updated_s) VALUES (?, ?, ?)",
        (profile.name, encode(profile), now_s),
    )


def find(db: Database, name: str) -> HardwareClass | None:
    document = scalar(db, "SELECT document FROM classes WHERE name = ?", (name,))
    return None if document is None else decode(HardwareClass, document)


def get(db: Database, name: str) -> HardwareClass:
    """Raises NotFoundError, naming the classes that exist."""
    found = find(db, name)
    if found is None:
        known = ", ".join(profile.name for profile in everyone(db))
        raise NotFoundError(f"hardware class {name!r} does not exist, known are: {known}")
    return found


def everyone(db: Database) -> list[HardwareClass]:
    documents = db.execute("SELECT document FROM classes ORDER BY name").fetchall()
    return [decode(HardwareClass, document) for (document,) in documents]
