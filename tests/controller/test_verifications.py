"""What the store asks of runs of suites costs the same in a run of ten devices and of thousands."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from sqlite_utils import Database
from wherry_controller.store import verifications as kept
from wherry_controller.store.schema import migrate
from wherry_controller.store.verifications import Examination, Verification


@cache
def with_runs(count: int) -> Database:
    """Three runs of `count` devices; of the middle one the last device is open."""
    db = Database(memory=True)
    migrate(db)
    for run in ("smoke-1", "smoke-2", "smoke-3"):
        kept.put(db, Verification(run, "smoke", "all", "digits", "ada", "", 0.0))
        last = f"gw{count - 1:05}"
        kept.put_exams(db, [
            Examination(run, f"gw{n:05}", "self", "digits", "smoke", b"x" * 32, "c", "",
                        "open" if (run, f"gw{n:05}") == ("smoke-2", last) else "failed",
                        "golden", 1.0, "{}" * 500)
            for n in range(count)
        ])  # fmt: skip
    return db


def cost(db: Database, ask: Callable[[Database], Any]) -> int:
    """How many instructions SQLite's machine needs for it."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    db.conn.set_progress_handler(count, 1)
    ask(db)
    db.conn.set_progress_handler(None, 1)
    return steps


@pytest.mark.parametrize(
    "ask",
    [
        lambda db: kept.is_under_way(db, "smoke-1"),
        lambda db: kept.is_under_way(db, "smoke-2"),
        lambda db: kept.failed_of(db, "smoke-1", 10),
        lambda db: kept.exams_in(db, "open", 5),
    ],
)
def test_asking_of_a_large_run_costs_as_much_as_of_a_small_one(
    ask: Callable[[Database], Any],
) -> None:
    assert 0 < cost(with_runs(400), ask) <= 1.1 * cost(with_runs(20), ask)


def test_a_run_is_under_way_until_every_device_has_its_verdict() -> None:
    db = with_runs(20)
    assert [kept.is_under_way(db, f"smoke-{n}") for n in (1, 2, 3)] == [False, True, False]
    assert len(kept.failed_of(db, "smoke-2", 100)) == 19
    assert kept.failed_of(db, "smoke-2", 1) == [("gw00000/self", "golden")]
