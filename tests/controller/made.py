"""Bundles for tests: signed and whole; their program bytes are never run by a controller."""

from hashlib import sha256

from wherry_protocol import cose
from wherry_protocol.bundle import Bundle, write_bundle
from wherry_protocol.codec import content_type, encode
from wherry_protocol.keys import SigningKey
from wherry_protocol.manifest import (
    Blob,
    Budget,
    Contract,
    DType,
    Evaluation,
    Kind,
    Manifest,
    Policy,
    Provenance,
    Role,
    Tensor,
)
from wherry_protocol.messages.trust import TrustRole

BUDGET = Budget(latency_us_p95=1000, memory_bytes=1 << 20, energy_uj=500.0)


def make_bundle(
    keys: list[SigningKey],
    version: str = "1.0.0",
    *,
    model: str = "digits",
    classes: tuple[str, ...] = ("linux-x86_64",),
    abi: int = 1,
    floor: str = "0.0.0",
    policy: Policy | None = None,
    program_bytes: int = 150_000,
    backbone: str = "",
    notes: str = "",
    evaluations: tuple[Evaluation, ...] = (),
    provenance: Provenance = Provenance(),  # noqa: B008
    budget: Budget = BUDGET,
) -> Bundle:
    """A bundle whose program has two pieces, signed by `keys`; a `backbone` names the first."""
    seed = sha256(f"{model} {version}".encode()).digest()
    head = sha256((backbone or f"{model} {version} head").encode()).digest() * (program_bytes // 64)
    tail = seed[::-1] * (program_bytes // 64)
    blobs = {sha256(piece).digest(): piece for piece in (head, tail)}
    tensor = Tensor(name="x", dtype=DType.INT8, shape=(1, 4), scale=0.5, zero_point=0)
    manifest = Manifest(
        format_version=1,
        kind=Kind.MODEL,
        model=model,
        version=version,
        author="test",
        description="bytes",
        release_notes=notes,
        contract=Contract(inputs=(tensor,), outputs=(tensor,)),
        engine_abi=abi,
        program_digest=sha256(head + tail).digest(),
        arena_bytes=1024,
        blobs=tuple(
            Blob(role=Role.PROGRAM, name=f"piece{i}", digest=digest, size_bytes=len(piece))
            for i, (digest, piece) in enumerate(blobs.items())
        ),
        golden_count=0,
        budgets=dict.fromkeys(classes, budget),
        security_floor=floor,
        policy=policy or Policy(),
        evaluations=evaluations,
        provenance=provenance,
    )
    data = encode(manifest)
    signatures = b""
    if keys:
        signatures = cose.sign(
            data,
            content_type=content_type(Manifest),
            role=TrustRole.RELEASE,
            keys=keys,
            is_detached=True,
        )
    return Bundle(data, signatures, (), blobs)


def bundle_file(keys: list[SigningKey], version: str = "1.0.0", **options: object) -> bytes:
    """The file of `make_bundle`."""
    return write_bundle(make_bundle(keys, version, **options))  # type: ignore[arg-type]
