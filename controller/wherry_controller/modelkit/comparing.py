"""Two versions of a model side by side: what changed, and which bump that needs.

The architecture is the operators with their options and the types and shapes of all tensors;
scales, multipliers and clamps belong to the weights, since each training gives others.
"""

from collections import defaultdict
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any, Final

from wherry_native.program import (
    NUMERIC_PARAMETERS,
    Kind,
    ProgramDescription,
    ProgramFormatError,
    read_program,
)
from wherry_protocol.bundle import Bundle, program_image
from wherry_protocol.codec import to_plain
from wherry_protocol.errors import Code, ContractError, DecodeError
from wherry_protocol.version import Version

from wherry_controller.core.registry.bumps import Bump, Reason, bump_between, reasons_of, required

DERIVED: Final = frozenset(("blobs", "program_digest", "contract"))  # shown in parts of their own


@dataclass(frozen=True, slots=True)
class Layer:
    """The constants of one piece of the program: types and shapes, and a digest of the values."""

    shapes: tuple[str, ...]
    size_bytes: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Comparison:
    """`layers` and `manifest` hold what changed only, by name: (old, new), None where absent."""

    model: str
    old: Version
    new: Version
    reasons: tuple[Reason, ...]
    manifest: dict[str, tuple[Any, Any]]
    layers: dict[str, tuple[Layer | None, Layer | None]]
    layer_count: int
    old_bytes: int
    new_bytes: int

    @property
    def required(self) -> Bump:
        return required(self.reasons)

    @property
    def given(self) -> Bump:
        return bump_between(self.old, self.new)

    @property
    def relation(self) -> str:
        if self.new == self.old:
            return "same"
        return "newer" if self.new > self.old else "older"


def compare(old: Bundle, new: Bundle) -> Comparison:
    """Raises ContractError for two models, DecodeError(PROGRAM) for what is no program."""
    before, after = old.manifest, new.manifest
    if before.model != after.model:
        raise ContractError(f"these are two models: {before.model} and {after.model}")
    was, now = _program(old), _program(new)
    reasons = list(reasons_of(before, after))
    if _skeleton(was) != _skeleton(now):
        reasons.append(Reason(Bump.MINOR, _architecture_text(was, now)))
    old_layers, new_layers = _layers(was), _layers(now)
    names = [*old_layers, *(name for name in new_layers if name not in old_layers)]
    return Comparison(
        model=after.model,
        old=Version.parse(before.version),
        new=Version.parse(after.version),
        reasons=tuple(sorted(reasons, key=lambda reason: -reason.bump)),
        manifest=_manifest_changes(to_plain(before), to_plain(after)),
        layers={
            name: (old_layers.get(name), new_layers.get(name))
            for name in names
            if old_layers.get(name) != new_layers.get(name)
        },
        layer_count=len(names),
        old_bytes=_size(old),
        new_bytes=_size(new),
    )


def _program(bundle: Bundle) -> ProgramDescription:
    try:
        return read_program(program_image(bundle))
    except ProgramFormatError as error:
        raise DecodeError(f"{bundle.manifest.version}: {error}", Code.PROGRAM) from error


def _skeleton(program: ProgramDescription) -> tuple[Any, ...]:
    """Everything of the program that no training changes."""
    tensors = tuple((t.dtype, t.shape, t.kind) for t in program.tensors)
    nodes = tuple(
        (
            node.op,
            node.operands,
            node.output,
            tuple(
                (name, value)
                for name, value in node.params.items()
                if name not in NUMERIC_PARAMETERS
            ),
        )
        for node in program.nodes
    )
    return tensors, nodes, program.inputs, program.outputs, program.states


def _architecture_text(was: ProgramDescription, now: ProgramDescription) -> str:
    before, after = ([node.op.name for node in p.nodes] for p in (was, now))
    if before != after:
        return f"another architecture: {len(before)} operators were, {len(after)} are"
    return f"another architecture: {was.macs} multiply-accumulates were, {now.macs} are"


def _layers(program: ProgramDescription) -> dict[str, Layer]:
    """By the name of the piece, in the order of the program."""
    tensors = defaultdict(list)
    for tensor in program.tensors:
        if tensor.kind is Kind.CONSTANT:
            tensors[tensor.piece].append(tensor)
    return {
        name: Layer(
            tuple(f"{t.dtype.name.lower()} {list(t.shape)}" for t in group),
            sum(len(t.data) for t in group),
            sha256(b"".join(t.data for t in group)).digest(),
        )
        for name, group in tensors.items()
    }


def _manifest_changes(old: Any, new: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Fields by dotted name with the old and the new value; objects are gone into."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in [*old, *(key for key in new if key not in old)]:
        was, now = old.get(key), new.get(key)
        if was == now or (not prefix and key in DERIVED - {"contract"}):
            continue
        if isinstance(was, dict) and isinstance(now, dict):
            found |= _manifest_changes(was, now, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = (was, now)
    return found


def _size(bundle: Bundle) -> int:
    return len(bundle.manifest_bytes) + sum(len(blob) for blob in bundle.blobs.values())


def as_plain(comparison: Comparison) -> dict[str, Any]:
    """For `--json`."""
    return {
        "model": comparison.model,
        "old": str(comparison.old),
        "new": str(comparison.new),
        "relation": comparison.relation,
        "given": comparison.given.name.lower(),
        "required": comparison.required.name.lower(),
        "is_enough": comparison.given >= comparison.required,
        "reasons": [
            {"bump": reason.bump.name.lower(), "text": reason.text} for reason in comparison.reasons
        ],
        "manifest": {
            name: {"old": was, "new": now} for name, (was, now) in comparison.manifest.items()
        },
        "layer_count": comparison.layer_count,
        "layers": {
            name: {"old": _layer(was), "new": _layer(now)}
            for name, (was, now) in comparison.layers.items()
        },
        "size_bytes": {
            "old": comparison.old_bytes,
            "new": comparison.new_bytes,
            "delta": comparison.new_bytes - comparison.old_bytes,
        },
    }


def _layer(layer: Layer | None) -> dict[str, Any] | None:
    if layer is None:
        return None
    shown = {field.name: getattr(layer, field.name) for field in fields(layer)}
    return shown | {"digest": layer.digest.hex(), "shapes": list(layer.shapes)}
