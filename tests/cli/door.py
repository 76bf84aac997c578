"""The command line's door: one call, and what it printed, beside the real API in process."""

import io
import json
import queue
import threading
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvicorn
from wherry_controller import settings as setup
from wherry_controller.cli.app import run
from wherry_controller.fleet import Fleet
from wherry_controller.fleet.open import open_organization
from wherry_controller.fleet.organization import Outbound
from wherry_controller.http.desk import Desk
from wherry_controller.layout import DataDir
from wherry_controller.link.mqtt import Arrived, LinkChanged, Published
from wherry_controller.serve import listen
from wherry_controller.writer import Writer

from tests.controller.apps import lend, take_back
from tests.controller.device import FakeDevice, Message


@dataclass(frozen=True)
class Answer:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def wherry(*arguments: str | Path) -> Answer:
    """One command line, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = run([str(argument) for argument in arguments])
    return Answer(status, out.getvalue(), err.getvalue())


@dataclass
class Wire:
    """A broker in memory, with the interface of the controller's link; devices follow at once."""

    inbox: "queue.Queue[Any]"
    is_up: bool = True
    retained: dict[str, bytes] = field(default_factory=dict)
    devices: list[FakeDevice] = field(default_factory=list)
    sent: dict[int, tuple[str, int]] = field(default_factory=dict)
    mid: int = 0

    has_room = True

    @property
    def topics_in_flight(self) -> frozenset[str]:
        return frozenset(topic for topic, _ in self.sent.values())

    def publish(self, messages: Iterable[Outbound]) -> None:
        for message in messages:
            self.mid += 1
            self.retained[message.topic] = message.payload
            if message.version is not None:
                self.sent[self.mid] = (message.topic, message.version)
                self.inbox.put(Published(self.mid))
        for device in self.devices:
            self._follow(device)

    def _follow(self, device: FakeDevice) -> None:
        try:
            is_news = device.follow(self.retained)
        except KeyError:  # a chunk is still to come
            return
        if is_news:
            self.deliver(device.reported())

    def deliver(self, *messages: Message) -> None:
        for topic, payload in messages:
            self.inbox.put(Arrived(topic, payload, 0, 1))

    def settled(self, mid: int) -> tuple[str, int] | None:
        return self.sent.pop(mid, None)

    def acknowledge(self, messages: Iterable[Arrived]) -> None:
        """Nothing is kept for sending again."""

    def stop(self) -> None:
        self.is_up = False


@dataclass
class Service:
    """An organization that `wherry init` made, served on a free port."""

    data: Path
    url: str
    token: str
    server: uvicorn.Server
    thread: threading.Thread
    writer: Writer
    wire: Wire

    def wherry(self, *arguments: str | Path, token: str | None = None) -> Answer:
        """A command as the first operator, or as the holder of `token`."""
        return wherry("--server", self.url, "--token", token or self.token, *arguments)

    def ok(self, *arguments: str | Path) -> Any:
        """The JSON of a command that must succeed."""
        answer = self.wherry(*arguments, "--json")
        assert answer.status == 0, answer
        return answer.json

    def enroll(self, name: str, folder: Path, **options: Any) -> FakeDevice:
        """A device that is enrolled by the command, online and reporting."""
        device = FakeDevice(name, **options)
        request, answer = folder / f"{name}.request", folder / f"{name}.answer"
        request.write_bytes(device.request())
        self.ok("device", "enroll", request, "--answer", answer)
        device.take_answer(answer.read_bytes())
        self.wire.devices.append(device)
        self.wire.deliver(device.presence(), device.reported())
        return device

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        take_back(self.server)
        self.writer.stop()


def serve(folder: Path) -> Service:
    """Found an organization by command and serve it without a broker process."""
    made = wherry("--data", folder, "init", "--org", "acme", "--operator", "ada", "--json")
    assert made.status == 0, made
    data = DataDir(folder)
    settings = setup.load(data.settings)
    settings = replace(settings, broker=replace(settings.broker, provisioning="none"))
    wires: list[Wire] = []

    def open_fleet() -> Fleet:
        return Fleet(open_organization(data)[0])

    def open_link(inbox: "queue.Queue[Any]") -> Any:
        wires.append(Wire(inbox))
        inbox.put(LinkChanged(True, True))
        return wires[0]

    writer = Writer(open_fleet, open_link)
    writer.start()
    door = listen(replace(settings, http=replace(settings.http, port=0)))
    app = lend(Desk(data, settings, writer))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
    thread.start()
    url = f"http://127.0.0.1:{door.getsockname()[1]}"
    return Service(folder, url, made.json["token"], server, thread, writer, wires[0])
