"""Signing and verifying bundles: who vouches for this, and is it what they vouched for?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wherry_protocol import cose, mcuboot
from wherry_protocol.bundle import Bundle, check_blobs, program_image
from wherry_protocol.codec import content_type
from wherry_protocol.errors import Code, ContractError
from wherry_protocol.keys import SigningKey
from wherry_protocol.manifest import Contract, Manifest, Role, Tensor
from wherry_protocol.messages.trust import TrustRole
from wherry_protocol.trust import TrustState, open_manifest

from wherry_controller.modelkit.packaging import golden_outputs, load_program


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked. `signer_ids` are the claimed signers, whether or not a root was given."""

    digest: bytes
    is_trusted: bool  # a root was given, and its release threshold signed
    signer_ids: tuple[bytes, ...]
    blob_count: int
    golden_count: int


def sign_bundle(bundle: Bundle, key: SigningKey) -> Bundle:
    """The bundle with one more release signature (and, for microcontrollers, image signature)."""
    manifest = bundle.manifest_bytes
    if bundle.signatures:
        signatures = cose.add_signature(
            bundle.signatures, manifest, role=TrustRole.RELEASE, key=key
        )
    else:
        signatures = cose.sign(
            manifest,
            content_type=content_type(Manifest),
            role=TrustRole.RELEASE,
            keys=(key,),
            is_detached=True,
        )
    header = bundle.pieces(Role.IMAGE_HEADER)
    images = [s for s in bundle.image_signatures if s.key != key.public]
    if header:
        digest = mcuboot.image_digest(header, program_image(bundle))
        images.append(mcuboot.sign_digest(key, digest))
    return replace(bundle, signatures=signatures, image_signatures=tuple(images))


def verify_bundle(bundle: Bundle, trust: TrustState | None) -> Verification:
    """Check every digest, the program, the contract, the golden vectors, and the signatures.

    Without a root (`trust` None) nobody is believed: `is_trusted` is False. Raises TrustError,
    DecodeError or ContractError for the first thing that does not hold.
    """
    if trust is not None:
        open_manifest(trust, bundle.digest, bundle.manifest_bytes, bundle.signatures)
    manifest = bundle.manifest
    check_blobs(manifest, bundle.blobs)
    program = load_program(program_image(bundle))
    _check_contract(manifest.contract, program.input_bytes, program.output_bytes)
    outputs = golden_outputs(program, bundle.pieces(Role.GOLDEN_INPUTS))
    _check_golden(outputs, bundle.pieces(Role.GOLDEN_OUTPUTS), program.output_bytes)
    return Verification(
        digest=bundle.digest,
        is_trusted=trust is not None,
        signer_ids=cose.signer_ids(bundle.signatures) if bundle.signatures else (),
        blob_count=len(manifest.blobs),
        golden_count=manifest.golden_count,
    )


def _bytes_of(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.size_bytes for tensor in tensors)


def _check_contract(contract: Contract, input_bytes: int, output_bytes: int) -> None:
    for what, tensors, size in (
        ("input", contract.inputs, input_bytes),
        ("output", contract.outputs, output_bytes),
    ):
        if _bytes_of(tensors) != size:
            raise ContractError(
                f"the contract's {what} has {_bytes_of(tensors)} bytes, the program's has {size}"
            )


def _check_golden(found: bytes, wanted: bytes, output_bytes: int) -> None:
    if found == wanted:
        return
    if len(found) != len(wanted):
        raise ContractError(
            f"golden outputs: {len(wanted)} bytes, the engine gives {len(found)}",
            Code.GOLDEN_MISMATCH,
        )
    first = next(i for i in range(len(found)) if found[i] != wanted[i])
    raise ContractError(
        f"golden vector {first // output_bytes}: output byte {first % output_bytes} is "
        f"{found[first]}, must be {wanted[first]}",
        Code.GOLDEN_MISMATCH,
    )
