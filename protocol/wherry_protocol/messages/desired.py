"""What the controller wants of one unit: retained, signed by the director."""

from enum import IntEnum
from functools import lru_cache
from hashlib import sha256
from typing import Final

from wherry_protocol.codec import (
    Bool,
    Closed,
    Int,
    Mapping,
    Nested,
    Octets,
    Real,
    Sequence,
    Uint,
    encode,
    field,
    instruction,
    part,
)
from wherry_protocol.hardware import HardwareClass
from wherry_protocol.messages.limits import (
    ASSIGNMENTS_MAX,
    BLOBS_MAX,
    MANIFEST_BYTES_MAX,
    Digest,
    PublicKey,
    Ratio,
    UnixSeconds,
)
from wherry_protocol.names import ConnectionName, ModelName, OrgName, UnitName

DAY_MINUTES: Final = 24 * 60
EVERY_DAY: Final = 0b111_1111
SAMPLES_ALL_BP: Final = 10_000


class Mode(IntEnum):
    """What the unit shall do with a bundle."""

    ACTIVE = 1  # serve it, after a trial
    WARM = 2  # load it as candidate, ready to serve
    SHADOW = 3  # load it as candidate and run it after the active one


@part
class TrialLimits:
    """When a model that was just swapped in may stay. Zero or None means: not limited.

    The trial confirms after `good_inferences_min` good inferences and `trial_s_min` seconds. At
    `trial_s_max` it reverts, or, with `may_confirm_by_golden`, confirms if the golden vectors
    pass again.
    """

    good_inferences_min: int = field(1, Uint())
    trial_s_min: float = field(2, Real(0.0, 2_592_000.0))
    trial_s_max: float = field(3, Real(1.0, 2_592_000.0))
    error_rate_max: float = field(4, Ratio)
    error_samples_min: int = field(5, Uint())
    latency_us_mean_max: int = field(6, Uint(), default=0)
    latency_us_p95_max: int = field(7, Uint(), default=0)
    energy_uj_max: float = field(8, Real(0.0, 1e12), default=0.0)
    unconfirmed_starts_max: int = field(9, Int(1, 100), default=3)
    may_confirm_by_golden: bool = field(10, Bool(), default=False)


@part
class ImageSignature:
    """One release key's Ed25519 signature over a microcontroller image's SHA-256."""

    key: bytes = field(1, PublicKey)
    signature: bytes = field(2, Octets(64))


@part
class SwapWindow:
    """When a unit may swap to what it has installed. A revert and a stop never wait for it.

    Not before and not after these times (0: not limited), and on `days` (Monday 1 … Sunday 64)
    from `start_minute` to `end_minute` of the day, which may lie beyond midnight: the day is the
    one on which it opens. The zone is `offset_minutes` east of UTC, or the unit's own.
    Until `defer_until_s` at most the device's owner may put the swap off; 0: may not.
    """

    not_before_s: int = field(1, UnixSeconds, default=0)
    not_after_s: int = field(2, UnixSeconds, default=0)
    days: int = field(3, Int(1, EVERY_DAY), default=EVERY_DAY)
    start_minute: int = field(4, Uint(DAY_MINUTES - 1), default=0)
    end_minute: int = field(5, Uint(DAY_MINUTES), default=DAY_MINUTES)
    offset_minutes: int = field(6, Int(-840, 840), default=0)
    is_local: bool = field(7, Bool(), default=False)
    defer_until_s: int = field(8, UnixSeconds, default=0)


@part
class Assignment:
    """What a unit shall run for one model; identified by its content (`assignment_id`).

    `signatures` is the detached COSE_Sign over the manifest. `attempt` makes a deliberate second
    try of the same bundle a new assignment, so that a remembered rejection does not answer it.
    `shadow_sample_bp` is how many of 10,000 inputs a shadow runs on.
    """

    model: str = field(1, ModelName)
    manifest_digest: bytes = field(2, Digest)
    manifest_bytes: int = field(3, Uint(MANIFEST_BYTES_MAX))
    signatures: bytes = field(4, Octets(8192, 1))
    mode: Mode = field(5, Closed(Mode))
    trial: TrialLimits = field(6, Nested(TrialLimits))
    attempt: int = field(7, Uint(), default=0)
    image_signatures: tuple[ImageSignature, ...] = field(
        8, Sequence(Nested(ImageSignature), 16), default=()
    )
    deadline_us: int = field(9, Uint(), default=0)  # a slower inference is an error; 0: no limit
    shadow_sample_bp: int = field(10, Uint(SAMPLES_ALL_BP), default=SAMPLES_ALL_BP)
    window: SwapWindow | None = field(11, Nested(SwapWindow), default=None)


@lru_cache(maxsize=256)
def assignment_id(assignment: Assignment) -> bytes:
    """SHA-256 of the assignment's encoding: 32 bytes. Remembered, since every step asks again."""
    return sha256(encode(assignment)).digest()


def protocol_of(assignment: Assignment) -> int:
    """The protocol that a unit must speak to read this assignment and to do what it says."""
    is_plain = assignment.window is None and assignment.shadow_sample_bp == SAMPLES_ALL_BP
    return 1 if is_plain and assignment.mode is not Mode.SHADOW else 2


@part
class SlotRelease:
    """A bundle that the unit may unload; its bytes stay on disk unless `is_purged`."""

    model: str = field(1, ModelName)
    manifest_digest: bytes = field(2, Digest)
    is_purged: bool = field(3, Bool(), default=False)


@part
class TelemetryConfig:
    """How often a unit reports."""

    performance_s: int = field(1, Int(1, 86_400), default=60)
    resources_s: int = field(2, Int(1, 86_400), default=30)
    json_mirror: bool = field(3, Bool(), default=False)


@instruction("wherry-desired")
class Desired:
    """The whole wish for one unit; a higher revision replaces it, models not named stay.

    `blob_keys` maps the digest of each needed blob (manifests too) to its content key, wrapped
    for this connection. `releases` never touch what is active or on trial.
    """

    org: str = field(1, OrgName)
    connection: str = field(2, ConnectionName)
    unit: str = field(3, UnitName)
    epoch: int = field(4, Uint())
    revision: int = field(5, Uint())
    issued_s: int = field(6, UnixSeconds)
    expires_s: int = field(7, UnixSeconds)
    assignments: tuple[Assignment, ...] = field(8, Sequence(Nested(Assignment), ASSIGNMENTS_MAX))
    blob_keys: dict[bytes, bytes] = field(9, Mapping(Digest, Octets(40), BLOBS_MAX * 4))
    hardware_class: HardwareClass = field(10, Nested(HardwareClass))
    telemetry: TelemetryConfig = field(11, Nested(TelemetryConfig), default=TelemetryConfig())
    is_isolated: bool = field(12, Bool(), default=False)
    chunk_window: int = field(13, Int(1, 8), default=8)
    releases: tuple[SlotRelease, ...] = field(
        14, Sequence(Nested(SlotRelease), ASSIGNMENTS_MAX), default=()
    )
