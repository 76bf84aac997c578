"""Programs of the demo: started, waited for until they say that they are ready, ended by us."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

READY_S_MAX = 30.0
END_S_MAX = 10.0
POLL_S = 0.05


class DemoError(Exception):
    """Something went otherwise; one sentence."""


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(what: str, holds: Callable[[], bool], limit_s: float) -> float:
    """Poll until `holds`; the seconds that it took. Raises DemoError at the limit."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > limit_s:
            raise DemoError(f"{what}: not within {limit_s:g} s")
        time.sleep(POLL_S)
    return time.monotonic() - began


def command_path(name: str) -> str:
    """One of our commands, beside the interpreter that runs us."""
    return str(Path(sys.executable).with_name(name))


@dataclass
class Processes:
    """Every process that the demo started; `end` ends exactly those."""

    folder: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program whose output goes to its log."""
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
                cwd=cwd,
            )
        self.running[name] = process
        return process

    def wait_ready(self, name: str, word: bytes, limit_s: float = READY_S_MAX) -> None:
        """Until the program's log holds `word`. Raises DemoError where it ends before."""

        def is_ready() -> bool:
            code = self.running[name].poll()
            if code is not None:
                tail = self.log(name).read_text(errors="replace")[-500:]
                raise DemoError(f"{name} ended with status {code}: {tail}")
            return word in self.log(name).read_bytes()

        wait_until(f"{name} is ready", is_ready, limit_s)

    def kill(self, name: str) -> None:
        """kill -9, as a power cut would."""
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def end(self) -> None:
        """Ask everybody to stop, last started first; kill who does not."""
        for process in reversed(self.running.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + END_S_MAX
        for process in self.running.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()


def find_program(name: str) -> str | None:
    """The program on PATH; mosquitto lives in /usr/sbin on Debian."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
