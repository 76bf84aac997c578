"""Agent, engine, class and bundle: may this unit run that version, and if not, why not?

Every reason is named, not only the first one. What a unit has not told is a reason too: an engine
that nobody knows is not one that fits.
"""

from dataclasses import dataclass

from wherry_protocol.errors import Code
from wherry_protocol.manifest import Manifest, Role
from wherry_protocol.version import Version

from wherry_controller.core.registry.bumps import contract_changes


@dataclass(frozen=True, slots=True)
class Runner:
    """What would run a bundle. None: it is not known, or there is none."""

    hardware_class: str | None
    memory_budget_bytes: int | None  # of the class
    abi_min: int | None
    abi_max: int | None
    serving: Manifest | None = None


@dataclass(frozen=True, slots=True)
class Misfit:
    """One reason why not."""

    code: Code
    text: str


def misfits(manifest: Manifest, runner: Runner) -> tuple[Misfit, ...]:
    """Why the runner cannot take the bundle; empty if it can."""
    found = [_abi(manifest, runner), *_class(manifest, runner)]
    if runner.serving is not None:
        found += [_floor(manifest, runner.serving), _contract(manifest, runner.serving)]
    return tuple(misfit for misfit in found if misfit is not None)


def memory_bytes(manifest: Manifest) -> int:
    """Program image and arena: what the model takes while it serves."""
    image = sum(blob.size_bytes for blob in manifest.blobs if blob.role is Role.PROGRAM)
    return image + manifest.arena_bytes


def _abi(manifest: Manifest, runner: Runner) -> Misfit | None:
    low, high = runner.abi_min, runner.abi_max
    if low is None or high is None:
        return Misfit(Code.WRONG_ABI, "it has not said which engine it has")
    if low <= manifest.engine_abi <= high:
        return None
    has = f"{low}" if low == high else f"{low} to {high}"
    return Misfit(Code.WRONG_ABI, f"engine ABI {manifest.engine_abi} is needed, it has {has}")


def _class(manifest: Manifest, runner: Runner) -> list[Misfit]:
    if runner.hardware_class is None:
        return []
    budget = manifest.budgets.get(runner.hardware_class)
    if budget is None:
        known = ", ".join(sorted(manifest.budgets)) or "none"
        text = f"no budget for class {runner.hardware_class}, budgets are for: {known}"
        return [Misfit(Code.NO_BUDGET, text)]
    need, limits = memory_bytes(manifest), [budget.memory_bytes]
    if runner.memory_budget_bytes is not None:
        limits.append(runner.memory_budget_bytes)
    if need <= min(limits):
        return []
    text = f"{need} bytes of memory are needed, class {runner.hardware_class} allows {min(limits)}"
    return [Misfit(Code.OVER_MEMORY, text)]


def _floor(manifest: Manifest, serving: Manifest) -> Misfit | None:
    if Version.parse(manifest.version) >= Version.parse(serving.security_floor):
        return None
    text = f"{manifest.version} is below the security floor {serving.security_floor} of what serves"
    return Misfit(Code.FLOOR, text)


def _contract(manifest: Manifest, serving: Manifest) -> Misfit | None:
    same_major = Version.parse(manifest.version).major == Version.parse(serving.version).major
    changes = contract_changes(serving, manifest)
    if not same_major or not changes:
        return None
    return Misfit(Code.CONTRACT, f"the contract of {serving.version} changed: {changes[0]}")
