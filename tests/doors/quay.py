"""One organization behind its real doors, in virtual time.

REST is served on a loopback port and the command line speaks to it; devices' messages are real
(signed, sealed, chunked) and their broker is a dict. Only time is not: it passes when a test says
so, so that seven days of a canary take seconds.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn
from wherry_controller import settings as setup
from wherry_controller.core.permissions import Role
from wherry_controller.fleet import Organization
from wherry_controller.fleet.operators import add_operator
from wherry_controller.founding import Charter, found
from wherry_controller.http.desk import Desk
from wherry_controller.layout import DataDir
from wherry_controller.serve import listen
from wherry_controller.writer import Counters
from wherry_protocol.keys import SigningKey

from tests.cli.door import Answer, wherry
from tests.controller.apps import lend, take_back
from tests.controller.device import FakeDevice, Message
from tests.controller.made import bundle_file
from tests.controller.world import START_S, World, open_fleet

T = TypeVar("T")
TRIAL = {"good_inferences_min": 1, "trial_s_min": 0.0, "trial_s_max": 5.0}
DIRECT: dict[str, Any] = {"trial": TRIAL}


@dataclass
class Stage:
    """The one writer, as `Desk` sees it: one thread, on which the virtual world lives."""

    thread: ThreadPoolExecutor
    world: World
    counters: Counters = field(default_factory=Counters)
    is_link_up: bool = True

    def submit(self, command: Callable[[Organization], T]) -> "Future[T]":
        return self.thread.submit(self.world.do, command)


TICK_S = 5.0


def let_pass(world: World, seconds: float) -> None:
    """Time passes as the service sees it: tick by tick, since a jump makes nobody silent."""
    end_s = world.now_s + seconds
    while world.now_s < end_s:
        world.now_s = min(world.now_s + TICK_S, end_s)
        world.fleet.tick(world.now_s)


@dataclass
class Quay:
    """`rest` and `cli` are the doors; `go` lets time pass, `serve` lets devices report too."""

    data: DataDir
    stage: Stage
    server: uvicorn.Server
    thread: threading.Thread
    client: httpx.Client
    url: str
    tokens: dict[Role, str]
    settings: setup.Settings
    desk: Desk

    # --- doors

    def call(self, method: str, path: str, role: Role | None = Role.ADMIN, **more: Any) -> Any:
        headers = {} if role is None else {"Authorization": f"Bearer {self.tokens[role]}"}
        return self.client.request(method, f"/api/v1{path}", headers=headers, **more)

    def rest(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The JSON of a request that must succeed."""
        answer = self.call(method, path, json=body, params=query)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def refused(self, method: str, path: str, body: Any = None) -> str:
        """The sentence of a request that must be refused."""
        answer = self.call(method, path, json=body)
        assert 400 <= answer.status_code < 500, answer.text
        return str(answer.json()["error"])

    def wherry(self, *arguments: str | Path) -> Answer:
        return wherry("--server", self.url, "--token", self.tokens[Role.ADMIN], *arguments)

    def cli(self, *arguments: str | Path) -> Any:
        """The JSON of a command that must succeed."""
        answer = self.wherry(*arguments, "--json")
        assert answer.status == 0, answer
        return answer.json

    @contextmanager
    def busy_writer(self) -> Iterator[None]:
        """The one writer does nothing else until the block has ended: what is answered in it did
        not wait for the writer."""
        has_begun, may_end = threading.Event(), threading.Event()

        def be_busy() -> None:
            has_begun.set()
            may_end.wait(20)

        busy = self.stage.thread.submit(be_busy)
        assert has_begun.wait(20)
        try:
            yield
            assert busy.running()
        finally:
            may_end.set()

    # --- the world

    def restart(self) -> None:
        """A new process over the same files, of which it reads what it demands of rollouts."""
        self.at_sea(lambda world: world.restart())
        demanded = setup.load(self.data.settings).environments
        self.desk.settings = replace(self.desk.settings, environments=demanded)

    def at_sea(self, run: Callable[[World], T]) -> T:
        """Something on the world, on the thread that it lives on."""
        return self.stage.thread.submit(run, self.stage.world).result()

    @property
    def devices(self) -> dict[str, FakeDevice]:
        return self.stage.world.devices

    def enroll(self, *names: str, **options: Any) -> FakeDevice:
        """Devices that go through the API and report; the last of them."""
        for name in names:
            device = FakeDevice(name, **options)
            made = self.rest("POST", "/devices", {"request": device.request_base64()})
            device.take_answer(made["answer"])
            self.devices[name] = device
            self.hear(device.presence(), device.reported())
        return self.devices[names[-1]]

    def push(self, version: str, **options: Any) -> dict[str, Any]:
        options = {"program_bytes": 640, **options}
        content = bundle_file(self.stage.world.release, version, **options)
        answer = self.call("POST", "/bundles", content=content)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def deploy(self, version: str, target: str = "all", **plan: Any) -> dict[str, Any]:
        body = {"model": "digits", "version": version, "target": target, "plan": DIRECT | plan}
        return dict(self.rest("POST", "/rollouts", body))

    def install(self, version: str, target: str = "all", **options: Any) -> None:
        """Push it, bring it to everybody, and see that it serves."""
        self.push(version, **options)
        made = self.deploy(version, target)
        self.go(3)
        assert self.rollout(made)["state"] == "succeeded"

    def rollout(self, made: dict[str, Any]) -> dict[str, Any]:
        return dict(self.rest("GET", f"/rollouts/{made['id']}"))

    def versions(self) -> dict[str, str]:
        """What each device serves, as it reports it."""
        return {
            unit["connection"]: model["active_version"]
            for unit in self.rest("GET", "/devices")
            for model in unit["models"]
            if model["active_version"]
        }

    def hear(self, *messages: Message) -> None:
        self.at_sea(lambda world: world.receive(*messages))

    def go(self, seconds: float = 1.0) -> None:
        """Devices follow their desired documents; second after second."""
        self.at_sea(lambda world: world.go(seconds))

    def jump(self, seconds: float) -> None:
        """Much time at once."""

        def run(world: World) -> None:
            world.now_s += seconds
            world.fleet.tick(world.now_s)

        self.at_sea(run)
        self.go()

    def be_quiet(self, seconds: float) -> None:
        """Time passes, and no device says a word."""
        self.at_sea(lambda world: let_pass(world, seconds))
        self.go()

    def report(self, names: Iterable[str], interval_s: float = 60.0, **figures: Any) -> None:
        """One interval passes; those devices report these figures about it."""

        def run(world: World) -> None:
            let_pass(world, interval_s)
            packs = [
                world.devices[name].telemetry(
                    world.devices[name].performance("digits", interval_s=interval_s, **figures)
                )
                for name in names
            ]
            world.receive(*packs)
            world.fleet.tick(world.now_s)

        self.at_sea(run)

    def sail(
        self, rounds: int, interval_s: float = 1.0, old: dict[str, Any] | None = None, **new: Any
    ) -> None:
        """Everybody reports each interval; those on 1.1.0 have the figures `new`."""
        for _ in range(rounds):
            self.at_sea(lambda world: _tell(world, interval_s, old or {}, new))
            self.jump(interval_s - 1.0) if interval_s > 1.0 else self.go()

    def notices(self) -> list[str]:
        return [f"{row['severity']}: {row['text']}" for row in self.rest("GET", "/notices")]

    def audited(self) -> list[dict[str, Any]]:
        return list(self.rest("GET", "/audit", limit=1000))

    def close(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join()
        take_back(self.server)
        self.at_sea(lambda world: world.org.db.close())
        self.stage.thread.shutdown()


def _tell(world: World, interval_s: float, old: dict[str, Any], new: dict[str, Any]) -> None:
    packs = []
    for device in world.devices.values():
        changed = new if device.active["digits"].version == "1.1.0" else old
        figures = {"inferences": 1000, "interval_s": interval_s} | changed
        packs.append(device.telemetry(device.performance("digits", **figures)))
    world.receive(*packs)


def _founded(folder: Path, org: str, edit: Callable[[str], str]) -> World:
    made = found(DataDir(folder), Charter(org, "ada"), START_S)
    path = DataDir(folder).settings
    path.write_text(edit(path.read_text()))
    release = [SigningKey.from_pem(path.read_bytes()) for path in made.release_key_files]
    return World(folder, open_fleet(folder, START_S), release)


def make_quay(folder: Path, org: str = "acme", edit: Callable[[str], str] = str) -> Quay:
    """An organization with one release key, four operators and no device.

    `edit` changes its wherry.toml.
    """
    thread = ThreadPoolExecutor(1)
    world = thread.submit(_founded, folder, org, edit).result()
    stage = Stage(thread, world)
    data = DataDir(folder)
    tokens = {Role.ADMIN: data.operator_token.read_text().strip()}

    def add_others(org: Organization) -> None:
        for role in list(Role)[:3]:
            tokens[role] = add_operator(org.db, role.name, role, "ada", world.now_s, os.urandom)

    stage.submit(add_others).result()
    settings = setup.load(data.settings)
    settings = replace(settings, broker=replace(settings.broker, provisioning="none"))
    desk = Desk(data, settings, stage, clock=lambda: world.now_s)  # type: ignore[arg-type]
    door = listen(replace(settings, http=replace(settings.http, port=0)))
    app = lend(desk)
    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = threading.Thread(target=server.run, kwargs={"sockets": [door]})
    serving.start()
    url = f"http://127.0.0.1:{door.getsockname()[1]}"
    client = httpx.Client(base_url=url, timeout=20, verify=False)  # no TLS, no authorities
    return Quay(data, stage, server, serving, client, url, tokens, settings, desk)
