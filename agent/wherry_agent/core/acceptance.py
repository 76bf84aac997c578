"""Does a bundle fit this device? Asked twice: of the signed manifest before a blob byte is
fetched, and of the loaded program before it is tested.

Rules, in order (the first that fails names the code):
1. It is a model of the assigned name, for our engine ABI.
2. Its version is at or above the security floor that was confirmed here.
3. It has a budget for this unit's hardware class, and its memory fits the class.
4. Within one MAJOR version, inputs and outputs stay as they are (names, types, shapes).
5. What the program really takes and gives is what the contract says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from wherry_protocol.errors import Code, ContractError
from wherry_protocol.frozen import quick
from wherry_protocol.hardware import HardwareClass
from wherry_protocol.manifest import DType, Kind, Manifest, Role, Tensor
from wherry_protocol.version import Version

from wherry_agent.core.inputs import Loaded, SelfTested, TensorFacts

ELEMENT_BYTES: Final = {DType.INT8: 1, DType.INT16: 2, DType.INT32: 4}
SAFETY_MARGIN_BYTES: Final = 256 * 1024  # of storage, for the record, the spool and folders


@quick
@dataclass(frozen=True, slots=True)
class Fit:
    """What a unit can take, and what its other models hold of its memory already: loaded now, and
    at the least. `taken_bytes`: what programs really took when they were loaded, by digest."""

    hardware_class: HardwareClass
    abi_min: int
    abi_max: int
    others_bytes: int = 0
    others_least_bytes: int = 0
    taken_bytes: Mapping[bytes, int] = field(default_factory=dict)


def check_manifest(
    manifest: Manifest, model: str, fit: Fit, floor: str, serving: Manifest | None
) -> None:
    """Raises ContractError with the code of the first rule that fails."""
    if manifest.kind is not Kind.MODEL or manifest.model != model:
        raise ContractError(
            f"the bundle is {manifest.kind.name} {manifest.model}, assigned is MODEL {model}"
        )
    if not fit.abi_min <= manifest.engine_abi <= fit.abi_max:
        raise ContractError(
            f"{model} {manifest.version} needs engine ABI {manifest.engine_abi}, "
            f"this unit has {fit.abi_min} to {fit.abi_max}; update the agent",
            Code.WRONG_ABI,
        )
    _check_floor(manifest, floor)
    _check_budget(manifest, fit.hardware_class)
    if serving is not None:
        _check_same_contract(manifest, serving)


def _check_floor(manifest: Manifest, floor: str) -> None:
    if Version.parse(manifest.version) < Version.parse(floor):
        raise ContractError(
            f"{manifest.model} {manifest.version} is below the security floor {floor} "
            "that was confirmed on this device",
            Code.FLOOR,
        )


def _check_budget(manifest: Manifest, hardware: HardwareClass) -> None:
    budget = manifest.budgets.get(hardware.name)
    if budget is None:
        classes = ", ".join(sorted(manifest.budgets)) or "none"
        raise ContractError(
            f"{manifest.model} {manifest.version} has no budget for class {hardware.name} "
            f"(it has: {classes})",
            Code.NO_BUDGET,
        )
    need = memory_bytes(manifest)
    limit = min(hardware.memory_budget_bytes, budget.memory_bytes)
    if need > limit:
        raise ContractError(
            f"{manifest.model} {manifest.version} needs {need} bytes of memory, class "
            f"{hardware.name} allows {limit}",
            Code.OVER_MEMORY,
        )


def memory_bytes(manifest: Manifest, taken_bytes: Mapping[bytes, int] | None = None) -> int:
    """What it really took when it was loaded, where that is known; else program image and arena.

    What the kernels prepare of the weights depends on the processor, so no manifest states it.
    """
    stated = image_bytes(manifest) + manifest.arena_bytes
    return (taken_bytes or {}).get(manifest.program_digest, stated)


def image_bytes(manifest: Manifest) -> int:
    """The pieces of the program, joined."""
    return sum(blob.size_bytes for blob in manifest.blobs if blob.role is Role.PROGRAM)


def do_fit(manifests: Sequence[Manifest], fit: Fit) -> bool:
    """Can all of them be loaded at once, beside the unit's other models?"""
    need = sum(memory_bytes(one, fit.taken_bytes) for one in manifests) + fit.others_bytes
    return need <= fit.hardware_class.memory_budget_bytes


def check_company(manifest: Manifest, beside: Sequence[Manifest], fit: Fit) -> None:
    """Raises ContractError(OVER_MEMORY) where a candidate has no room beside what is loaded."""
    if do_fit((manifest, *beside), fit):
        return
    held = [f"{one.version} with {memory_bytes(one, fit.taken_bytes)}" for one in beside]
    if fit.others_bytes:
        held.append(f"other models with {fit.others_bytes}")
    raise _over_memory(
        manifest, held, fit, "release the previous version, or assign this one as active"
    )


def check_alone(manifest: Manifest, fit: Fit) -> None:
    """Raises ContractError(OVER_MEMORY) where one that shall serve has no room beside what other
    models cannot give up."""
    need = memory_bytes(manifest, fit.taken_bytes) + fit.others_least_bytes
    if need > fit.hardware_class.memory_budget_bytes:
        held = [f"other models with {fit.others_least_bytes}"]
        raise _over_memory(manifest, held, fit, "withdraw another model")


def _over_memory(manifest: Manifest, held: list[str], fit: Fit, then: str) -> ContractError:
    need = memory_bytes(manifest, fit.taken_bytes)
    return ContractError(
        f"{manifest.model} {manifest.version} needs {need} bytes of memory "
        f"beside {', '.join(held)}, class {fit.hardware_class.name} allows "
        f"{fit.hardware_class.memory_budget_bytes} in all; {then}",
        Code.OVER_MEMORY,
    )


def check_comparable(manifest: Manifest, serving: Manifest) -> None:
    """Raises ContractError(CONTRACT) where the outputs of two bundles cannot be compared.

    Scales may differ: the loop gives a shadow the same real values in its own.
    """
    before, after = serving.contract, manifest.contract
    if [_shapes(before.inputs), _shapes(before.outputs)] != [
        _shapes(after.inputs),
        _shapes(after.outputs),
    ]:
        raise ContractError(
            f"{manifest.model} {manifest.version} has other inputs or outputs than "
            f"{serving.version}, which serves: it cannot run as its shadow; assign it warm"
        )
    both = ((before.inputs, after.inputs), (before.outputs, after.outputs))
    for ours, theirs in (pair for tensors in both for pair in zip(*tensors, strict=True)):
        is_same = (ours.scale, ours.zero_point) == (theirs.scale, theirs.zero_point)
        if not is_same and not (ours.scale > 0 and theirs.scale > 0):
            raise ContractError(
                f"{manifest.model} {manifest.version} has another zero point of {theirs.name} than "
                f"{serving.version}, which serves, and no scale to compare by: assign it warm"
            )


def check_storage(manifest: Manifest, lacking_bytes: int, fit: Fit, free_bytes: int) -> None:
    """Raises ContractError(OVER_STORAGE) where blobs, image and a margin cannot be kept."""
    need = lacking_bytes + image_bytes(manifest) + SAFETY_MARGIN_BYTES
    limit = min(free_bytes, fit.hardware_class.storage_budget_bytes)
    if need > limit:
        raise ContractError(
            f"{manifest.model} {manifest.version} needs {need} bytes of storage, {limit} are free",
            Code.OVER_STORAGE,
        )


def _shapes(tensors: Sequence[Tensor]) -> list[tuple[str, DType, tuple[int, ...]]]:
    return [(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors]


def _check_same_contract(manifest: Manifest, serving: Manifest) -> None:
    same_major = Version.parse(manifest.version).major == Version.parse(serving.version).major
    before, after = serving.contract, manifest.contract
    is_same = _shapes(before.inputs) == _shapes(after.inputs) and _shapes(
        before.outputs
    ) == _shapes(after.outputs)
    if same_major and not is_same:
        raise ContractError(
            f"{manifest.model} {manifest.version} changes the contract of {serving.version}; "
            "a changed contract needs a new MAJOR version"
        )


def check_program(manifest: Manifest, loaded: Loaded, fit: Fit) -> None:
    """Raises ContractError where the loaded program is not what its manifest promises."""
    _check_tensors("input", manifest.contract.inputs, loaded.inputs)
    _check_tensors("output", manifest.contract.outputs, loaded.outputs)
    limit = min(
        fit.hardware_class.memory_budget_bytes,
        manifest.budgets[fit.hardware_class.name].memory_bytes,
    )
    if loaded.memory_bytes > limit:
        raise ContractError(
            f"{manifest.model} {manifest.version} takes {loaded.memory_bytes} bytes of memory, "
            f"allowed are {limit}",
            Code.OVER_MEMORY,
        )


def _check_tensors(kind: str, promised: Sequence[Tensor], found: Sequence[TensorFacts]) -> None:
    if len(promised) != len(found):
        raise ContractError(f"the program has {len(found)} {kind}s, promised are {len(promised)}")
    for index, (tensor, facts) in enumerate(zip(promised, found, strict=True)):
        wanted = (int(tensor.dtype), tensor.shape, tensor.scale, tensor.zero_point)
        actual = (facts.dtype, facts.shape, facts.scale, facts.zero_point)
        if wanted != actual:
            raise ContractError(
                f"the program's {kind} {index} ({tensor.name}) is {actual}, promised is {wanted}"
            )


def check_self_test(manifest: Manifest, result: SelfTested, fit: Fit) -> None:
    """Raises ContractError(GOLDEN_MISMATCH | OVER_LATENCY)."""
    if result.passed != result.count or result.count != manifest.golden_count:
        raise ContractError(
            f"{manifest.model} {manifest.version}: {result.passed} of {manifest.golden_count} "
            "golden vectors came out bit for bit",
            Code.GOLDEN_MISMATCH,
        )
    limit = manifest.budgets[fit.hardware_class.name].latency_us_p95
    class_limit = fit.hardware_class.latency_us_max
    limit = limit if class_limit is None else min(limit, class_limit)
    if result.latency_us_p95 > limit:
        raise ContractError(
            f"{manifest.model} {manifest.version}: p95 latency {result.latency_us_p95} us in the "
            f"self-test, class {fit.hardware_class.name} allows {limit} us",
            Code.OVER_LATENCY,
        )


def tensor_bytes(tensors: Sequence[Tensor]) -> int:
    """Bytes of one sample of these tensors."""
    total = 0
    for tensor in tensors:
        size = ELEMENT_BYTES[tensor.dtype]
        for dim in tensor.shape:
            size *= dim
        total += size
    return total


def check_golden_sizes(manifest: Manifest) -> None:
    """Raises ContractError where the golden blobs cannot hold `golden_count` samples."""
    _check_golden(manifest, Role.GOLDEN_INPUTS, manifest.contract.inputs)
    _check_golden(manifest, Role.GOLDEN_OUTPUTS, manifest.contract.outputs)


def _check_golden(manifest: Manifest, role: Role, tensors: Sequence[Tensor]) -> None:
    held = sum(blob.size_bytes for blob in manifest.blobs if blob.role is role)
    need = manifest.golden_count * tensor_bytes(tensors)
    if held != need or manifest.golden_count == 0:
        raise ContractError(
            f"{manifest.model} {manifest.version}: {role.name.lower()} hold {held} bytes, "
            f"{manifest.golden_count} golden vectors need {need} and at least one is needed",
            Code.GOLDEN_MISMATCH,
        )
