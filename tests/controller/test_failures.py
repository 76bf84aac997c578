"""What an operator reads when the world refuses: the real SQLite's and system's errors."""

import asyncio
import errno
import sqlite3
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from wherry_controller.http.failures import answer_failures


def fill_sqlite(folder: Path) -> None:
    db = sqlite3.connect(folder / "small.db")
    try:
        db.execute("PRAGMA max_page_count = 2")
        db.execute("CREATE TABLE t (x)")
        db.execute("INSERT INTO t VALUES (zeroblob(100000))")
    finally:
        db.close()


def fill_system(_folder: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def get(app: FastAPI, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)  # what the server would log with a traceback, it raises
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        return await client.get(path)


@pytest.mark.parametrize("fill", [fill_sqlite, fill_system])
def test_a_full_disk_is_told_as_one_and_not_as_a_mistake_of_ours(fill, tmp_path: Path) -> None:
    app = FastAPI()
    answer_failures(app)
    app.get("/full")(lambda: fill(tmp_path))
    answer = asyncio.run(get(app, "/full"))
    assert answer.status_code == 507
    assert answer.json()["code"] == "STORAGE"
    assert "disk is full" in answer.json()["error"]
