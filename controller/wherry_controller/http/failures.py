"""Errors as answers: `{"code", "error"}`, one sentence, never a traceback."""

import errno
import logging
import sqlite3
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from wherry_protocol.errors import (
    Code,
    ForbiddenError,
    NotFoundError,
    StateError,
    UnreachableError,
    WherryError,
)

from wherry_controller.http.auth import UnauthenticatedError

LOG = logging.getLogger(__name__)
STATUS: Final[tuple[tuple[type[WherryError], int], ...]] = (
    (UnauthenticatedError, 401),
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (StateError, 409),
    (UnreachableError, 503),
    (WherryError, 422),
)
SQLITE_FULL: Final = 13  # sqlite.org/rescode.html
HTTP_CODES: Final = {404: Code.NOT_FOUND, 405: Code.INVALID, 413: Code.OUT_OF_BOUNDS}


def failure(status: int, code: Code, text: str) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"code": code.name, "error": text}, status, headers)


def answer_failures(app: FastAPI) -> None:
    """Install the handlers."""

    @app.exception_handler(WherryError)
    def refused(request: Request, error: WherryError) -> JSONResponse:
        del request
        status = next(status for kind, status in STATUS if isinstance(error, kind))
        return failure(status, error.code, str(error))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        del request
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return failure(422, Code.INVALID, f"{place}: {first['msg']}")

    @app.exception_handler(HTTPException)
    def plain(request: Request, error: HTTPException) -> JSONResponse:
        code = HTTP_CODES.get(error.status_code, Code.INVALID)
        text = f"{request.method} {request.url.path}: {error.detail}"
        return failure(error.status_code, code, text)

    # Not left to the handler of everything: after that one the server logs a traceback and ends
    # the connection.
    @app.exception_handler(OSError)
    @app.exception_handler(sqlite3.Error)
    def world(request: Request, error: Exception) -> JSONResponse:
        if is_disk_full(error):
            text = "the controller's disk is full and nothing was changed; make room for its data"
            return failure(507, Code.STORAGE, text)
        return ours(request, error)

    @app.exception_handler(Exception)
    def ours(request: Request, error: Exception) -> JSONResponse:
        LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return failure(500, Code.FAILED, "the controller made a mistake; its log has the details")


def is_disk_full(error: Exception) -> bool:
    """Whether the disk had no room, as the system or as SQLite says it."""
    is_system = isinstance(error, OSError) and error.errno == errno.ENOSPC
    return is_system or getattr(error, "sqlite_errorcode", None) == SQLITE_FULL
