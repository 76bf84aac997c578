"""Applications for tests: building one costs half a second, so one that is free is lent again."""

from collections import defaultdict
from typing import Final

import uvicorn
from fastapi import FastAPI
from wherry_controller.http import build_app
from wherry_controller.http.desk import Desk

_FREE: Final[dict[tuple[int, int], list[FastAPI]]] = defaultdict(list)
"""By the body limits that they were built with: they are not asked for again."""


def lend(desk: Desk) -> FastAPI:
    """An application over that desk."""
    free = _FREE[_limits(desk)]
    app = free.pop() if free else build_app(desk)
    app.state.desk = desk
    return app


def take_back(server: uvicorn.Server) -> None:
    """That server has ended, and needs its application no longer."""
    app = server.config.app
    if not isinstance(app, FastAPI):
        raise TypeError(f"{app!r} was not lent here")
    _FREE[_limits(app.state.desk)].append(app)


def _limits(desk: Desk) -> tuple[int, int]:
    return desk.settings.http.body_bytes_max, desk.settings.http.bundle_bytes_max
