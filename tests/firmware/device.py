"""A firmware process on a pty, and the other end of its wire."""

import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import serial
from wherry_protocol.smp import Answered, Failed, Request, Send, SmpClient, Upload, parameters

T = TypeVar("T")
POWER_CUT = 75
NEVER = 0


class PowerCutError(Exception):
    """The device went dark, as it was told to."""


def keys_text(keys: Iterable[bytes]) -> str:
    return "".join(f"{key.hex()}\n" for key in keys)


class Device:
    """One started process. Use as a context; `ask` raises the refusals that the device gives."""

    def __init__(
        self, program: Path, flash: Path, *arguments: str, timeout_us: int = 2_000_000
    ) -> None:
        self._process = subprocess.Popen(
            [str(program), "--flash", str(flash), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if self._process.stdout is None:
            raise RuntimeError("no standard output")
        self.path = self._process.stdout.readline().strip()
        if not self.path:
            self._end()
        self.port = serial.Serial(self.path, timeout=0.05)
        self._client = SmpClient(timeout_us=timeout_us)

    def _end(self) -> None:
        status = self._process.wait(timeout=10)
        error = self._process.stderr.read() if self._process.stderr else ""
        self._close_pipes()
        if status == POWER_CUT:
            raise PowerCutError
        raise RuntimeError(f"firmware ended with {status}: {error}")

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def ask(self, request: Request[T], deadline_s: float = 10.0) -> T:
        """The answer. Raises what went wrong; PowerCutError where the process ended by plan."""
        start = time.monotonic()
        self.port.write(self._client.ask(request, _now_us()))
        while time.monotonic() - start < deadline_s:
            for outcome in self._client.receive(self._read()) + self._client.elapse(_now_us()):
                match outcome:
                    case Answered(value=value):
                        return _typed(value)
                    case Failed(error=error):
                        raise error
                    case Send(data=data):
                        self.port.write(data)
        raise TimeoutError(f"no answer within {deadline_s} s")

    def _read(self) -> bytes:
        try:
            data = self.port.read(max(1, self.port.in_waiting))
        except (serial.SerialException, OSError):
            data = b""
        if not data and self._process.poll() is not None:
            self.port.close()
            self._end()
        return bytes(data)

    def upload(self, image: bytes, packet_bytes_max: int | None = None) -> int:
        """Carries the image into slot 1; how many requests it took."""
        room = packet_bytes_max or self.ask(parameters()).buffer_bytes
        upload = Upload(image, room)
        count = 0
        for request in upload.requests():
            upload.take(self.ask(request))
            count += 1
        return count

    def freeze(self, is_frozen: bool) -> None:
        """Stops the processor, or lets it go on."""
        self._process.send_signal(signal.SIGSTOP if is_frozen else signal.SIGCONT)

    def stop(self) -> None:
        self.port.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(timeout=10)
        self._close_pipes()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def run_to_end(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A start that shall end by itself: its status and words."""
    return subprocess.run(
        [str(program), *arguments], capture_output=True, text=True, timeout=20, check=False
    )


def provisioning(folder: Path, keys: Sequence[bytes], threshold: int) -> list[str]:
    """Options that make a new flash trust `keys`."""
    path = folder / "keys.txt"
    path.write_text(keys_text(keys))
    return ["--keys", str(path), "--threshold", str(threshold)]


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def _typed(value: Any) -> Any:
    return value
