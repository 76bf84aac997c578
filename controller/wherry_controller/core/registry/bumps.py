"""Which component of a version must rise, by what changed between two manifests.

Rules, the highest one counts:
1. MAJOR: the contract changed, which is names, types and shapes of inputs and outputs, the
   preprocessing that they need, or what the outputs mean (the labels). Scales and zero points are
   not part of it: each training gives others, and whoever speaks in real units sees no difference.
2. MINOR: another architecture, or another ability: hardware classes, recurrent state, comparator,
   security floor, engine ABI, assets.
3. PATCH: anything else, weights above all.

What the program itself changed (`Reason` of MINOR for its architecture) is found by whoever has
its bytes, see `modelkit/comparing.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from wherry_protocol.errors import Code, ContractError, StateError
from wherry_protocol.manifest import Manifest, Role, Tensor
from wherry_protocol.version import Version

LABELS: Final = "labels.txt"


class Bump(IntEnum):
    """The highest component that rose; a higher bump covers the lower ones."""

    NONE = 0
    PATCH = 1
    MINOR = 2
    MAJOR = 3


@dataclass(frozen=True, slots=True)
class Reason:
    """One change, and the bump that it needs."""

    bump: Bump
    text: str


def bump_between(old: Version, new: Version) -> Bump:
    """The bump from the old to the new version; NONE where the new one is not higher."""
    if new <= old:
        return Bump.NONE
    if new.major > old.major:
        return Bump.MAJOR
    return Bump.MINOR if new.minor > old.minor else Bump.PATCH


def bumped(version: Version, bump: Bump) -> Version:
    """The next version: one component rises, the lower ones begin at 0. ValueError for NONE."""
    match bump:
        case Bump.MAJOR:
            return Version(version.major + 1, 0, 0)
        case Bump.MINOR:
            return Version(version.major, version.minor + 1, 0)
        case Bump.PATCH:
            return Version(version.major, version.minor, version.patch + 1)
        case Bump.NONE:
            raise ValueError("a bump raises a component")


def required(reasons: Iterable[Reason]) -> Bump:
    """The bump that all of these need together."""
    return max((reason.bump for reason in reasons), default=Bump.NONE)


def reasons_of(old: Manifest, new: Manifest) -> tuple[Reason, ...]:
    """What the manifests say of the change, the weightiest first."""
    found = [Reason(Bump.MAJOR, text) for text in contract_changes(old, new)]
    found += [Reason(Bump.MINOR, text) for text in _ability_changes(old, new)]
    if old.program_digest != new.program_digest:
        found.append(Reason(Bump.PATCH, "the program has other bytes"))
    if not found and _without_version(old) != _without_version(new):
        found.append(Reason(Bump.PATCH, "the manifest says something else"))
    return tuple(found)


def contract_changes(old: Manifest, new: Manifest) -> tuple[str, ...]:
    """What a caller of the old one would trip over, as sentences."""
    found = [
        *_tensor_changes("input", old.contract.inputs, new.contract.inputs),
        *_tensor_changes("output", old.contract.outputs, new.contract.outputs),
    ]
    if old.contract.preprocessing != new.contract.preprocessing:
        found.append(
            f"preprocessing was {old.contract.preprocessing!r}, is {new.contract.preprocessing!r}"
        )
    if _assets(old).get(LABELS) != _assets(new).get(LABELS):
        found.append("the labels of the outputs changed")
    return tuple(found)


def check_same_contract(old: Manifest, new: Manifest) -> None:
    """Raises ContractError where the contract changed within one MAJOR version."""
    changes = contract_changes(old, new)
    if changes and Version.parse(old.version).major == Version.parse(new.version).major:
        raise ContractError(
            f"{new.model} {new.version} changes the contract of {old.version} ({changes[0]}); "
            f"that needs a new MAJOR version, "
            f"{bumped(Version.parse(old.version), Bump.MAJOR)} or higher"
        )


def check_bump(model: str, old: Version, new: Version, reasons: tuple[Reason, ...]) -> None:
    """Raises StateError for a version that is not higher, ContractError for too small a bump."""
    if new <= old:
        raise StateError(f"{model} {new} is not higher than {old}")
    needed, given = required(reasons), bump_between(old, new)
    if given < needed:
        why = next(reason.text for reason in reasons if reason.bump is needed)
        raise ContractError(
            f"{model} {old} to {new} is a {given.name} bump, the changes need a {needed.name} one "
            f"({why}): {bumped(old, needed)} or higher",
            Code.CONTRACT,
        )


def _tensor_changes(what: str, old: tuple[Tensor, ...], new: tuple[Tensor, ...]) -> Iterable[str]:
    if len(old) != len(new):
        yield f"there were {len(old)} {what}s, there are {len(new)}"
        return
    for before, after in zip(old, new, strict=True):
        was, now = _shape_text(before), _shape_text(after)
        if was != now:
            yield f"{what} {was} became {now}"


def _shape_text(tensor: Tensor) -> str:
    return f"{tensor.name}: {tensor.dtype.name.lower()} {list(tensor.shape)}"


def _ability_changes(old: Manifest, new: Manifest) -> Iterable[str]:
    for name in sorted(new.budgets.keys() - old.budgets.keys()):
        yield f"hardware class {name} is new"
    for name in sorted(old.budgets.keys() - new.budgets.keys()):
        yield f"hardware class {name} is gone"
    for what, was, now in (
        ("engine ABI", old.engine_abi, new.engine_abi),
        ("state policy", old.state_policy.name, new.state_policy.name),
        ("comparator", old.contract.comparator.name, new.contract.comparator.name),
        ("security floor", old.security_floor, new.security_floor),
    ):
        if was != now:
            yield f"{what} was {was}, is {now}"
    before, after = _assets(old), _assets(new)
    for name in sorted((before.keys() | after.keys()) - {LABELS}):
        if before.get(name) != after.get(name):
            yield f"asset {name} {'is new' if name not in before else 'changed or is gone'}"


def _assets(manifest: Manifest) -> dict[str, bytes]:
    return {blob.name: blob.digest for blob in manifest.blobs if blob.role is Role.ASSET}


def _without_version(manifest: Manifest) -> dict[str, Any]:
    return {
        name: getattr(manifest, name)
        for name in manifest.__dataclass_fields__
        if name not in ("version", "blobs")
    }
