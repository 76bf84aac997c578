"""Small signed bundles for the agent's tests: real programs of one layer, real golden vectors."""

import random
from hashlib import sha256
from typing import Any

from wherry_native.engine import Program
from wherry_native.program import Op, read_pieces
from wherry_protocol import cose
from wherry_protocol.bundle import Bundle
from wherry_protocol.codec import content_type, encode
from wherry_protocol.keys import SigningKey
from wherry_protocol.manifest import (
    Blob,
    Budget,
    Contract,
    DType,
    Kind,
    Manifest,
    Policy,
    Role,
    Tensor,
)
from wherry_protocol.messages.trust import TrustRole

from tests.engine.programs import ACT, Builder

HARDWARE = "linux-test"
GOLDEN_COUNT = 8
INPUT_BYTES = 16


def layer_image(seed: int, outputs: int = 4, ballast_rows: int = 0) -> bytes:
    """x[1,16] -> y[1,outputs]; `ballast_rows` adds a wide layer that makes the image large."""
    b = Builder(random.Random(seed))
    x = b.activation("x", (1, INPUT_BYTES), zero_point=-1)
    here, width = x, INPUT_BYTES
    if ballast_rows:
        wide = b.activation("wide", (1, ballast_rows), zero_point=2)
        w = b.int8("wide/weights", (ballast_rows, INPUT_BYTES), "wide")
        operands = (x, w, *b.channels("wide", ballast_rows, shift_min=-8))
        b.node(Op.FULLY_CONNECTED, "wide", operands, wide, **ACT)
        here, width = wide, ballast_rows
    w = b.int8("head/weights", (outputs, width), "head")
    y = b.activation("y", (1, outputs), zero_point=3)
    operands = (here, w, *b.channels("head", outputs, shift_min=-9))
    b.node(Op.FULLY_CONNECTED, "head", operands, y, **ACT)
    return b.image("layer", (x,), (y,))


def make_bundle(
    version: str = "1.0.0",
    *,
    model: str = "digits",
    seed: int = 1,
    ballast_rows: int = 0,
    image: bytes | None = None,
    golden_is_wrong: bool = False,
    contract_changes: dict[str, Any] | None = None,
    **changes: Any,
) -> Bundle:
    """An unsigned bundle; `changes` replace fields of its manifest."""
    image = layer_image(seed, ballast_rows=ballast_rows) if image is None else image
    program = Program(image)
    blobs, members = _program_blobs(image)
    inputs, outputs = _golden(program)
    if golden_is_wrong:
        outputs = bytes([outputs[0] ^ 1]) + outputs[1:]
    for role, name, data in (
        (Role.GOLDEN_INPUTS, "golden-inputs.bin", inputs),
        (Role.GOLDEN_OUTPUTS, "golden-outputs.bin", outputs),
    ):
        members.append(_blob(role, name, data))
        blobs[sha256(data).digest()] = data
    budget = Budget(latency_us_p95=1_000_000, memory_bytes=32 << 20)
    fields: dict[str, Any] = {
        "format_version": 1,
        "kind": Kind.MODEL,
        "model": model,
        "version": version,
        "author": "tests",
        "description": "one layer",
        "contract": Contract(
            inputs=tuple(map(tensor_of, program.inputs)),
            outputs=tuple(map(tensor_of, program.outputs)),
            **(contract_changes or {}),
        ),
        "engine_abi": program.engine_abi,
        "program_digest": sha256(image).digest(),
        "arena_bytes": program.arena_bytes,
        "blobs": tuple(members),
        "golden_count": GOLDEN_COUNT,
        "budgets": {HARDWARE: budget},
        "policy": Policy(),
    }
    manifest = Manifest(**{**fields, **changes})
    return Bundle(encode(manifest), b"", (), blobs)


def _program_blobs(image: bytes) -> tuple[dict[bytes, bytes], list[Blob]]:
    """One blob per piece of the program."""
    blobs, members = {}, []
    for index, piece in enumerate(read_pieces(image)):
        data = image[piece.offset_bytes : piece.offset_bytes + piece.size_bytes]
        members.append(_blob(Role.PROGRAM, f"piece-{index}.bin", data))
        blobs[sha256(data).digest()] = data
    return blobs, members


def _blob(role: Role, name: str, data: bytes) -> Blob:
    return Blob(role=role, name=name, digest=sha256(data).digest(), size_bytes=len(data))


def _golden(program: Program) -> tuple[bytes, bytes]:
    source = random.Random(5)
    samples = [source.randbytes(program.input_bytes) for _ in range(GOLDEN_COUNT)]
    return b"".join(samples), b"".join(program.run(sample) for sample in samples)


def tensor_of(info: Any) -> Tensor:
    return Tensor(
        name=info.name,
        dtype=DType[info.dtype.upper()],
        shape=info.shape,
        scale=info.scale,
        zero_point=info.zero_point,
    )


def sign_bundle(bundle: Bundle, keys: list[SigningKey]) -> Bundle:
    """With release signatures."""
    signatures = cose.sign(
        bundle.manifest_bytes,
        content_type=content_type(Manifest),
        role=TrustRole.RELEASE,
        keys=keys,
        is_detached=True,
    )
    return Bundle(bundle.manifest_bytes, signatures, (), bundle.blobs)
