"""An SMP client without I/O: bytes and time in, bytes and outcomes out.

Rules, in order:
1. One request is outstanding at a time; a second one is the caller's mistake.
2. An answer counts only if operation, group, command and sequence fit; anything else is ignored
   (a late answer to an earlier attempt, console text, noise).
3. After `timeout_us` without an answer a request that may be repeated is sent again, under a new
   sequence number, up to `attempts_max` times in all; any other is given up at once.
4. Time comes in as `now_us` (monotonic) where it matters. `deadline_us` says when to call `elapse`.

The shell's part is small:

>>> from wherry_protocol.smp.requests import echo
>>> client = SmpClient()
>>> line = client.ask(echo("ahoy"), now_us=0)
>>> client.receive(b"garbage")
[]
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from wherry_protocol.errors import Code, DecodeError, LimitError, TrustError, UnreachableError
from wherry_protocol.smp.frame import FrameDecoder, encode_frame
from wherry_protocol.smp.message import (
    Message,
    Op,
    decode_message,
    encode_message,
)
from wherry_protocol.smp.refusals import RefusedError, refusal
from wherry_protocol.smp.requests import Request, UploadAnswer, upload_chunk

TIMEOUT_US: Final = 2_000_000
ATTEMPTS_MAX: Final = 3
LENGTH_BYTES: Final = 2  # what the length of `data` grows by when it is no longer empty


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes to the port."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """The request has its answer; `value` is what its `parse` made of it."""

    request: Request[Any]
    value: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """The request has none: refused, not understood, or nobody answers."""

    request: Request[Any]
    error: RefusedError | DecodeError | UnreachableError


Outcome = Send | Answered | Failed


@dataclass(frozen=True, slots=True)
class _Outstanding:
    request: Request[Any]
    sequence: int
    attempt: int
    deadline_us: int


class SmpClient:
    """One side of a conversation with one device."""

    def __init__(
        self,
        *,
        timeout_us: int = TIMEOUT_US,
        attempts_max: int = ATTEMPTS_MAX,
        first_sequence: int = 0,
    ) -> None:
        self._timeout_us = timeout_us
        self._attempts_max = attempts_max
        self._sequence = first_sequence & 0xFF
        self._decoder = FrameDecoder()
        self._outstanding: _Outstanding | None = None
        self.ignored_count = 0

    @property
    def dropped_count(self) -> int:
        """Frames that came damaged."""
        return self._decoder.dropped_count

    @property
    def deadline_us(self) -> int | None:
        """When `elapse` has something to do; None while nothing is outstanding."""
        return None if self._outstanding is None else self._outstanding.deadline_us

    def ask(self, request: Request[Any], now_us: int) -> bytes:
        """The bytes that carry `request`. Raises RuntimeError while another is outstanding."""
        if self._outstanding is not None:
            raise RuntimeError("an SMP request is outstanding: wait for its outcome")
        return self._send(request, attempt=1, now_us=now_us)

    def receive(self, data: bytes) -> list[Outcome]:
        """What the port delivered, in pieces of any size."""
        outcomes: list[Outcome] = []
        for packet in self._decoder.feed(data):
            outcome = self._take(packet)
            if outcome is not None:
                outcomes.append(outcome)
        return outcomes

    def elapse(self, now_us: int) -> list[Outcome]:
        """Time has passed: sends again or gives up, if the deadline is over."""
        waiting = self._outstanding
        if waiting is None or now_us < waiting.deadline_us:
            return []
        if waiting.request.may_repeat and waiting.attempt < self._attempts_max:
            return [Send(self._send(waiting.request, waiting.attempt + 1, now_us))]
        self._outstanding = None
        error = UnreachableError(
            f"microcontroller does not answer {describe(waiting.request)}: {waiting.attempt}"
            f" attempts of {self._timeout_us / 1e6:g} s each"
        )
        return [Failed(waiting.request, error)]

    def _send(self, request: Request[Any], attempt: int, now_us: int) -> bytes:
        sequence = self._sequence
        self._sequence = (sequence + 1) & 0xFF
        self._outstanding = _Outstanding(request, sequence, attempt, now_us + self._timeout_us)
        return encode_frame(
            encode_message(
                Message(request.op, request.group, request.command, sequence, request.body)
            )
        )

    def _take(self, packet: bytes) -> Outcome | None:
        try:
            answer = decode_message(packet)
        except DecodeError:
            self.ignored_count += 1
            return None
        waiting = self._outstanding
        if waiting is None or not _fits(answer, waiting):
            self.ignored_count += 1
            return None
        self._outstanding = None
        request = waiting.request
        error = refusal(answer.body, describe(request))
        if error is not None:
            return Failed(request, error)
        try:
            return Answered(request, request.parse(answer.body))
        except DecodeError as damage:
            return Failed(request, damage)


def _fits(answer: Message, waiting: _Outstanding) -> bool:
    request = waiting.request
    return (answer.op, answer.group, answer.command, answer.sequence) == (
        Op(request.op + 1),
        request.group,
        request.command,
        waiting.sequence,
    )


def describe(request: Request[Any]) -> str:
    """A request in an error's words."""
    return f"command {request.command} of group {request.group}"


class Upload:
    """Carries one image into slot 1, at the offsets that the device names.

    The device may name any offset (it resumes what it already has); `stalls_max` answers without
    progress end the upload.

    >>> upload = Upload(b"image" * 40, packet_bytes_max=128)
    >>> upload.next_request().body["off"]
    0
    """

    def __init__(
        self,
        image: bytes,
        packet_bytes_max: int,
        *,
        is_upgrade_only: bool = False,
        stalls_max: int = 8,
    ) -> None:
        self._image = image
        self._packet_bytes_max = packet_bytes_max
        self._first = {
            "image": 0,
            "len": len(image),
            "sha": sha256(image).digest(),
            "upgrade": is_upgrade_only,
        }
        self._stalls_left = stalls_max
        self._has_begun = False
        self._furthest = 0
        self.offset = 0

    @property
    def is_complete(self) -> bool:
        """The device has every byte."""
        return self._has_begun and self.offset == len(self._image)

    def next_request(self) -> Request[UploadAnswer]:
        """The next piece, as large as a packet may be. Raises LimitError if none would fit."""
        first = self._first if self.offset == 0 else None
        empty = encode_message(
            Message(Op.WRITE, 1, 1, 0, upload_chunk(self.offset, b"", first).body)
        )
        room = self._packet_bytes_max - len(empty) - LENGTH_BYTES
        if room < 32:
            raise LimitError(
                f"upload: packets of {self._packet_bytes_max} bytes leave {room} for data,"
                " at least 32 are needed"
            )
        return upload_chunk(self.offset, self._image[self.offset : self.offset + room], first)

    def take(self, answer: UploadAnswer) -> None:
        """Goes on where the device says. Raises DecodeError, TrustError or UnreachableError."""
        if answer.offset > len(self._image):
            raise DecodeError(
                f"upload: microcontroller names offset {answer.offset} of {len(self._image)}"
            )
        if answer.is_match is False:
            raise TrustError(
                "upload: the microcontroller's SHA-256 of the image differs from ours", Code.DIGEST
            )
        if answer.offset <= self._furthest and answer.offset != len(self._image):
            self._stalls_left -= 1
        if self._stalls_left < 0:
            raise UnreachableError(
                f"upload: no progress beyond byte {self._furthest} of {len(self._image)}",
                Code.NO_PROGRESS,
            )
        self._has_begun = True
        self._furthest = max(self._furthest, answer.offset)
        self.offset = answer.offset

    def requests(self) -> Iterator[Request[UploadAnswer]]:
        """Every request in turn; call `take` with each answer before the next one."""
        while not self.is_complete:
            yield self.next_request()
