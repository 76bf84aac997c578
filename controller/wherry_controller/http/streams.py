"""Server-sent events: look, compare, send what changed; end when the client has gone."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

T = TypeVar("T")
LOOK_S: Final = 0.25


def event(data: Any, name: str = "message") -> str:
    """One event; JSON never holds a bare newline."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


async def changes(request: Request, look: Callable[[], T]) -> AsyncIterator[T]:
    """What `look` sees, at first and whenever it differs."""
    before: T | None = None
    while not await request.is_disconnected():
        now = await run_in_threadpool(look)
        if now != before:
            before = now
            yield now
        await asyncio.sleep(LOOK_S)
