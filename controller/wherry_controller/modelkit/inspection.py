"""What is in a bundle, for a person and for `--json`."""

from collections.abc import Sequence
from typing import Any

from wherry_native.engine import Program, kernel_names
from wherry_native.program import read_program
from wherry_protocol import cose
from wherry_protocol.bundle import Bundle, program_image
from wherry_protocol.codec import to_plain
from wherry_protocol.hardware import HardwareClass

from wherry_controller.modelkit.estimates import estimates
from wherry_controller.modelkit.packaging import load_program


def described(bundle: Bundle, classes: Sequence[HardwareClass] = ()) -> dict[str, Any]:
    """Identity, contract, members, program, signers, and modelled figures of these classes.
    Raises what a bad bundle raises."""
    manifest = bundle.manifest
    image = program_image(bundle)
    program = load_program(image)
    return {
        "digest": bundle.digest.hex(),
        "manifest": to_plain(manifest),
        "program": {
            "image_bytes": program.image_bytes,
            "arena_bytes": program.arena_bytes,
            "macs": program.macs,
            "kernels": [_kernels(image, name) for name in kernel_names()],
            "operators": [{"name": node.name, "op": node.op} for node in program.nodes],
        },
        "estimates": [e.as_plain() for e in estimates(read_program(image), classes)],
        "members": [
            {
                "role": blob.role.name.lower(),
                "name": blob.name,
                "size_bytes": blob.size_bytes,
                "digest": blob.digest.hex(),
            }
            for blob in manifest.blobs
        ],
        "signers": [
            key.hex() for key in (cose.signer_ids(bundle.signatures) if bundle.signatures else ())
        ],
    }


def _kernels(image: bytes, name: str) -> dict[str, Any]:
    """What a table of kernels that this processor has asks for beyond image and arena."""
    program = Program(image, name)
    return {
        "name": name,
        "prepared_bytes": program.prepared_bytes,
        "scratch_bytes": program.scratch_bytes,
    }
