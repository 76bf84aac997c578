"""`wherry serve`: one writer thread, one HTTP server, until a signal ends both."""

import gc
import json
import logging
import os
import queue
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import uvicorn
from fastapi import FastAPI
from wherry_protocol.errors import UnreachableError

from wherry_controller import settings as setup
from wherry_controller.broker import mosquitto, provision
from wherry_controller.fleet import Fleet
from wherry_controller.fleet.open import open_organization
from wherry_controller.http import build_app
from wherry_controller.http.desk import Desk
from wherry_controller.inspecting import Inspector
from wherry_controller.layout import DataDir, hold
from wherry_controller.link.mqtt import Link
from wherry_controller.notify import Courier
from wherry_controller.settings import Settings
from wherry_controller.writer import Writer

Clock = Callable[[], float]


class JsonLines(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time_s": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_to_stderr(is_json: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if is_json else plain)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def make_writer(data: DataDir, settings: Settings, clock: Clock = time.time) -> Writer:
    """The writer over a data directory; `start` it."""

    def open_fleet() -> Fleet:
        org, _ = open_organization(data, os.urandom)
        return Fleet(org)

    def open_link(inbox: "queue.SimpleQueue[Any]") -> Link:
        name = mosquitto.role_username(settings.organization, mosquitto.CONTROLLER)
        password = provision.password_path(data, mosquitto.CONTROLLER).read_text().strip()
        link = Link(settings.organization, settings.broker, (name, password), inbox)
        link.start()
        return link

    return Writer(open_fleet, open_link, clock)


def listen(settings: Settings) -> socket.socket:
    """The API's socket;  Raises UnreachableError where it is taken."""
    host, port = settings.http.host, settings.http.port
    try:
        door = socket.create_server((host, port), family=_family(host))
        # asyncio sets this only on sockets made with an explicit protocol; without it each answer
        # waits 40 ms for a delayed acknowledgement.
        door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return door
    except OSError as error:
        raise UnreachableError(
            f"cannot listen on {host}:{port} ({error.strerror}): choose another [http] port"
        ) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _spare_the_collector() -> None:
    """What stays for the whole life is not looked at again and again while reports come in.

    A batch of a thousand reports makes tens of thousands of objects that go with it, none of them
    in a cycle; with Python's own thresholds looking for cycles took a tenth of the writer's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def serve(data: DataDir, *, port: int | None = None, is_json: bool = False) -> None:
    """Run until SIGINT or SIGTERM. The first line on stdout says that everything is up.

    Raises NotFoundError, TrustError, StateError, UnreachableError where it cannot start.
    """
    log_to_stderr(is_json)
    settings = setup.load(data.settings)
    if port is not None:
        settings = replace(settings, http=replace(settings.http, port=port))
    held = hold(data)
    door = listen(settings)
    writer = make_writer(data, settings)
    writer.start()
    courier = Courier(
        settings.organization, settings.routes, data.root, data.database, writer, time.time
    )
    courier.start()
    inspector = Inspector(settings, data.database, writer.submit, time.time)
    inspector.start()
    app = build_app(Desk(data, settings, writer))
    app.router.lifespan_context = _announcing(door, settings, is_json)
    _spare_the_collector()
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=5, limit_concurrency=256
    )
    # uvicorn ends on these, then raises them again: the second time they must find nothing to do,
    # so that the writer ends in order.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        uvicorn.Server(config).run(sockets=[door])
    finally:
        inspector.stop()
        courier.stop()
        writer.stop()
        os.close(held)


def _announcing(door: socket.socket, settings: Settings, is_json: bool) -> Any:
    """A lifespan that prints the readiness line when the server is about to accept."""
    host, port = door.getsockname()[:2]
    broker = f"{settings.broker.host}:{settings.broker.port}"
    url = f"http://{host}:{port}"
    line = f"wherry serve: {settings.organization} ready on {url}, broker {broker}"
    if is_json:
        ready = {"ready": True, "url": url, "organization": settings.organization}
        line = json.dumps(ready | {"broker": broker})

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        del app
        print(line, flush=True)
        yield

    return lifespan
