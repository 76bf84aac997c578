"""Questions to units and their answers."""

from dataclasses import dataclass

from sqlite_utils import Database

from wherry_controller.store import rows


@dataclass(frozen=True, slots=True)
class Question:
    """One rpc request; `verb` and `code` are wire values, None while it is not answered."""

    id: bytes
    connection: str
    unit: str
    verb: int
    asked_s: float
    expires_s: float
    answered_s: float | None = None
    code: int | None = None
    text: str | None = None
    body: bytes | None = None


def put(db: Database, row: Question) -> None:
    rows.put(db, "questions", row)


def find(db: Database, question_id: bytes) -> Question | None:
    return rows.one(db, Question, "questions", "WHERE id = ?", (question_id,))


def prune(db: Database, before_s: float) -> None:
    db.execute("DELETE FROM questions WHERE asked_s < ?", (before_s,))
