"""A real broker and real agent processes for the system tests of the agent."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry_protocol.messages.enrolment import BrokerLogin

from tests.agent.director import Device, Director
from tests.agent.live_director import LiveDirector

ROOT = Path(__file__).resolve().parents[2]
BROKER_CONF = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {folder}/
max_queued_messages 10000
max_inflight_messages 1000
log_dest file {folder}/mosquitto.log
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def wait_until(
    holds: Callable[[], Any], what: str | Callable[[], str], timeout_s: float = 20.0
) -> Any:
    """The first true value; asked 50 times a second."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = holds()
        if found:
            return found
        time.sleep(0.02)
    said = what if isinstance(what, str) else what()
    raise AssertionError(f"not within {timeout_s} s: {said}")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


@contextmanager
def broker(
    program: str, folder: Path, port: int | None = None, extra: str = "", *, is_killed: bool = False
) -> Iterator[int]:
    """A mosquitto of our own on loopback; gives its port. `is_killed`: it ends by kill -9."""
    port = port or free_port()
    folder.mkdir(exist_ok=True)
    conf = folder / "mosquitto.conf"
    user = f"user {os.environ.get('USER', 'root')}\n" if os.geteuid() == 0 else ""
    conf.write_text(BROKER_CONF.format(port=port, folder=folder) + user + extra)
    process = subprocess.Popen([program, "-c", str(conf)])
    try:
        wait_until(lambda: _answers(port), "mosquitto listens")
        yield port
    finally:
        if is_killed:
            process.kill()
        else:
            process.terminate()
        process.wait(10)


@dataclass
class AgentProcess:
    """One device: its folder, its process, its place in the fleet."""

    folder: Path
    device: Device
    process: "subprocess.Popen[bytes] | None" = None
    environment: dict[str, str] = field(default_factory=dict)  # more of the process's
    state: Path | None = None  # where it is not below the folder

    @property
    def state_dir(self) -> Path:
        return self.state or self.folder / "state"

    def start(self) -> "AgentProcess":
        command = [sys.executable, "-m", "wherry_agent.main", "run", "--config",
                   str(self.folder / "agent.toml")]  # fmt: skip
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment() | self.environment
            )
        return self

    def kill(self) -> None:
        """kill -9, as the power does it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None
        (self.state_dir / "http-address").unlink(missing_ok=True)

    def halt(self) -> None:
        """SIGSTOP: it holds its connections and does nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(20)
        self.process = None
        return status

    @property
    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    def get(self, path: str, body: Any = None, timeout_s: float = 5.0) -> Any:
        """JSON of one HTTP request to the agent's own door."""
        address = wait_until(self._address, "the agent opens its HTTP door")
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"http://{address}{path}", data, timeout_s) as answer:
            return json.loads(answer.read())

    def _address(self) -> str | None:
        try:
            return (self.state_dir / "http-address").read_text().strip() or None
        except FileNotFoundError:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the agent ended: {self.log[-2000:]}") from None
            return None


def environment() -> dict[str, str]:
    """The packages of this tree, also where they are not installed."""
    paths = [str(ROOT / name) for name in ("protocol", "native", "agent")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def agent_command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """`wherry-agent` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "wherry_agent.main", *arguments],
        capture_output=True, text=True, env=environment(), timeout=60,
    )  # fmt: skip


def enrolled(
    folder: Path,
    director: Director,
    port: int,
    name: str = "gw1",
    config: str = "",
    login: BrokerLogin | None = None,
) -> AgentProcess:
    """A device that went through `wherry-agent enroll`, with its agent.toml."""
    folder.mkdir(exist_ok=True)
    state, request, answer = folder / "state", folder / "request", folder / "answer"
    asked = ["--connection", name, "--class", "linux-test", "--label", "site=oslo"]
    made = agent_command("enroll", "--dir", str(state), *asked, "--request", str(request))
    assert made.returncode == 0, made.stderr
    login = login or BrokerLogin(host="127.0.0.1", port=port, username=name, password="secret")
    device, sealed = director.enrol(request.read_bytes(), login)
    answer.write_bytes(sealed)
    kept = agent_command("enroll", "--dir", str(state), "--answer", str(answer))
    assert kept.returncode == 0, kept.stderr
    http = "" if "[http]" in config else "[http]\nport = 0\n"
    (folder / "agent.toml").write_text(f'state_dir = "{state}"\n{config}\n{http}')
    return AgentProcess(folder, device)


@dataclass
class Fleet:
    """A broker's port, the director on it, and the agents that were started."""

    folder: Path
    port: int
    director: Director
    ashore: LiveDirector
    agents: list[AgentProcess]

    def enrol(self, name: str = "gw1", config: str = "") -> AgentProcess:
        agent = enrolled(self.folder / name, self.director, self.port, name, config)
        self.ashore.devices[name] = agent.device
        self.agents.append(agent)
        return agent


@contextmanager
def fleet(program: str, folder: Path) -> Iterator[Fleet]:
    """Everything, ended whatever happens."""
    director = Director(now_s=int(time.time()))
    with broker(program, folder / "broker") as port:
        ashore = LiveDirector(director, port)
        one = Fleet(folder, port, director, ashore, [])
        try:
            yield one
        finally:
            for agent in one.agents:
                agent.kill()
            ashore.close()
