"""What the shell tells the core. Every input comes with a `Moment`."""

from collections.abc import Mapping
from dataclasses import dataclass

from wherry_protocol.errors import Code
from wherry_protocol.frozen import quick
from wherry_protocol.messages.observed import Kind, Severity
from wherry_protocol.senml import Record


@quick
@dataclass(frozen=True, slots=True)
class Moment:
    """When an input came: monotonic µs (suspend counted), and a random number in [0, 1).

    `local_minutes`: the device's zone, east of UTC.
    """

    now_us: int
    random: float
    local_minutes: int = 0


class Input:
    """Something that happened."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Ticked(Input):
    """Time went on."""


# --- the network


@dataclass(frozen=True, slots=True)
class Connected(Input):
    """The broker accepted us, as connection number `connection_number`."""

    connection_number: int


@dataclass(frozen=True, slots=True)
class Disconnected(Input):
    pass


@quick
@dataclass(frozen=True, slots=True)
class Received(Input):
    """A message, believed by nobody yet."""

    topic: str
    payload: bytes


# --- the disk


@quick
@dataclass(frozen=True, slots=True)
class Surveyed(Input):
    """What is on disk: whole blobs, chunks of unfinished ones, contents where asked for.

    `wanted` is what the survey asked for; `free_bytes` what the store may still take.
    """

    wanted: tuple[bytes, ...]
    whole: frozenset[bytes]
    chunks: Mapping[bytes, frozenset[int]]
    contents: Mapping[bytes, bytes]
    free_bytes: int


@quick
@dataclass(frozen=True, slots=True)
class BlobFinished(Input):
    digest: bytes
    is_intact: bool


@dataclass(frozen=True, slots=True)
class StoreFailed(Input):
    """The disk took a blob's bytes not."""

    digest: bytes
    text: str


@dataclass(frozen=True, slots=True)
class PersistFailed(Input):
    """The record could not be made durable; nothing that followed it was done."""

    text: str


@dataclass(frozen=True, slots=True)
class SegmentRead(Input):
    """A spool segment's bytes; None where it is gone or damaged."""

    name: str
    data: bytes | None


@dataclass(frozen=True, slots=True)
class SpoolFailed(Input):
    """The disk did not take a segment; `data` are its bytes."""

    name: str
    data: bytes


# --- units


@dataclass(frozen=True, slots=True)
class FromUnit(Input):
    """Something about one bundle of one model on one unit."""

    unit: str
    model: str
    manifest_digest: bytes


@quick
@dataclass(frozen=True, slots=True)
class Assembled(FromUnit):
    pass


@quick
@dataclass(frozen=True, slots=True)
class TensorFacts:
    """One input or output of a loaded program; real = (q - zero_point) * scale."""

    dtype: int
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    size_bytes: int


@quick
@dataclass(frozen=True, slots=True)
class Loaded(FromUnit):
    """The loader accepted it. `memory_bytes`: image and arena together."""

    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    memory_bytes: int


@quick
@dataclass(frozen=True, slots=True)
class SelfTested(FromUnit):
    """How the golden vectors went; latency is the engine's own, by the p95 of all runs."""

    passed: int
    count: int
    latency_us_p95: int


@dataclass(frozen=True, slots=True)
class StepFailed(FromUnit):
    """Assembling, loading, testing or swapping ended with an error.

    `is_unloadable`: it was the loading itself, so that this bundle cannot serve.
    """

    code: Code
    text: str
    is_unloadable: bool = False


@quick
@dataclass(frozen=True, slots=True)
class Figures(FromUnit):
    """What the model on trial did since its swap (or since the agent started).

    `energy_uj_mean` is None unless it was measured or its model was calibrated.
    """

    good_count: int
    error_count: int
    latency_us_mean: float
    latency_us_p95: int
    energy_uj_mean: float | None
    is_engine_dead: bool = False


@dataclass(frozen=True, slots=True)
class Ran(FromUnit):
    """The bundle's latest inferences in their order: True where one was good."""

    outcomes: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Shadowed(FromUnit):
    """The shadow has run on its first input since it was loaded, and lived."""


@dataclass(frozen=True, slots=True)
class Diverted(FromUnit):
    """Who answers for the bundle now; None: its safe output, or nobody."""

    fallback: bytes | None


@dataclass(frozen=True, slots=True)
class Answered(Input):
    """A unit's answer to an rpc."""

    unit: str
    request_id: bytes
    code: Code
    text: str = ""
    body: bytes = b""


@quick
@dataclass(frozen=True, slots=True)
class Sampled(Input):
    """A finished SenML pack of one unit, to be sent as telemetry."""

    unit: str
    pack: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Noticed(Input):
    """Something that a shell saw and the controller shall know."""

    unit: str
    kind: Kind
    severity: Severity
    text: str
    code: Code = Code.OK
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Deferred(Input):
    """The owner puts every swap that has a window off until then; 0: no longer."""

    until_s: int


@dataclass(frozen=True, slots=True)
class StorageSeen(Input):
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Stopping(Input):
    """The agent was asked to end: flush what must arrive."""
