"""Applications for tests: building one costs half a second, so one that is free is lent again."""

from typing import Final

import uvicorn
from fastapi import FastAPI
from wherry_controller.http import build_app
from wherry_controller.http.desk import Desk

_FREE: Final[list[FastAPI]] = []


def lend(desk: Desk) -> FastAPI:
    """An application over that desk, with the body limits of its first one (the default ones)."""
    app = _FREE.pop() if _FREE else build_app(desk)
    app.state.desk = desk
    return app


def take_back(server: uvicorn.Server) -> None:
    """That server has ended, and needs its application no longer."""
    app = server.config.app
    if not isinstance(app, FastAPI):
        raise TypeError(f"{app!r} was not lent here")
    _FREE.append(app)
