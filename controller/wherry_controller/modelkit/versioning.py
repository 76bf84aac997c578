"""A bundle under its next version: everything that names the version is made anew.

Another version is another manifest, so another digest: what comes out is unsigned.
"""

from dataclasses import replace

from wherry_protocol.bundle import Bundle, program_image
from wherry_protocol.manifest import Role
from wherry_protocol.version import Version

from wherry_controller.modelkit.packaging import Parts, assemble


def with_version(bundle: Bundle, version: Version) -> Bundle:
    """The bundle as `version`, unsigned. Raises what a bad bundle raises."""
    return with_manifest(bundle, version=str(version))


def with_manifest(bundle: Bundle, **changed: object) -> Bundle:
    """The bundle with these manifest fields replaced, unsigned; what is derived is made anew."""
    manifest = bundle.manifest
    return assemble(
        Parts(
            manifest=replace(manifest, **changed),  # type: ignore[arg-type]
            image=program_image(bundle),
            golden_inputs=bundle.pieces(Role.GOLDEN_INPUTS),
            assets={
                blob.name: bundle.blobs[blob.digest]
                for blob in manifest.blobs
                if blob.role is Role.ASSET
            },
            microcontroller=any(blob.role is Role.IMAGE_HEADER for blob in manifest.blobs),
        )
    )
