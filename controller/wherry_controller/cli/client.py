"""The controller's API as the command line uses it: which server, which token, errors as ours."""

import json
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from wherry_protocol.errors import (
    Code,
    ForbiddenError,
    UnreachableError,
    WherryError,
    error_of,
)

from wherry_controller.layout import DataDir

DATA_DIR: Final = Path("wherry-data")
ANSWER_S_MAX: Final = 90.0
PIECE_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Access:
    """What the options before the command say; None: find out from the data directory."""

    server: str | None = None
    token: str | None = None
    data: Path = DATA_DIR


_access: ContextVar[Access | None] = ContextVar("access", default=None)


def use(access: Access) -> None:
    """Remember how this call reaches the controller."""
    _access.set(access)


def _current() -> Access:
    return _access.get() or Access()


def data_dir() -> DataDir:
    """The data directory that this call names."""
    return DataDir(_current().data)


def _address(access: Access) -> str:
    if access.server is not None:
        return access.server.rstrip("/")
    if not DataDir(access.data).settings.exists():
        raise WherryError(
            f"no controller is named: give --server and --token, or --data with a folder that "
            f"`wherry init` made ({access.data} is none)"
        )
    from wherry_controller import settings

    http = settings.load(DataDir(access.data).settings).http
    return f"http://{http.host}:{http.port}"


def _token(access: Access) -> str:
    if access.token is not None:
        return access.token
    path = DataDir(access.data).operator_token
    try:
        return path.read_text().strip()
    except OSError as error:
        raise ForbiddenError(
            f"no token is given and {path} cannot be read: {error.strerror}"
        ) from error


def _client() -> httpx.Client:
    access = _current()
    address = _address(access)
    try:
        return httpx.Client(
            base_url=f"{address}/api/v1",
            headers={"Authorization": f"Bearer {_token(access)}"},
            timeout=ANSWER_S_MAX,
            trust_env=False,
            verify=address.startswith("https"),  # without TLS there is nobody to verify: 30 ms less
        )
    except httpx.InvalidURL as error:
        raise WherryError(f"--server {address!r} is no address: {error}") from error


def ask(
    method: str,
    path: str,
    *,
    body: Any = None,
    query: dict[str, Any] | None = None,
) -> Any:
    """The parsed answer. Raises the WherryError that the controller names."""
    with _client() as client:
        try:
            answer = client.request(method, path, json=body, params=query)
        except httpx.HTTPError as error:
            raise _unreachable(client, error) from error
    return _parsed(answer)


def upload(path: str, content: bytes, sent: Callable[[int], None]) -> Any:
    """POST `content` in pieces, telling `sent` of each; the parsed answer. Raises as `ask`."""

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(content), PIECE_BYTES):
            piece = content[start : start + PIECE_BYTES]
            yield piece
            sent(len(piece))

    with _client() as client:
        try:
            length = {"Content-Length": str(len(content))}
            answer = client.post(path, content=pieces(), headers=length)
        except httpx.HTTPError as error:
            raise _unreachable(client, error) from error
    return _parsed(answer)


def download(path: str) -> bytes:
    """The bytes of an answer. Raises as `ask`."""
    with _client() as client:
        try:
            answer = client.get(path)
        except httpx.HTTPError as error:
            raise _unreachable(client, error) from error
    return _checked(answer).content


def stream(path: str, query: dict[str, Any] | None = None) -> Iterator[tuple[str, Any]]:
    """(event, data) of a server-sent stream until the controller ends it."""
    with _client() as client:
        try:
            with client.stream("GET", path, params=query, timeout=None) as answer:
                if answer.is_error:
                    answer.read()
                    _checked(answer)
                yield from _events(answer.iter_lines())
        except httpx.HTTPError as error:
            raise _unreachable(client, error) from error


def _events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    kind = "message"
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))
            kind = "message"


def _parsed(answer: httpx.Response) -> Any:
    try:
        return _checked(answer).json()
    except ValueError:
        raise _not_ours(answer) from None


def _checked(answer: httpx.Response) -> httpx.Response:
    if not answer.is_error:
        return answer
    try:
        told = answer.json()
        code, text = Code[told["code"]], str(told["error"])
    except (ValueError, KeyError, TypeError):
        raise _not_ours(answer) from None
    raise error_of(code, text)


def _not_ours(answer: httpx.Response) -> UnreachableError:
    return UnreachableError(
        f"{answer.url.host}:{answer.url.port} answered {answer.status_code} in a way that "
        "is not how `wherry serve` answers"
    )


def _unreachable(client: httpx.Client, error: httpx.HTTPError) -> UnreachableError:
    url = client.base_url
    return UnreachableError(
        f"the controller at {url.host}:{url.port} does not answer "
        f"({error or type(error).__name__}); is `wherry serve` running?"
    )
