"""The manifest: what a bundle holds, what it promises, and what its signers allow.

A bundle is identified by the SHA-256 of its manifest's encoding; signatures lie beside it. Every
blob is pinned by digest and size, so that nothing can be mixed, swapped or grown.
"""

from enum import IntEnum
from math import prod

from wherry_protocol.codec import (
    Bool,
    Closed,
    Int,
    Mapping,
    Nested,
    Octets,
    Real,
    Sequence,
    Text,
    Uint,
    field,
    instruction,
    part,
)
from wherry_protocol.messages.limits import BLOB_BYTES_MAX, BLOBS_MAX, Digest, Ratio, UnixSeconds
from wherry_protocol.messages.rpc import Verb
from wherry_protocol.names import BlobName, ClassName, ModelName, SemverText

FORMAT_VERSION = 1


class Kind(IntEnum):
    """What a bundle carries. AGENT and CONFIG are reserved."""

    MODEL = 1
    AGENT = 2
    CONFIG = 3


class Role(IntEnum):
    """What a blob is for; part of what is signed, so that an asset never runs as a program."""

    PROGRAM = 1  # a piece of the program image; the image is the pieces in manifest order
    GOLDEN_INPUTS = 2  # `golden_count` inputs, one after the other
    GOLDEN_OUTPUTS = 3  # the exact output bytes for them
    ASSET = 4  # labels, vocabulary, notes
    IMAGE_HEADER = 5  # MCUboot header; a microcontroller's image is this and the program


class DType(IntEnum):
    """Element types of tensors at the contract."""

    INT8 = 1
    INT16 = 2
    INT32 = 3

    @property
    def item_bytes(self) -> int:
        """Of one element."""
        return 1 << (self.value - 1)


class StatePolicy(IntEnum):
    """What a swap does to recurrent state."""

    RESET = 1
    KEEP = 2
    WARM_UP = 3


class Comparator(IntEnum):
    """How a shadow's output is compared with the active one's."""

    ARGMAX = 1
    TOLERANCE = 2  # every output byte within `tolerance_lsb`


@part
class Tensor:
    """One tensor of the contract: real = (q - zero_point) * scale."""

    name: str = field(1, Text(64))
    dtype: DType = field(2, Closed(DType))
    shape: tuple[int, ...] = field(3, Sequence(Int(1, 1 << 24), 6))
    scale: float = field(4, Real(0.0))
    zero_point: int = field(5, Int(-32768, 32767))

    @property
    def size_bytes(self) -> int:
        return self.dtype.item_bytes * prod(self.shape)


@part
class Contract:
    """What goes in and out. `valid_*` bound each output element (quantized); None: unbounded.

    `safe_output` is what a device answers when no model may serve; None: it answers an error.
    """

    inputs: tuple[Tensor, ...] = field(1, Sequence(Nested(Tensor), 16))
    outputs: tuple[Tensor, ...] = field(2, Sequence(Nested(Tensor), 16))
    valid_min: int | None = field(3, Int(-32768, 32767), default=None)
    valid_max: int | None = field(4, Int(-32768, 32767), default=None)
    safe_output: bytes | None = field(5, Octets(65536, 1), default=None)
    comparator: Comparator = field(6, Closed(Comparator), default=Comparator.ARGMAX)
    tolerance_lsb: int = field(7, Uint(65535), default=0)
    preprocessing: str = field(8, Text(256), default="")


@part
class Blob:
    """One content-addressed member; `digest` and `size_bytes` are of the plaintext."""

    role: Role = field(1, Closed(Role))
    name: str = field(2, BlobName)
    digest: bytes = field(3, Digest)
    size_bytes: int = field(4, Uint(BLOB_BYTES_MAX))


@part
class Budget:
    """What the model may use on one hardware class; the self-test and the guards hold it."""

    latency_us_p95: int = field(1, Uint())
    memory_bytes: int = field(2, Uint())
    energy_uj: float | None = field(3, Real(0.0, 1e12), default=None)
    power_mw: float | None = field(4, Real(0.0, 1e9), default=None)


@part
class Evaluation:
    """A record of how good the model is; a missing figure fails the gate that asks for it."""

    dataset: str = field(1, Text(128))
    dataset_digest: bytes | None = field(2, Digest, default=None)
    sample_count: int = field(3, Uint())
    accuracy: float | None = field(4, Ratio, default=None)
    f1_macro: float | None = field(5, Ratio, default=None)
    latency_us_p95: int | None = field(6, Uint(), default=None)
    latency_runs: int | None = field(7, Uint(), default=None)  # so many made the p95
    hardware_class: str | None = field(8, ClassName, default=None)  # where it was measured
    # Counts by label and answer, label after label; left out where there are more than 64 classes.
    confusion: tuple[int, ...] = field(9, Sequence(Uint(), 4096), default=())


@part
class Provenance:
    """Where the weights come from."""

    trained_at_s: int | None = field(1, UnixSeconds, default=None)
    training_samples: int | None = field(2, Uint(), default=None)
    dataset_digest: bytes | None = field(3, Digest, default=None)
    git_commit: str = field(4, Text(64), default="")
    framework: str = field(5, Text(64), default="")
    source_digest: bytes | None = field(6, Digest, default=None)  # the ONNX or TFLite file
    tests_digest: bytes | None = field(7, Digest, default=None)  # the report of its tests (JUnit)
    tests_passed: int | None = field(8, Uint(), default=None)
    tests_failed: int | None = field(9, Uint(), default=None)  # failed, with an error, or skipped


@part
class Policy:
    """Bounds that the release signers set for whoever directs the devices."""

    good_inferences_min: int = field(1, Uint(), default=1)
    trial_s_min: int = field(2, Uint(86_400 * 30), default=0)
    error_rate_max: float = field(3, Ratio, default=1.0)
    unconfirmed_starts_max: int = field(4, Int(1, 100), default=10)
    may_confirm_by_golden: bool = field(5, Bool(), default=True)
    telemetry_s_min: int = field(6, Uint(86_400), default=1)
    rpc_verbs: tuple[Verb, ...] = field(7, Sequence(Closed(Verb), 32), default=tuple(Verb))


@instruction("wherry-manifest")
class Manifest:
    """The signed root document of a bundle."""

    format_version: int = field(1, Int(FORMAT_VERSION, FORMAT_VERSION))
    kind: Kind = field(2, Closed(Kind))
    model: str = field(3, ModelName)
    version: str = field(4, SemverText)
    author: str = field(5, Text(128))
    description: str = field(6, Text(1024))
    release_notes: str = field(7, Text(8192), default="")
    contract: Contract = field(8, Nested(Contract))
    engine_abi: int = field(9, Uint(65535))
    program_digest: bytes = field(10, Digest)
    arena_bytes: int = field(11, Uint(BLOB_BYTES_MAX))
    blobs: tuple[Blob, ...] = field(12, Sequence(Nested(Blob), BLOBS_MAX))
    golden_count: int = field(13, Uint(4096))
    budgets: dict[str, Budget] = field(14, Mapping(ClassName, Nested(Budget), 64))
    state_policy: StatePolicy = field(15, Closed(StatePolicy), default=StatePolicy.RESET)
    evaluations: tuple[Evaluation, ...] = field(16, Sequence(Nested(Evaluation), 16), default=())
    provenance: Provenance = field(17, Nested(Provenance), default=Provenance())
    security_floor: str = field(18, SemverText, default="0.0.0")
    policy: Policy = field(19, Nested(Policy), default=Policy())


def manifest_protocol(manifest: Manifest) -> int:
    """The protocol that a unit must speak to read this manifest."""
    tests = manifest.provenance
    is_plain = (tests.tests_digest, tests.tests_passed, tests.tests_failed) == (None, None, None)
    for one in manifest.evaluations:
        figures = (one.latency_runs, one.hardware_class, one.confusion)
        is_plain = is_plain and figures == (None, None, ())
    return 1 if is_plain else 2
