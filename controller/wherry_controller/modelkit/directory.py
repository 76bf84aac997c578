"""A bundle as a directory that a person can read and edit, and back.

    manifest.json               every field of the manifest, by name
    architecture.json           tensors and operators
    weights/layer0.weights …    one file per layer
    config/quantization.json    scales, zero points, multipliers, rounding
    config/optimization.json    arena, offsets
    assets/…                    golden vectors, labels, whatever else the bundle carries
    signatures/…                as they were, and manifest.sha256: the digest that they are for

Rules:
1. Packaging what was extracted gives the same bundle, signatures too.
2. What can be derived is derived anew (rules of `packaging`). Whatever is edited gives another
   digest, and with another digest than that of manifest.sha256 the signatures fall away.
3. A file or key that has no place here is an error, never passed over.

Pure: a directory is a mapping from relative path to content.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from wherry_native.compiler.errors import CompileError
from wherry_native.compiler.parts import Parts as ProgramParts
from wherry_native.compiler.parts import from_parts, to_parts
from wherry_protocol.bundle import Bundle, ImageSignatures, program_image
from wherry_protocol.codec import decode, encode, from_plain, to_plain
from wherry_protocol.errors import Code, DecodeError
from wherry_protocol.manifest import Manifest, Role
from wherry_protocol.messages.desired import ImageSignature

from wherry_controller.modelkit.packaging import GOLDEN_INPUTS, GOLDEN_OUTPUTS, Parts, assemble

MANIFEST: Final = "manifest.json"
ARCHITECTURE: Final = "architecture.json"
QUANTIZATION: Final = "config/quantization.json"
OPTIMIZATION: Final = "config/optimization.json"
SIGNATURES: Final = "signatures/signatures.cose"
IMAGE_SIGNATURES: Final = "signatures/image-signatures.cbor"
SIGNED_DIGEST: Final = "signatures/manifest.sha256"
WEIGHTS: Final = "weights/"
ASSETS: Final = "assets/"
SINGLE_FILES: Final = (MANIFEST, ARCHITECTURE, QUANTIZATION, OPTIMIZATION)

Files = Mapping[str, bytes]


def extracted(bundle: Bundle) -> dict[str, bytes]:
    """Every file of the bundle's directory. Raises DecodeError or TrustError for a bad bundle."""
    manifest = bundle.manifest
    parts = to_parts(program_image(bundle))
    files = {
        MANIFEST: _json(to_plain(manifest)),
        ARCHITECTURE: _json(parts.architecture),
        QUANTIZATION: _json(parts.quantization),
        OPTIMIZATION: _json(parts.optimization),
    }
    files |= {f"{WEIGHTS}{name}": content for name, content in parts.weights.items()}
    for blob in manifest.blobs:
        if blob.role in (Role.ASSET, Role.GOLDEN_INPUTS, Role.GOLDEN_OUTPUTS):
            files[f"{ASSETS}{blob.name}"] = bundle.blobs[blob.digest]
    if bundle.signatures:
        files[SIGNATURES] = bundle.signatures
    if bundle.image_signatures:
        files[IMAGE_SIGNATURES] = encode(ImageSignatures(signatures=bundle.image_signatures))
    if bundle.signatures or bundle.image_signatures:
        files[SIGNED_DIGEST] = bundle.digest.hex().encode() + b"\n"
    return files


def packaged(files: Files, *, name: str | None = None, version: str | None = None) -> Bundle:
    """The bundle of a directory; `name` and `version` replace those in manifest.json.

    Raises DecodeError, ContractError or TrustError with the file and the key.
    """
    _check_names(files)
    manifest = _manifest(files)
    manifest = replace(manifest, model=name or manifest.model, version=version or manifest.version)
    assets = {
        path.removeprefix(ASSETS): content
        for path, content in files.items()
        if path.startswith(ASSETS)
    }
    golden_inputs = assets.pop(GOLDEN_INPUTS, b"")
    assets.pop(GOLDEN_OUTPUTS, None)
    bundle = assemble(
        Parts(
            manifest=manifest,
            image=_program(files),
            golden_inputs=golden_inputs,
            assets=assets,
            microcontroller=any(blob.role == Role.IMAGE_HEADER for blob in manifest.blobs),
        )
    )
    signed = files.get(SIGNED_DIGEST, b"").strip()
    return _with_signatures(bundle, files) if signed == bundle.digest.hex().encode() else bundle


def _check_names(files: Files) -> None:
    for path in SINGLE_FILES:
        if path not in files:
            raise DecodeError(f"{path} is missing", Code.CONTAINER)
    if SIGNED_DIGEST not in files and (SIGNATURES in files or IMAGE_SIGNATURES in files):
        raise DecodeError(f"{SIGNED_DIGEST} is missing: what are the signatures for?")
    known = (*SINGLE_FILES, SIGNATURES, IMAGE_SIGNATURES, SIGNED_DIGEST)
    for path in files:
        is_member = path.startswith((WEIGHTS, ASSETS)) and path.count("/") == 1
        if path not in known and not is_member:
            raise DecodeError(f"{path} does not belong in a bundle's directory", Code.CONTAINER)


def _manifest(files: Files) -> Manifest:
    return from_plain(Manifest, _parsed(files, MANIFEST), MANIFEST)


def _program(files: Files) -> bytes:
    weights = {
        path.removeprefix(WEIGHTS): content
        for path, content in files.items()
        if path.startswith(WEIGHTS)
    }
    try:
        return from_parts(
            ProgramParts(
                architecture=_parsed(files, ARCHITECTURE),
                weights=weights,
                quantization=_parsed(files, QUANTIZATION),
                optimization=_parsed(files, OPTIMIZATION),
            )
        )
    except CompileError as error:
        raise DecodeError(str(error), Code.PROGRAM) from error


def _with_signatures(bundle: Bundle, files: Files) -> Bundle:
    images: tuple[ImageSignature, ...] = ()
    if IMAGE_SIGNATURES in files:
        images = decode(ImageSignatures, files[IMAGE_SIGNATURES]).signatures
    return replace(bundle, signatures=files.get(SIGNATURES, b""), image_signatures=images)


def _json(plain: Any) -> bytes:
    return json.dumps(plain, indent=2, ensure_ascii=False).encode() + b"\n"


def _parsed(files: Files, path: str) -> Any:
    try:
        return json.loads(files[path])
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"{path}: not JSON: {error}") from error
