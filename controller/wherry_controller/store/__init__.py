"""Everything that the controller keeps: one module per subject, all SQL of the controller.

sqlite-utils is the only door to SQLite. `docs/STORE.md` describes the tables for a reader with
`sqlite3`. Every function takes the open database first; whoever writes holds `db.atomic()`.
"""

from wherry_controller.store.database import open_reader, open_writer
from wherry_controller.store.schema import SCHEMA_VERSION

__all__ = ["SCHEMA_VERSION", "open_reader", "open_writer"]
