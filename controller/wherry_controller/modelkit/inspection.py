"""What is in a bundle, for a person and for `--json`."""

from typing import Any

from wherry_protocol import cose
from wherry_protocol.bundle import Bundle, program_image
from wherry_protocol.codec import to_plain

from wherry_controller.modelkit.packaging import load_program


def described(bundle: Bundle) -> dict[str, Any]:
    """Identity, contract, members, program and signers. Raises what a bad bundle raises."""
    manifest = bundle.manifest
    program = load_program(program_image(bundle))
    return {
        "digest": bundle.digest.hex(),
        "manifest": to_plain(manifest),
        "program": {
            "image_bytes": program.image_bytes,
            "arena_bytes": program.arena_bytes,
            "macs": program.macs,
            "operators": [{"name": node.name, "op": node.op} for node in program.nodes],
        },
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
