"""One example of every message, made from fixed seeds: the source of the golden vectors.

`python -m tests.protocol.examples` writes tests/vectors/messages.json anew; a change there is a
change of the wire and needs a line in the changelog.
"""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from wherry_protocol import cose, sealed
from wherry_protocol.bundle import ImageSignatures
from wherry_protocol.codec import content_type, encode
from wherry_protocol.errors import Code
from wherry_protocol.hardware import EnergyModel, HardwareClass
from wherry_protocol.keys import AgreementKey, SigningKey
from wherry_protocol.manifest import (
    Blob,
    Budget,
    Contract,
    DType,
    Evaluation,
    Manifest,
    Policy,
    Provenance,
    Role,
    Tensor,
)
from wherry_protocol.manifest import Kind as BundleKind
from wherry_protocol.messages.desired import (
    Assignment,
    Desired,
    ImageSignature,
    Mode,
    SlotRelease,
    SwapWindow,
    TrialLimits,
)
from wherry_protocol.messages.enrolment import BrokerLogin, EnrolAnswer, EnrolRequest, UnitRequest
from wherry_protocol.messages.observed import (
    Ack,
    Event,
    Kind,
    Origin,
    Presence,
    Severity,
    Telemetry,
)
from wherry_protocol.messages.reported import (
    MissingChunks,
    ModelReport,
    Outcome,
    Phase,
    Reported,
    SlotReport,
)
from wherry_protocol.messages.rpc import (
    InferReply,
    InferRequest,
    LogsReply,
    LogsRequest,
    Reply,
    Request,
    ResetBreakerRequest,
    StatusReply,
    TimeAnswer,
    Verb,
    VerifyReply,
    VerifyRequest,
)
from wherry_protocol.messages.trust import FleetTime, ReportRequest, RoleKeys, Root, Stop, TrustRole
from wherry_protocol.replacing import replace
from wherry_protocol.senml import Record
from wherry_protocol.sketch import sketch_of

VECTORS = Path(__file__).parents[1] / "vectors" / "messages.json"

ROOT_KEY, RELEASE_KEY, RELEASE_KEY_2, DIRECTOR_KEY, DEVICE_KEY = (
    SigningKey.from_seed(bytes([n]) * 32) for n in range(1, 6)
)
DEVICE_AGREEMENT = AgreementKey.from_seed(bytes([6]) * 32)
DIRECTOR_AGREEMENT = AgreementKey.from_seed(bytes([7]) * 32)
CONNECTION_KEYS = DEVICE_AGREEMENT.agree(DIRECTOR_AGREEMENT.public, "acme", "pump-17")
NOW_S = 1_790_000_000
BOOT_ID = bytes(range(16))
NONCE = bytes(range(16, 32))
PROGRAM = b"a program image of 32 bytes ...."

HARDWARE = HardwareClass(
    name="linux-arm64",
    architecture="aarch64",
    ram_bytes=512 << 20,
    flash_bytes=8 << 30,
    memory_budget_bytes=64 << 20,
    storage_budget_bytes=256 << 20,
    latency_us_max=10_000,
    energy_uj_max=5_000.0,
    temperature_c_min=-20.0,
    temperature_c_max=80.0,
    energy_model=EnergyModel(nj_per_cycle=0.5, uncertainty=0.25, idle_mw=400.0),
)
TENSOR = Tensor(name="image", dtype=DType.INT8, shape=(1, 8, 8, 1), scale=0.0625, zero_point=-128)
MANIFEST = Manifest(
    format_version=1,
    kind=BundleKind.MODEL,
    model="digits",
    version="1.0.0",
    author="alice",
    description="handwritten digits",
    contract=Contract(inputs=(TENSOR,), outputs=(TENSOR,), valid_min=-128, valid_max=127),
    engine_abi=1,
    program_digest=sha256(PROGRAM).digest(),
    arena_bytes=4096,
    blobs=(
        Blob(
            role=Role.PROGRAM,
            name="structure",
            digest=sha256(PROGRAM).digest(),
            size_bytes=len(PROGRAM),
        ),
    ),
    golden_count=0,
    budgets={"linux-arm64": Budget(latency_us_p95=2_000, memory_bytes=1 << 20, energy_uj=900.0)},
    evaluations=(Evaluation(dataset="digits-test", sample_count=360, accuracy=0.97),),
    provenance=Provenance(trained_at_s=NOW_S, training_samples=1437, framework="torch 2.13"),
    policy=Policy(good_inferences_min=10, rpc_verbs=(Verb.STATUS, Verb.INFER)),
)
MANIFEST_DIGEST = sha256(encode(MANIFEST)).digest()
MANIFEST_SIGNATURES = cose.sign(
    encode(MANIFEST),
    content_type=content_type(Manifest),
    role=TrustRole.RELEASE,
    keys=(RELEASE_KEY, RELEASE_KEY_2),
    is_detached=True,
)
ASSIGNMENT = Assignment(
    model="digits",
    manifest_digest=MANIFEST_DIGEST,
    manifest_bytes=len(encode(MANIFEST)),
    signatures=MANIFEST_SIGNATURES,
    mode=Mode.ACTIVE,
    trial=TrialLimits(
        good_inferences_min=100,
        trial_s_min=1.0,
        trial_s_max=600.0,
        error_rate_max=0.1,
        error_samples_min=50,
        latency_us_mean_max=3_000,
    ),
    image_signatures=(ImageSignature(key=RELEASE_KEY.public, signature=bytes(64)),),
    deadline_us=20_000,
)
SHADOWING = replace(
    ASSIGNMENT,
    mode=Mode.SHADOW,
    shadow_sample_bp=2_500,
    window=SwapWindow(
        not_before_s=NOW_S,
        not_after_s=NOW_S + 7 * 86_400,
        days=0b110_0000,
        start_minute=22 * 60,
        end_minute=4 * 60,
        offset_minutes=-90,
        defer_until_s=NOW_S + 86_400,
    ),
)
ORIGIN = Origin(
    org="acme",
    connection="pump-17",
    unit="self",
    boot_id=BOOT_ID,
    sequence=42,
    oldest=40,
    monotonic_us=9_000_000,
    time_s=NOW_S,
)

INSTRUCTIONS: tuple[Any, ...] = (
    FleetTime(org="acme", epoch=1, time_s=NOW_S, root_number=1),
    Stop(
        org="acme", epoch=1, sequence=3, issued_s=NOW_S, is_stopped=True, reason="smoke in hall 2"
    ),
    ReportRequest(org="acme", epoch=1, issued_s=NOW_S, nonce=NONCE),
    Desired(
        org="acme",
        connection="pump-17",
        unit="self",
        epoch=1,
        revision=7,
        issued_s=NOW_S,
        expires_s=NOW_S + 86_400,
        assignments=(ASSIGNMENT, SHADOWING),
        blob_keys={MANIFEST_DIGEST: bytes(40)},
        hardware_class=HARDWARE,
        releases=(SlotRelease(model="digits", manifest_digest=bytes(32), is_purged=True),),
    ),
    Request(
        org="acme",
        connection="pump-17",
        unit="self",
        id=NONCE,
        issued_s=NOW_S,
        expires_s=NOW_S + 60,
        verb=Verb.INFER,
        body=encode(InferRequest(model="digits", input=bytes(64))),
    ),
)
ROOT = Root(
    org="acme",
    number=1,
    issued_s=NOW_S,
    expires_s=NOW_S + 365 * 86_400,
    epoch=1,
    roles={
        TrustRole.ROOT: RoleKeys(threshold=1, keys=(ROOT_KEY.public,)),
        TrustRole.RELEASE: RoleKeys(threshold=2, keys=(RELEASE_KEY.public, RELEASE_KEY_2.public)),
        TrustRole.DIRECTOR: RoleKeys(threshold=1, keys=(DIRECTOR_KEY.public,)),
    },
)
REPORTED = Reported(
    org="acme",
    connection="pump-17",
    unit="self",
    boot_id=BOOT_ID,
    boot_count=12,
    sequence=4,
    monotonic_us=9_000_000,
    time_s=NOW_S,
    epoch=1,
    revision=7,
    root_number=1,
    models=(
        ModelReport(
            model="digits",
            phase=Phase.IDLE,
            outcome=Outcome.REVERTED,
            assignment_id=bytes(32),
            active=SlotReport(manifest_digest=MANIFEST_DIGEST, version="1.0.0"),
            code=Code.LATENCY,
            reason="mean latency 4100 us, at most 3000 us",
            candidate_mode=Mode.SHADOW,
            is_previous_loaded=True,
        ),
    ),
    missing=(MissingChunks(digest=MANIFEST_DIGEST, chunks=(0, 3)),),
    agent_version="0.1.0",
    engine_abi_min=1,
    engine_abi_max=1,
    protocol_min=1,
    protocol_max=1,
    hardware_class="linux-arm64",
)
ENROL_REQUEST = EnrolRequest(
    connection="pump-17",
    signing_key=DEVICE_KEY.public,
    agreement_key=DEVICE_AGREEMENT.public,
    units=(UnitRequest(unit="self", hardware_class="linux-arm64"),),
    labels={"site": "oslo"},
    agent_version="0.1.0",
    nonce=NONCE,
)
ACK = Ack(org="acme", connection="pump-17", boot_id=BOOT_ID, sequence=42)
MACED: tuple[Any, ...] = (
    Telemetry(
        origin=ORIGIN,
        pack=(
            Record(base_name="acme/pump-17/self/digits/1.0.0/active/", name="inferences", value=60),
            Record(name="latency.p95", unit="s", value=0.00025),
            Record(name="latency.sketch", data=sketch_of([250_000] * 60).to_bytes()),
            Record(name="energy.source", string="modelled:datasheet"),
        ),
    ),
    Event(
        origin=ORIGIN,
        kind=Kind.REVERTED,
        severity=Severity.ERROR,
        code=Code.LATENCY,
        text="digits 1.1.0 reverted: mean latency 4100 us, at most 3000 us",
        model="digits",
        manifest_digest=MANIFEST_DIGEST,
    ),
    Presence(org="acme", connection="pump-17", connection_number=5, is_online=True),
    Reply(org="acme", connection="pump-17", unit="self", id=NONCE, code=Code.OK),
)
BODIES: tuple[Any, ...] = (
    HARDWARE,
    TimeAnswer(nonce=NONCE, time_s=NOW_S, epoch=1, root_number=1),
    InferRequest(model="digits", input=bytes(64)),
    InferReply(
        output=bytes(10),
        manifest_digest=MANIFEST_DIGEST,
        version="1.0.0",
        slot="active",
        latency_us=8,
    ),
    VerifyRequest(model="digits", manifest_digest=MANIFEST_DIGEST),
    VerifyReply(
        is_intact=True,
        golden_passed=16,
        golden_count=16,
        manifest_digest=MANIFEST_DIGEST,
        latency_us_p95=90,
    ),
    ResetBreakerRequest(model="digits"),
    LogsRequest(count=20),
    LogsReply(lines=("12.5 swapped digits 1.0.0",)),
    StatusReply(fields={"digits.active": "1.0.0"}),
    ImageSignatures(signatures=ASSIGNMENT.image_signatures),
)


def signed_root(root: Root, *keys: SigningKey) -> bytes:
    """COSE_Sign around a root, by the given keys."""
    return cose.sign(encode(root), content_type=content_type(Root), role=TrustRole.ROOT, keys=keys)


ENROL_ANSWER = EnrolAnswer(
    org="acme",
    connection="pump-17",
    nonce=NONCE,
    issued_s=NOW_S,
    roots=(signed_root(ROOT, ROOT_KEY),),
    agreement_key=DIRECTOR_AGREEMENT.public,
    broker=BrokerLogin(host="127.0.0.1", port=8883, username="acme/d/pump-17", password="secret"),
    classes={"self": HARDWARE},
)


def messages() -> tuple[Any, ...]:
    """Every message that has a content type, once."""
    return (
        *INSTRUCTIONS,
        ACK,
        ROOT,
        MANIFEST,
        REPORTED,
        *MACED,
        ENROL_REQUEST,
        ENROL_ANSWER,
        *BODIES,
    )


def on_the_wire(message: Any) -> bytes | None:
    """The message in its COSE structure, or None for one that travels inside another."""
    if message in INSTRUCTIONS or message is ENROL_ANSWER:
        return sealed.seal(message, TrustRole.DIRECTOR, DIRECTOR_KEY)
    if message is REPORTED or message is ENROL_REQUEST:
        return sealed.seal(message, TrustRole.DEVICE, DEVICE_KEY)
    if message is ROOT:
        return signed_root(ROOT, ROOT_KEY)
    if message is MANIFEST:
        return MANIFEST_SIGNATURES
    if message in MACED or message is ACK:
        return sealed.seal_mac(message, CONNECTION_KEYS.mac_key)
    return None


def vectors() -> dict[str, dict[str, str]]:
    """Name → {content_type, cbor, cose} in hexadecimal."""
    out = {}
    for message in messages():
        row = {"content_type": content_type(type(message)), "cbor": encode(message).hex()}
        wire = on_the_wire(message)
        if wire is not None:
            row["cose"] = wire.hex()
        out[type(message).__name__] = row
    return out


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(vectors(), indent=1) + "\n")
