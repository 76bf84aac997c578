"""The serial port of one microcontroller: one question at a time, each with an end.

Nothing here decides anything. Every failure of the link is an UnreachableError(DEVICE_LINK) and
closes the port; the next question opens it again.
"""

import termios
import threading
import time
from collections.abc import Iterator
from typing import Any, Final, TypeVar

from wherry_protocol.errors import Code, DecodeError, MissingExtraError, UnreachableError
from wherry_protocol.sketch import Sketch
from wherry_protocol.smp import (
    Answered,
    Failed,
    InferAnswer,
    Parameters,
    Request,
    Send,
    SmpClient,
    Statistics,
    Upload,
    echo,
    encode_message,
    histogram,
    infer,
    parameters,
    reset,
    statistics,
)
from wherry_protocol.smp.message import Message

from wherry_agent.config import UnitConfig

T = TypeVar("T")

READ_S: Final = 0.05
RESTART_S_MAX: Final = 20.0
RESTART_ECHO_US: Final = 300_000
PACKET_BYTES_MAX: Final = 2048
HISTOGRAM_PARTS_MAX: Final = 256


class SmpPort:
    """One microcontroller. For one thread; `stop` ends a conversation from another one."""

    def __init__(self, config: UnitConfig, stop: threading.Event) -> None:
        """Opens nothing yet. Raises MissingExtraError where pyserial is not installed."""
        try:
            import serial
        except ImportError as error:
            raise MissingExtraError(
                f"unit {config.name} needs pyserial: pip install 'wherry[serial]'"
            ) from error
        self._config = config
        self._open = serial.serial_for_url
        self._serial: Any = None
        self._client = self._new_client()
        self._stop = stop
        self._packet_bytes: int | None = None

    def ask(self, request: Request[T]) -> T:
        """The answer. Raises RefusedError, DecodeError, UnreachableError(DEVICE_LINK)."""
        return self._ask(self._client, request)

    def upload(self, image: bytes) -> None:
        """Carries an image into slot 1, going on where the device says it is."""
        carried = Upload(image, self._packet_bytes_max())
        for request in carried.requests():
            carried.take(self.ask(request))

    def infer(self, data: bytes) -> InferAnswer:
        """One inference; the input goes in as many pieces as packets need."""
        for request in self._infer_requests(data):
            answer = self.ask(request)
        return answer

    def statistics(self) -> Statistics:
        return self.ask(statistics())

    def latency(self, stats: Statistics) -> Sketch:
        """The latency histogram that belongs to `stats`.

        Raises DecodeError where inferences came between: ask for the statistics again.
        """
        buckets: dict[int, int] = {}
        index = 0
        for _ in range(HISTOGRAM_PARTS_MAX):
            part = self.ask(histogram(index))
            buckets.update(part.buckets)
            if part.next_index is None:
                break
            index = part.next_index
        counted = sum(buckets.values())
        if counted != stats.inference_count:
            raise DecodeError(
                f"microcontroller counted {stats.inference_count} inferences and {counted} in its "
                "histogram"
            )
        return Sketch(counted, stats.sum_ns, stats.max_ns, buckets)

    def restart(self) -> None:
        """Resets the device and waits until it answers again."""
        self.ask(reset())
        self._packet_bytes = None
        ends_s = time.monotonic() + RESTART_S_MAX
        while True:
            try:
                knock = SmpClient(timeout_us=RESTART_ECHO_US, attempts_max=1)
                self._ask(knock, echo("ahoy"))
                return
            except UnreachableError:
                if time.monotonic() >= ends_s or self._stop.wait(READ_S):
                    raise

    def close(self) -> None:
        self._client = self._new_client()
        self._packet_bytes = None
        if self._serial is not None:
            self._serial.close()
            self._serial = None

    def _ask(self, client: SmpClient, request: Request[T]) -> T:
        try:
            return self._converse(client, request)
        except (OSError, termios.error, UnreachableError) as error:
            # pyserial's errors are OSErrors; that of a port which goes as it is opened is not.
            self.close()
            raise UnreachableError(f"{self._config.port}: {error}", Code.DEVICE_LINK) from error

    def _converse(self, client: SmpClient, request: Request[T]) -> T:
        port = self._opened()
        port.write(client.ask(request, _now_us()))
        while not self._stop.is_set():
            data = port.read(port.in_waiting or 1)
            for outcome in [*client.receive(data), *client.elapse(_now_us())]:
                if isinstance(outcome, Send):
                    port.write(outcome.data)
                elif isinstance(outcome, Failed):
                    raise outcome.error
                elif isinstance(outcome, Answered):
                    value: T = outcome.value
                    return value
        raise UnreachableError("the agent stops")

    def _opened(self) -> Any:
        if self._serial is None:
            self._serial = self._open(
                self._config.port,
                baudrate=self._config.baud,
                timeout=READ_S,
                write_timeout=self._config.response_s_max,
            )
            self._serial.reset_input_buffer()
        return self._serial

    def _new_client(self) -> SmpClient:
        return SmpClient(timeout_us=int(self._config.response_s_max * 1e6))

    def _packet_bytes_max(self) -> int:
        if self._packet_bytes is None:
            offered: Parameters = self.ask(parameters())
            self._packet_bytes = min(offered.buffer_bytes, PACKET_BYTES_MAX)
        return self._packet_bytes

    def _infer_requests(self, data: bytes) -> Iterator[Request[InferAnswer]]:
        empty = infer(b"", len(data))
        frame = encode_message(Message(empty.op, empty.group, empty.command, 0, empty.body))
        room = self._packet_bytes_max() - len(frame) - 2
        if room < 1:
            raise DecodeError(f"microcontroller takes packets of {self._packet_bytes} bytes only")
        for offset in range(0, max(len(data), 1), room):
            yield infer(data[offset : offset + room], offset)


def _now_us() -> int:
    return time.monotonic_ns() // 1000
