"""What can be asked of a microcontroller, and what its answers mean.

A `Request` knows its own answer: `parse` turns the response's body into a typed value and raises
DecodeError where a field is missing or of another type. Groups: 0 (os) and 1 (image) as Zephyr
specifies them, 87 (Wherry) as docs/SPEC-firmware.md does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from wherry_protocol.errors import DecodeError
from wherry_protocol.smp.message import Op

OS_GROUP: Final = 0
IMAGE_GROUP: Final = 1
WHERRY_GROUP: Final = 87

Body = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """One question. `may_repeat`: asking twice does no more than asking once."""

    op: Op
    group: int
    command: int
    parse: Callable[[Body], T]
    body: Body = field(default_factory=dict)
    may_repeat: bool = True


@dataclass(frozen=True, slots=True)
class Parameters:
    """How large a packet the device takes (header included), and how many at once."""

    buffer_bytes: int
    buffer_count: int


@dataclass(frozen=True, slots=True)
class SlotState:
    """One slot: 0 runs, 1 takes uploads. `digest` is the image's SHA256 TLV."""

    slot: int
    version: str
    digest: bytes
    is_active: bool
    is_confirmed: bool
    is_pending: bool
    is_permanent: bool
    is_bootable: bool


@dataclass(frozen=True, slots=True)
class UploadAnswer:
    """`offset`: how much the device has. `is_match`: the SHA-256 of all of it holds, when known."""

    offset: int
    is_match: bool | None


@dataclass(frozen=True, slots=True)
class InferAnswer:
    """`offset`: input bytes taken so far. `output` and its duration come with the last of them."""

    offset: int
    output: bytes | None
    duration_ns: int | None
    version: str
    digest: bytes
    slot: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """What runs and how well, since the start. Durations in ns; `cycles` where there is a counter.

    Without a running program `digest` is empty and the sizes are 0; quantiles are 0 while
    `inference_count` is.
    """

    inference_count: int
    error_count: int
    refused_count: int
    sum_ns: int
    max_ns: int
    p50_ns: int
    p95_ns: int
    p99_ns: int
    cycles: int | None
    digest: bytes
    slot: int
    version: str
    is_confirmed: bool
    input_bytes: int
    output_bytes: int
    uptime_ms: int
    boot_action: str


@dataclass(frozen=True, slots=True)
class HistogramPart:
    """Latency buckets (docs/SPEC-program.md) as (index, count); None as `next_index` ends."""

    buckets: tuple[tuple[int, int], ...]
    next_index: int | None


def _get(body: Body, key: str, kind: type[T], default: T | None = None) -> T:
    value = body.get(key, default)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise DecodeError(f"SMP answer: {key!r} is {value!r}, must be {kind.__name__}")
    return value


def _count(body: Body, key: str, default: int | None = None) -> int:
    value = _get(body, key, int, default)
    if value < 0:
        raise DecodeError(f"SMP answer: {key!r} is {value}, must not be negative")
    return value


def _nothing(_body: Body) -> None:
    return None


def echo(text: str) -> Request[str]:
    """The device says `text` back."""
    return Request(Op.WRITE, OS_GROUP, 0, lambda body: _get(body, "r", str), {"d": text})


def reset() -> Request[None]:
    """The device starts again, after it has answered."""
    return Request(Op.WRITE, OS_GROUP, 5, _nothing, may_repeat=False)


def parameters() -> Request[Parameters]:
    """How large packets may be."""
    return Request(
        Op.READ, OS_GROUP, 6,
        lambda body: Parameters(_count(body, "buf_size"), _count(body, "buf_count")),
    )  # fmt: skip


def _slot_state(item: Any) -> SlotState:
    if not isinstance(item, Mapping):
        raise DecodeError(f"SMP answer: an image is {item!r}, must be a map")
    return SlotState(
        slot=_count(item, "slot"),
        version=_get(item, "version", str),
        digest=_get(item, "hash", bytes, b""),
        is_active=_get(item, "active", bool, False),
        is_confirmed=_get(item, "confirmed", bool, False),
        is_pending=_get(item, "pending", bool, False),
        is_permanent=_get(item, "permanent", bool, False),
        is_bootable=_get(item, "bootable", bool, False),
    )


def _slots(body: Body) -> tuple[SlotState, ...]:
    images = body.get("images")
    if not isinstance(images, list | tuple):
        raise DecodeError("SMP answer: 'images' is missing or no list")
    return tuple(_slot_state(item) for item in images)


def read_slots() -> Request[tuple[SlotState, ...]]:
    """The images on the device; an empty slot is not listed."""
    return Request(Op.READ, IMAGE_GROUP, 0, _slots)


def try_image(digest: bytes) -> Request[tuple[SlotState, ...]]:
    """Boot this image at the next start, once, unless it is confirmed then."""
    return Request(Op.WRITE, IMAGE_GROUP, 0, _slots, {"hash": digest, "confirm": False})


def confirm_image(digest: bytes | None = None) -> Request[tuple[SlotState, ...]]:
    """Keep this image (the running one by default); one that does not run yet boots for good."""
    body: dict[str, Any] = {"confirm": True}
    if digest is not None:
        body["hash"] = digest
    return Request(Op.WRITE, IMAGE_GROUP, 0, _slots, body)


def _upload_answer(body: Body) -> UploadAnswer:
    match = body.get("match")
    if match is not None and not isinstance(match, bool):
        raise DecodeError(f"SMP answer: 'match' is {match!r}, must be bool")
    return UploadAnswer(_count(body, "off"), match)


def upload_chunk(
    offset: int, data: bytes, first: Mapping[str, Any] | None = None
) -> Request[UploadAnswer]:
    """A piece of an image for slot 1. `first` goes with offset 0: len, sha, upgrade."""
    return Request(
        Op.WRITE, IMAGE_GROUP, 1, _upload_answer,
        {"off": offset, "data": data, **(first or {})},
    )  # fmt: skip


def erase_image() -> Request[None]:
    """Empty slot 1."""
    return Request(Op.WRITE, IMAGE_GROUP, 5, _nothing, {"slot": 1})


def _infer_answer(body: Body) -> InferAnswer:
    return InferAnswer(
        offset=_count(body, "off"),
        output=_get(body, "out", bytes) if "out" in body else None,
        duration_ns=_count(body, "ns") if "ns" in body else None,
        version=_get(body, "version", str),
        digest=_get(body, "digest", bytes),
        slot=_count(body, "slot"),
    )


def infer(data: bytes, offset: int = 0) -> Request[InferAnswer]:
    """A piece of the input tensors' bytes; the piece that completes them runs one inference."""
    return Request(
        Op.WRITE, WHERRY_GROUP, 0, _infer_answer, {"off": offset, "data": data}, may_repeat=False
    )


def _statistics(body: Body) -> Statistics:
    return Statistics(
        inference_count=_count(body, "count"),
        error_count=_count(body, "errors"),
        refused_count=_count(body, "refused"),
        sum_ns=_count(body, "sum_ns"),
        max_ns=_count(body, "max_ns"),
        p50_ns=_count(body, "p50_ns"),
        p95_ns=_count(body, "p95_ns"),
        p99_ns=_count(body, "p99_ns"),
        cycles=_count(body, "cycles") if "cycles" in body else None,
        digest=_get(body, "digest", bytes),
        slot=_count(body, "slot"),
        version=_get(body, "version", str),
        is_confirmed=_get(body, "confirmed", bool),
        input_bytes=_count(body, "in_size"),
        output_bytes=_count(body, "out_size"),
        uptime_ms=_count(body, "uptime_ms"),
        boot_action=_get(body, "boot", str),
    )


def statistics() -> Request[Statistics]:
    """Counts, latency, and what runs."""
    return Request(Op.READ, WHERRY_GROUP, 1, _statistics)


def _histogram(body: Body) -> HistogramPart:
    flat = body.get("buckets")
    if (
        not isinstance(flat, list | tuple)
        or len(flat) % 2
        or not all(isinstance(number, int) and number >= 0 for number in flat)
    ):
        raise DecodeError("SMP answer: 'buckets' must be a list of index, count, index, count …")
    return HistogramPart(
        buckets=tuple(zip(flat[::2], flat[1::2], strict=True)),
        next_index=_count(body, "next") if "next" in body else None,
    )


def histogram(from_index: int = 0) -> Request[HistogramPart]:
    """The latency histogram's filled buckets from `from_index` on, as many as fit an answer."""
    return Request(Op.READ, WHERRY_GROUP, 2, _histogram, {"from": from_index})
