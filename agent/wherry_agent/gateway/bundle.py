"""A bundle as a microcontroller takes it: MCUboot header, program, signatures, golden vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from wherry_native.engine import EngineError, Program, TensorInfo
from wherry_protocol.errors import Code, ContractError, TrustError
from wherry_protocol.manifest import DType, Manifest
from wherry_protocol.mcuboot import assemble_image, image_digest
from wherry_protocol.messages.desired import ImageSignature

from wherry_agent.core.inputs import TensorFacts


@dataclass(frozen=True, slots=True)
class Material:
    """The blobs of one bundle, each verified by whoever read it, joined by role."""

    header: bytes
    program: bytes
    golden_inputs: bytes
    golden_outputs: bytes


@dataclass(frozen=True, slots=True)
class McuBundle:
    """A bundle whose program this gateway's own engine has checked."""

    manifest_digest: bytes
    version: str
    manifest: Manifest
    material: Material
    image_digest: bytes
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    memory_bytes: int

    @property
    def golden(self) -> Sequence[tuple[bytes, bytes]]:
        """(input, exact output) of every golden vector."""
        count = self.manifest.golden_count
        return [
            (
                _part(self.material.golden_inputs, i, count),
                _part(self.material.golden_outputs, i, count),
            )
            for i in range(count)
        ]

    def image(self, signatures: Sequence[ImageSignature]) -> bytes:
        """What is uploaded. Raises TrustError where nobody signed the image."""
        if not signatures:
            raise TrustError(
                f"{self.manifest.model} {self.version}: no release key signed its image",
                Code.THRESHOLD,
            )
        return assemble_image(self.material.header, self.material.program, signatures)


def mcu_bundle(manifest_digest: bytes, manifest: Manifest, material: Material) -> McuBundle:
    """The bundle, checked. Raises TrustError, ContractError."""
    name = f"{manifest.model} {manifest.version}"
    if sha256(material.program).digest() != manifest.program_digest:
        raise TrustError(f"{name}: the program is not what the manifest names", Code.DIGEST)
    if not material.header:
        raise ContractError(f"{name}: it has no image header, so it is for no microcontroller")
    try:
        program = Program(material.program)
    except EngineError as error:
        raise ContractError(f"{name}: {error}", Code.PROGRAM) from error
    return McuBundle(
        manifest_digest=manifest_digest,
        version=manifest.version,
        manifest=manifest,
        material=material,
        image_digest=image_digest(material.header, material.program),
        inputs=tuple(_facts(tensor) for tensor in program.inputs),
        outputs=tuple(_facts(tensor) for tensor in program.outputs),
        memory_bytes=program.image_bytes + program.arena_bytes,
    )


def _facts(tensor: TensorInfo) -> TensorFacts:
    return TensorFacts(
        dtype=int(DType[tensor.dtype.upper()]),
        shape=tensor.shape,
        scale=tensor.scale,
        zero_point=tensor.zero_point,
        size_bytes=tensor.size_bytes,
    )


def _part(data: bytes, index: int, count: int) -> bytes:
    size = len(data) // count
    return data[index * size : (index + 1) * size]
