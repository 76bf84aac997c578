"""From a program to a bundle: the manifest is completed with what only the program knows.

Rules:
1. Everything that can be derived is derived (digests, sizes, arena, contract, golden outputs), so
   that packaging what was extracted gives the same bytes, and packaging what was edited gives a
   manifest that tells the truth.
2. Golden outputs come from the engine, on this machine; every other target must give the same.
3. The same inputs give the same bundle.

Pure: bytes in, a bundle out. `unsigned` is what leaves here; signing is a step of its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from random import Random
from typing import Final

from wherry_native.engine import EngineError, Program, TensorInfo
from wherry_native.program import read_pieces
from wherry_protocol import mcuboot
from wherry_protocol.bundle import Bundle
from wherry_protocol.codec import encode
from wherry_protocol.errors import Code, ContractError, DecodeError
from wherry_protocol.manifest import (
    FORMAT_VERSION,
    Blob,
    Contract,
    DType,
    Kind,
    Manifest,
    Role,
    Tensor,
)
from wherry_protocol.version import Version

from wherry_controller.modelkit.recipe import Recipe

GOLDEN_INPUTS: Final = "golden-inputs.bin"
GOLDEN_OUTPUTS: Final = "golden-outputs.bin"
IMAGE_HEADER: Final = "image-header.bin"
LABELS: Final = "labels.txt"
STRUCTURE: Final = "structure.program"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a bundle is made of. `golden_inputs` holds whole program inputs, one after another."""

    manifest: Manifest  # its derived fields are replaced
    image: bytes
    golden_inputs: bytes
    assets: Mapping[str, bytes]
    microcontroller: bool


def layer_name(index: int) -> str:
    """The blob name of the program's piece `index`; piece 0 is the structure."""
    return STRUCTURE if index == 0 else f"layer{index - 1}.weights"


def load_program(image: bytes) -> Program:
    """The program, checked by the engine's loader. Raises DecodeError(PROGRAM)."""
    try:
        return Program(image)
    except EngineError as error:
        raise DecodeError(str(error), Code.PROGRAM) from error


def draft(recipe: Recipe, *, name: str, version: str, author: str, image: bytes) -> Manifest:
    """A manifest from a recipe; what is derived from the program is still to be completed."""
    program = load_program(image)
    return Manifest(
        format_version=FORMAT_VERSION,
        kind=Kind.MODEL,
        model=name,
        version=version,
        author=recipe.author or author,
        description=recipe.description,
        release_notes=recipe.release_notes,
        contract=_contract(recipe, program),
        engine_abi=program.engine_abi,
        program_digest=sha256(image).digest(),
        arena_bytes=program.arena_bytes,
        blobs=(),
        golden_count=0,
        budgets=recipe.budgets,
        state_policy=recipe.state_policy,
        evaluations=recipe.evaluations,
        provenance=recipe.provenance,
        security_floor=recipe.security_floor,
        policy=recipe.policy,
    )


def assemble(parts: Parts) -> Bundle:
    """The unsigned bundle. Raises ContractError or DecodeError where the parts do not fit."""
    program = load_program(parts.image)
    blobs = dict(_members(parts, program))
    manifest = replace(
        parts.manifest,
        contract=replace(
            parts.manifest.contract,
            inputs=tuple(_tensor(t) for t in program.inputs),
            outputs=tuple(_tensor(t) for t in program.outputs),
        ),
        engine_abi=program.engine_abi,
        program_digest=sha256(parts.image).digest(),
        arena_bytes=program.arena_bytes,
        blobs=tuple(
            Blob(role=role, name=name, digest=sha256(data).digest(), size_bytes=len(data))
            for (role, name), data in blobs.items()
        ),
        golden_count=len(parts.golden_inputs) // program.input_bytes,
    )
    _check_contract(manifest, program)
    contents = {sha256(data).digest(): data for data in blobs.values()}
    return Bundle(_encoded(manifest), b"", (), contents)


def _encoded(manifest: Manifest) -> bytes:
    """Raises ContractError where a value breaks the manifest's bounds."""
    try:
        return encode(manifest)
    except ValueError as error:
        raise ContractError(f"the manifest cannot hold this: {error}") from error


def golden_outputs(program: Program, inputs: bytes) -> bytes:
    """The engine's outputs for whole inputs. Raises ContractError where they are not whole."""
    size = program.input_bytes
    if len(inputs) % size:
        raise ContractError(
            f"golden inputs: {len(inputs)} bytes, must be a multiple of the input's {size}"
        )
    return b"".join(program.run(inputs[i : i + size]) for i in range(0, len(inputs), size))


def seeded_inputs(program: Program, count: int) -> bytes:
    """`count` inputs of uniform noise, the same for the same program: for want of real samples."""
    return Random(program.input_bytes).randbytes(count * program.input_bytes)


def _members(parts: Parts, program: Program) -> Iterator[tuple[tuple[Role, str], bytes]]:
    """Every blob in manifest order, by role and name."""
    if parts.microcontroller:
        version = Version.parse(parts.manifest.version)
        number = mcuboot.ImageVersion(version.major, version.minor, version.patch)
        yield (Role.IMAGE_HEADER, IMAGE_HEADER), mcuboot.make_header(len(parts.image), number)
    for index, piece in enumerate(read_pieces(parts.image)):
        content = parts.image[piece.offset_bytes : piece.offset_bytes + piece.size_bytes]
        yield (Role.PROGRAM, layer_name(index)), content
    yield (Role.GOLDEN_INPUTS, GOLDEN_INPUTS), parts.golden_inputs
    yield (Role.GOLDEN_OUTPUTS, GOLDEN_OUTPUTS), golden_outputs(program, parts.golden_inputs)
    for name in sorted(parts.assets):
        yield (Role.ASSET, name), parts.assets[name]


def _tensor(info: TensorInfo) -> Tensor:
    return Tensor(
        name=info.name,
        dtype=DType[info.dtype.upper()],
        shape=info.shape,
        scale=info.scale,
        zero_point=info.zero_point,
    )


def _contract(recipe: Recipe, program: Program) -> Contract:
    output = program.outputs[0]
    safe = None
    if recipe.safe_output is not None:
        safe = b"".join(
            quantized(value, output).to_bytes(_item_bytes(output), "little", signed=True)
            for value in recipe.safe_output
        )
    return Contract(
        inputs=tuple(_tensor(t) for t in program.inputs),
        outputs=tuple(_tensor(t) for t in program.outputs),
        valid_min=None if recipe.valid_min is None else quantized(recipe.valid_min, output),
        valid_max=None if recipe.valid_max is None else quantized(recipe.valid_max, output),
        safe_output=safe,
        comparator=recipe.comparator,
        tolerance_lsb=recipe.tolerance_lsb,
        preprocessing=recipe.preprocessing,
    )


def _item_bytes(tensor: TensorInfo) -> int:
    return {"int8": 1, "int16": 2, "int32": 4}[tensor.dtype]


def quantized(value: float, tensor: TensorInfo) -> int:
    """The nearest step of a real value, saturating at the element type's range."""
    limit = 1 << (8 * _item_bytes(tensor) - 1)
    steps = round(value / tensor.scale) + tensor.zero_point if tensor.scale else 0
    return max(-limit, min(limit - 1, steps))


def _check_contract(manifest: Manifest, program: Program) -> None:
    safe = manifest.contract.safe_output
    if safe is not None and len(safe) != program.output_bytes:
        raise ContractError(
            f"safe_output has {len(safe)} bytes, the model's output has {program.output_bytes}"
        )
    low, high = manifest.contract.valid_min, manifest.contract.valid_max
    if low is not None and high is not None and low > high:
        raise ContractError(f"valid range is empty: from {low} to {high} (quantized)")
    if manifest.golden_count == 0:
        raise ContractError("a bundle needs at least one golden vector, it has none")
