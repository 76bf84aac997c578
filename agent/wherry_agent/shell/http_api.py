"""The device's local door: `POST /inference`, `POST /defer`, `GET /status`, `GET /healthz`; JSON.

Rules:
1. Loopback by default. Nothing here authenticates, so a wider address is the owner's decision;
   requests that come from a web page (an Origin, or a Host that is a foreign name) are refused.
2. Bounded: connections, header and body sizes, and the time a request may take in all, so that
   slow clients cannot keep anybody out for longer than that.
3. Input that does not fit is answered 400 and counted as refused, never as the model's error.
4. The answer names who made it: version, digest and slot of the very inference.
5. An isolated device answers the manifest's safe output, flagged, or 503.
"""

import contextlib
import io
import ipaddress
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from wherry_protocol.errors import UnreachableError, WherryError

from wherry_agent.config import HttpConfig
from wherry_agent.shell.inference_door import Doors, Refusal, answer_inference, chosen_model
from wherry_agent.shell.inference_request import (
    parse_request,
)

ERROR_TEXT_MAX: Final = 500
DEFER_S_MAX: Final = 31 * 86_400


class HttpApi:
    """The running server. `port` is the real one where the configuration said 0."""

    def __init__(self, config: HttpConfig, doors: Doors) -> None:
        """Binds at once. Raises UnreachableError where the address is taken or not ours."""
        try:
            self._server = _Server(config, doors)
        except OSError as error:
            raise UnreachableError(
                f"cannot listen on {config.host}:{config.port} ({error.strerror}); choose another "
                "http.host or http.port in agent.toml"
            ) from error
        self._thread = threading.Thread(target=self._server.serve, name="http")
        self.host: str = config.host
        self.port: int = self._server.server_address[1]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the server; running requests are cut off."""
        self._server.end()
        if self._thread.ident is not None:
            self._thread.join()

    def refused(self, model: str) -> int:
        """Inputs for the model that were refused here since the start.

        One that names no model counts for the only model, or for "" where there are several.
        """
        return self._server.refused[model]


class _Server(ThreadingHTTPServer):
    """Takes a connection while there is room, and answers 503 at once while there is none."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, config: HttpConfig, doors: Doors) -> None:
        self.config = config
        self.doors = doors
        self.refused: Counter[str] = Counter()
        self.lock = threading.Lock()
        self._ended = threading.Event()
        self._room = threading.BoundedSemaphore(config.connections_max)
        if ":" in config.host:
            self.address_family = socket.AF_INET6
        super().__init__((config.host, config.port), _Handler)

    def server_bind(self) -> None:
        # As TCPServer's own: HTTPServer's asks the resolver for the host's full name.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name = self.config.host
        self.server_port = self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        request.settimeout(0.1)
        with contextlib.suppress(OSError):  # it may have gone already
            request.sendall(_full(self.config.connections_max))
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes in mid-answer is no event; everything else is answered below."""

    def serve(self) -> None:
        """Accepts until `end`; unlike serve_forever it sleeps while nobody comes."""
        while not self._ended.is_set():
            try:
                request, client_address = self.get_request()
            except OSError:
                self._ended.wait(0.1)  # no file descriptors left, or the end
                continue
            self.process_request(request, client_address)

    def end(self) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        self.server_close()


class _Deadline(io.RawIOBase):
    """Reads a socket until a moment, however slowly the bytes come."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.at_s = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(max(self.at_s - time.monotonic(), 0.001))
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "wherry-agent"
    sys_version = ""
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._deadline = _Deadline(self.connection)
        self.rfile.close()
        self.rfile = io.BufferedReader(self._deadline)

    def handle_one_request(self) -> None:
        self._deadline.at_s = time.monotonic() + self.server.config.request_s_max
        super().handle_one_request()

    def do_GET(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body that nobody reads must not look like a request
        self._answer({"/status": self._status, "/healthz": self._healthz})

    def do_POST(self) -> None:
        self._answer({"/inference": self._inference, "/defer": self._defer})

    def _answer(self, routes: Mapping[str, Callable[[], tuple[HTTPStatus, Any]]]) -> None:
        path = self.path.split("?", 1)[0]
        try:
            self._refuse_web_pages()
            if path not in routes:
                raise _no_route(path, self.command)
            status, body = routes[path]()
        except Refusal as refusal:
            status, body = refusal.status, {"error": str(refusal)}
        self._send(status, body)

    def _inference(self) -> tuple[HTTPStatus, Any]:
        body = self._body()
        models = self.server.doors.models()
        model = models[0] if len(models) == 1 else ""
        try:
            request = parse_request(body)
            model = chosen_model(request.model, models)
            return HTTPStatus.OK, answer_inference(
                self.server.doors, model, request, self._left_s()
            )
        except WherryError as error:
            with self.server.lock:
                self.server.refused[model] += 1
            raise Refusal(HTTPStatus.BAD_REQUEST, str(error)) from error

    def _status(self) -> tuple[HTTPStatus, Any]:
        return HTTPStatus.OK, self.server.doors.status()

    def _defer(self) -> tuple[HTTPStatus, Any]:
        """{"for_s": 7200}: the owner puts swaps off; 0 ends it."""
        for_s = _seconds_in(self._body())
        if for_s is None:
            text = f'the body must be {{"for_s": SECONDS}}, with 0 to {DEFER_S_MAX} seconds'
            raise Refusal(HTTPStatus.BAD_REQUEST, text)
        try:
            return HTTPStatus.OK, self.server.doors.defer(for_s)
        except WherryError as error:
            raise Refusal(HTTPStatus.CONFLICT, str(error)) from error

    def _healthz(self) -> tuple[HTTPStatus, Any]:
        reason = self.server.doors.unhealthy()
        if reason is None:
            return HTTPStatus.OK, {"healthy": True}
        return HTTPStatus.SERVICE_UNAVAILABLE, {"healthy": False, "error": reason}

    def _body(self) -> bytes:
        limit = self.server.config.body_bytes_max
        text = self.headers.get("Content-Length", "")
        if not text.isdecimal() or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing or no number")
        size = int(text[:20])
        if size > limit:
            self.close_connection = True
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has {size} bytes, at most {limit}"
            )
        try:
            body = self.rfile.read(size)
        except TimeoutError as error:
            self.close_connection = True
            seconds = self.server.config.request_s_max
            text = f"the body did not come within {seconds:g} s"
            raise Refusal(HTTPStatus.REQUEST_TIMEOUT, text) from error
        if len(body) != size:
            self.close_connection = True
            raise Refusal(HTTPStatus.BAD_REQUEST, f"the body ended after {len(body)} of {size}")
        return body

    def _refuse_web_pages(self) -> None:
        if self.headers.get("Origin") is not None:
            raise Refusal(HTTPStatus.FORBIDDEN, "requests from web pages are not answered")
        host = _host_name(self.headers.get("Host", ""))
        if host not in ("", "localhost", self.server.config.host) and not _is_address(host):
            raise Refusal(HTTPStatus.FORBIDDEN, "Host must be localhost or an address")

    def _left_s(self) -> float:
        return max(self._deadline.at_s - time.monotonic(), 0.001)

    def _send(self, status: HTTPStatus, body: Any) -> None:
        data = json.dumps(body, separators=(",", ":")).encode() + b"\n"
        self.connection.settimeout(self._left_s())
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What BaseHTTPRequestHandler finds wrong by itself, in the same form as the rest."""
        self.close_connection = True
        text = message or explain or HTTPStatus(code).description
        self._send(HTTPStatus(code), {"error": text[:ERROR_TEXT_MAX]})

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are counted, not logged: a device's disk is not for that."""


def _seconds_in(body: bytes) -> float | None:
    """`for_s` of the body, if it is there and within bounds."""
    try:
        asked = json.loads(body)
    except ValueError:
        return None
    for_s = asked.get("for_s") if isinstance(asked, dict) else None
    if isinstance(for_s, bool) or not isinstance(for_s, int | float):
        return None
    return float(for_s) if 0 <= for_s <= DEFER_S_MAX else None


def _no_route(path: str, method: str) -> Refusal:
    known = {"/inference": "POST", "/defer": "POST", "/status": "GET", "/healthz": "GET"}
    if path in known:
        text = f"{path} takes {known[path]}, not {method}"
        return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, text)
    doors = ", ".join(f"{verb} {name}" for name, verb in known.items())
    return Refusal(HTTPStatus.NOT_FOUND, f"no such door, there are {doors}")


def _host_name(text: str) -> str:
    if text.startswith("["):
        return text[1:].split("]", 1)[0]
    return text.rsplit(":", 1)[0] if ":" in text else text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _full(connections_max: int) -> bytes:
    text = f"{connections_max} connections are open, no more are taken"
    body = json.dumps({"error": text}).encode() + b"\n"
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
