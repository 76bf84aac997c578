"""Bundles and organizations for tests of the model tooling."""

from typing import Any

from wherry_controller.modelkit.packaging import Parts, assemble, draft
from wherry_controller.modelkit.recipe import read_recipe
from wherry_native.compiler import CompiledModel
from wherry_protocol import cose
from wherry_protocol.bundle import Bundle
from wherry_protocol.codec import content_type, encode
from wherry_protocol.keys import SigningKey
from wherry_protocol.messages.trust import RoleKeys, Root, TrustRole
from wherry_protocol.trust import TrustState, start

RECIPE = """
author = "ada"
description = "reads digits"
labels = ["0", "1"]
valid_min = 0.0
valid_max = 1.0
golden_count = 4
[budgets.linux-arm64]
latency_us_p95 = 2000
memory_bytes = 1_000_000
"""


def bundle_of(compiled: CompiledModel, more: str = "", **changed: Any) -> Bundle:
    """The digits bundle; `more` goes before the recipe, `changed` replaces parts."""
    recipe = read_recipe(more + RECIPE, "recipe.toml")
    parts: dict[str, Any] = {
        "manifest": draft(
            recipe, name="digits", version="1.0.0", author="bob", image=compiled.image
        ),
        "image": compiled.image,
        "golden_inputs": b"".join(compiled.sample_inputs[:4]),
        "assets": {"labels.txt": b"0\n1\n"},
        "microcontroller": recipe.microcontroller,
    }
    return assemble(Parts(**(parts | changed)))


def organization(release: list[SigningKey], threshold: int) -> TrustState:
    """The trust of an organization `acme` whose release keys these are."""
    owner = SigningKey.from_seed(b"\x07" * 32)

    def holders(keys: list[SigningKey], count: int) -> RoleKeys:
        return RoleKeys(threshold=count, keys=tuple(key.public for key in keys))

    root = Root(
        org="acme",
        number=1,
        issued_s=0,
        expires_s=1 << 32,
        epoch=1,
        roles={
            TrustRole.ROOT: holders([owner], 1),
            TrustRole.RELEASE: holders(release, threshold),
            TrustRole.DIRECTOR: holders([owner], 1),
        },
    )
    signed = cose.sign(
        encode(root), content_type=content_type(Root), role=TrustRole.ROOT, keys=[owner]
    )
    return start("acme", (signed,))
