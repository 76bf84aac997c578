"""A real mosquitto and a real `wherry serve` process on free loopback ports."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from wherry_controller.founding import Charter, found
from wherry_controller.layout import DataDir
from wherry_controller.settings import BrokerSettings, HttpSettings, load, to_toml
from wherry_protocol.keys import SigningKey

from tests.controller.device import FakeDevice, Message

DEADLINE_S = 20.0
SERVE = "import sys, pathlib; from wherry_controller.serve import serve; " \
        "from wherry_controller.layout import DataDir; " \
        "serve(DataDir(pathlib.Path(sys.argv[1])), is_json=True)"  # fmt: skip


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


def wait_for(
    what: Callable[[], Any], why: str | Callable[[], str], deadline_s: float = DEADLINE_S
) -> Any:
    """Poll until `what` is true; its value. Fails with `why` at the deadline."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    said = why if isinstance(why, str) else why()
    raise AssertionError(f"not within {deadline_s} s: {said}")


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


@dataclass
class Live:
    """An organization that really runs. Stop it with `close`."""

    folder: Path
    mosquitto: str
    token: str
    release: list[SigningKey]
    broker_port: int
    broker: "subprocess.Popen[bytes] | None" = None
    service: "subprocess.Popen[str] | None" = None
    http: httpx.Client = field(default_factory=httpx.Client)
    environment: dict[str, str] = field(default_factory=dict)  # more of the service's
    links: list["LiveDevice"] = field(default_factory=list)

    def start_broker(self) -> None:
        path = self.folder / "broker" / "mosquitto.conf"
        self.broker = subprocess.Popen([self.mosquitto, "-c", str(path)], stderr=subprocess.DEVNULL)
        wait_for(lambda: _accepts(self.broker_port), "mosquitto accepts connections")

    def start_service(self) -> None:
        with (self.folder / "serve.log").open("a") as log:
            self.service = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", SERVE, str(self.folder)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | self.environment,
            )
        assert self.service.stdout is not None
        line = self.service.stdout.readline()
        assert line, (self.folder / "serve.log").read_text()
        url = json.loads(line)["url"]
        self.http.close()
        self.http = self.client(self.token, url)

    def client(self, token: str, url: str | None = None) -> httpx.Client:
        return httpx.Client(
            base_url=(url or str(self.http.base_url).removesuffix("/api/v1/")) + "/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=DEADLINE_S,
        )

    def get(self, path: str, **params: Any) -> Any:
        answer = self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any, status: int = 200) -> Any:
        answer = self.http.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def enroll(self, name: str, **options: Any) -> "LiveDevice":
        device = FakeDevice(name, **options)
        made = self.post("/devices", {"request": device.request_base64()}, 201)
        device.take_answer(made["answer"])
        link = LiveDevice(device)
        self.links.append(link)
        return link

    def push(self, data: bytes, status: int = 201) -> Any:
        answer = self.http.post("/bundles", content=data)
        assert answer.status_code == status, answer.text
        return answer.json()

    def kill_broker(self, *, is_forgetting: bool = False) -> None:
        """kill -9; `is_forgetting`: what it had saved is gone too."""
        assert self.broker is not None
        self.broker.kill()
        self.broker.wait(DEADLINE_S)
        if is_forgetting:
            (self.folder / "broker" / "retained.db").unlink(missing_ok=True)

    def kill_service(self) -> None:
        assert self.service is not None
        self.service.kill()
        self._reap()

    def halt_service(self) -> None:
        """SIGSTOP."""
        assert self.service is not None
        self.service.send_signal(signal.SIGSTOP)

    def resume_service(self) -> None:
        assert self.service is not None
        self.service.send_signal(signal.SIGCONT)

    def stop_service(self) -> int:
        """SIGTERM; the exit status."""
        assert self.service is not None
        self.service.terminate()
        return self._reap()

    def _reap(self) -> int:
        assert self.service is not None
        assert self.service.stdout is not None
        status = self.service.wait(DEADLINE_S)
        self.service.stdout.close()
        self.service = None
        return status

    def close(self) -> None:
        for link in self.links:
            link.stop()
        if self.service is not None:
            self.stop_service()
        if self.broker is not None:
            self.broker.terminate()
            self.broker.wait(DEADLINE_S)
        self.http.close()


@dataclass
class LiveDevice:
    """A fake device on a real connection; `run` lets it follow its desired documents."""

    device: FakeDevice
    retained: dict[str, bytes] = field(default_factory=dict)
    is_connected: bool = False
    client: paho.Client | None = None

    def start(self) -> None:
        assert self.device.answer is not None
        login = self.device.answer.broker
        client = paho.Client(
            CallbackAPIVersion.VERSION2, f"{login.username}", clean_session=False,
            protocol=paho.MQTTv311,
        )  # fmt: skip
        client.username_pw_set(login.username, login.password)
        if login.is_tls:
            client.tls_set_context(ssl.create_default_context(cadata=login.ca_pem))
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.connect(login.host, login.port)
        client.loop_start()
        self.client = client
        wait_for(lambda: self.is_connected, f"{self.device.name} is connected")

    def _on_connect(self, client: paho.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        topics = self.device.topics
        own = topics.connection(self.device.name, "")
        for topic in (f"{own}+/desired", f"{own}+/rpc", f"{own}ack", f"{topics.prefix}/b/+/+"):
            client.subscribe(topic, 1)
        self.is_connected = not reason.is_failure

    def _on_disconnect(self, _c: Any, _u: Any, _f: Any, _reason: Any, _p: Any) -> None:
        self.is_connected = False

    def _on_message(self, _c: Any, _u: Any, message: paho.MQTTMessage) -> None:
        self.retained[message.topic] = bytes(message.payload)

    def send(self, message: Message, retain: bool = False) -> None:
        assert self.client is not None
        self.client.publish(message[0], message[1], qos=1, retain=retain)

    def report(self) -> None:
        self.send(self.device.reported(), retain=True)

    def follow(self) -> bool:
        """Act on the newest desired document once its chunks are here, and report."""
        try:
            is_news = self.device.follow(dict(self.retained))
        except KeyError:  # a chunk has not arrived yet
            return False
        if is_news:
            self.report()
        return is_news

    def serves(self, version: str, model: str = "digits") -> bool:
        """Follow once more; whether it serves that version now."""
        self.follow()
        served = self.device.active.get(model)
        return served is not None and served.version == version

    def stop(self) -> None:
        if self.client is not None:
            self.client.disconnect()
            self.client.loop_stop()
            self.client = None


def make_live(
    folder: Path,
    mosquitto: str,
    tls: dict[str, str] | None = None,
    *,
    ports: tuple[int, int] | None = None,
    fleet: dict[str, float] | None = None,
    environment: dict[str, str] | None = None,
) -> Live:
    """Found an organization and start its broker and service; `tls` names its three files.

    `ports` are the broker's own and the one that everybody dials, where these differ; `fleet`
    changes that section of wherry.toml, `environment` is the service's beside ours.
    """
    port, door_port = ports or (free_port(),) * 2
    broker = BrokerSettings(port=door_port, is_tls=tls is not None, **(tls or {}))
    charter = Charter("acme", "ada", broker=broker, http=HttpSettings(port=free_port()))
    made = found(DataDir(folder), charter, time.time())
    if door_port != port:
        path = folder / "broker" / "mosquitto.conf"
        path.write_text(path.read_text().replace(f"listener {door_port} ", f"listener {port} "))
    if fleet is not None:
        settings = load(DataDir(folder).settings)
        tuned = replace(settings, fleet=replace(settings.fleet, **fleet))  # type: ignore[arg-type]
        DataDir(folder).settings.write_text(to_toml(tuned))
    release = [SigningKey.from_pem(path.read_bytes()) for path in made.release_key_files]
    live = Live(folder, mosquitto, made.token, release, port)
    live.environment = environment or {}
    live.start_broker()
    live.start_service()
    return live
