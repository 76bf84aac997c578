"""A cap on every request body, counted as it arrives: an announced length is not believed."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from wherry_protocol.errors import Code

from wherry_controller.http.failures import failure
from wherry_controller.settings import HttpSettings

BUNDLES: Final = "/api/v1/bundles"


class BodyLimit:
    """ASGI middleware: 413 as soon as a body exceeds its endpoint's limit."""

    def __init__(self, app: ASGIApp, settings: HttpSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_bundle = scope["path"] == BUNDLES
        limit = self._settings.bundle_bytes_max if is_bundle else self._settings.body_bytes_max
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > limit:
            await _refuse(scope, receive, send, int(length), limit)
            return
        await self._counted(scope, receive, send, limit)

    async def _counted(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        size, has_begun = 0, False

        async def counting() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > limit:
                raise _TooLongError
            return message

        async def noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, counting, noting)
        except _TooLongError:
            if has_begun:
                raise
            await _refuse(scope, receive, send, size, limit)


class _TooLongError(BaseException):
    """Not an Exception: nothing between the body's reader and the middleware may catch it."""


async def _refuse(scope: Scope, receive: Receive, send: Send, size: int, limit: int) -> None:
    text = f"the body has {size} bytes or more, at most {limit} are allowed here"
    await failure(413, Code.OUT_OF_BOUNDS, text)(scope, receive, send)
