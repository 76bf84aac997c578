"""What a microcontroller does for each effect of the core, over its port.

Rules:
1. A bundle is tested where it will serve: its image boots on trial, and the golden vectors go
   through the port. The old model does not serve meanwhile, and boots again if anything fails.
2. `Swap` brings an image to run by `course`; what the core calls a revert is a reset without a
   confirmation, so the microcontroller finds its own way back even if this gateway is gone.
3. `MakePermanent` confirms. Nothing else does.

Every function may raise UnreachableError(DEVICE_LINK): the caller tries the whole effect again.
Any other WherryError is the effect's failure.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from wherry_protocol.codec import decode, encode
from wherry_protocol.errors import Code, FailedError, NotFoundError, StateError
from wherry_protocol.messages.desired import ImageSignature, Mode
from wherry_protocol.messages.rpc import (
    InferReply,
    InferRequest,
    LogsReply,
    LogsRequest,
    StatusReply,
    Verb,
    VerifyReply,
    VerifyRequest,
)
from wherry_protocol.smp import confirm_image, read_slots, try_image

from wherry_agent.core.effects import (
    Ask,
    LoadCandidate,
    MakePermanent,
    Release,
    SelfTest,
    Swap,
)
from wherry_agent.core.inputs import Answered, Input, Loaded, SelfTested
from wherry_agent.gateway.bundle import Material, McuBundle, mcu_bundle
from wherry_agent.gateway.course import Act, next_act
from wherry_agent.gateway.port import SmpPort

LINES_KEPT: Final = 200
LINE_MAX: Final = 512
ACTS_MAX: Final = 5  # the longest course is reset, upload, try and reset, done


@dataclass(slots=True)
class Mcu:
    """One microcontroller and what this gateway knows of it."""

    name: str
    port: SmpPort
    bundles: dict[bytes, McuBundle] = field(default_factory=dict)  # by manifest digest
    signatures: dict[bytes, tuple[ImageSignature, ...]] = field(default_factory=dict)
    modes: dict[bytes, Mode] = field(default_factory=dict)
    serving: McuBundle | None = None  # what the core wants to serve
    is_isolated: bool = False
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))

    def note(self, text: str) -> None:
        """A line for LOGS."""
        self.log.append(text[:LINE_MAX])


@dataclass(frozen=True, slots=True)
class Job:
    """An effect, with the blobs that it needs, read and verified by the caller."""

    effect: Any
    material: Material | None = None


def perform(mcu: Mcu, job: Job) -> tuple[Input, ...]:
    """Executes one effect; the answers are for the core."""
    duty = DUTIES.get(type(job.effect))
    return duty(mcu, job) if duty else ()


def bring_up(mcu: Mcu, bundle: McuBundle) -> None:
    """Makes the bundle's image run, by whatever course the slots demand."""
    for _ in range(ACTS_MAX):
        act = next_act(mcu.port.ask(read_slots()), bundle.image_digest)
        if act is Act.DONE:
            return
        if act is Act.UPLOAD:
            mcu.port.upload(bundle.image(_signatures(mcu, bundle)))
            continue
        if act is Act.TRY_AND_RESET:
            mcu.port.ask(try_image(bundle.image_digest))
        mcu.port.restart()
    raise FailedError(
        f"microcontroller {mcu.name} does not boot {bundle.manifest.model} {bundle.version}"
    )


def golden_passed(mcu: Mcu, bundle: McuBundle) -> int:
    """How many golden vectors come out bit for bit on the running image."""
    passed = 0
    for given, exact in bundle.golden:
        answer = mcu.port.infer(given)
        passed += answer.output == exact and answer.digest == bundle.image_digest
    return passed


def serving_or_error(mcu: Mcu, model: str) -> McuBundle:
    """Raises NotFoundError where the model does not serve here."""
    if mcu.serving is None or mcu.serving.manifest.model != model:
        raise NotFoundError(f"unit {mcu.name}: {model} does not serve here")
    return mcu.serving


# --- effects


def _load(mcu: Mcu, job: Job) -> tuple[Input, ...]:
    """Knows the bundle, and uploads its image unless the microcontroller has it."""
    effect: LoadCandidate = job.effect
    digest = effect.slot.manifest_digest
    bundle = mcu_bundle(digest, effect.manifest, _material(job))
    _demand_one_model(mcu, effect.model)
    mcu.bundles[digest] = bundle
    if effect.assignment is not None:
        mcu.signatures[digest] = effect.assignment.image_signatures
        mcu.modes[digest] = effect.assignment.mode
        _upload_if_absent(mcu, bundle)
    return (
        Loaded(
            effect.unit, effect.model, digest, bundle.inputs, bundle.outputs, bundle.memory_bytes
        ),
    )


def _upload_if_absent(mcu: Mcu, bundle: McuBundle) -> None:
    for _ in range(ACTS_MAX):
        act = next_act(mcu.port.ask(read_slots()), bundle.image_digest)
        if act is Act.UPLOAD:
            mcu.port.upload(bundle.image(_signatures(mcu, bundle)))
        elif act is Act.RESET and not _has_image(mcu, bundle):
            mcu.port.restart()  # slot 1 is the way back of something unconfirmed
        else:
            return
    raise FailedError(f"microcontroller {mcu.name} does not keep the image that was uploaded")


def _self_test(mcu: Mcu, job: Job) -> tuple[Input, ...]:
    effect: SelfTest = job.effect
    bundle = _known(mcu, effect.manifest_digest)
    before = mcu.serving
    bring_up(mcu, bundle)
    passed = golden_passed(mcu, bundle)
    latency_us = mcu.port.statistics().p95_ns // 1000
    is_warm = mcu.modes.get(bundle.manifest_digest) is Mode.WARM
    if (is_warm or passed < len(bundle.golden)) and before is not bundle:
        _go_back(mcu, before)
    return (
        SelfTested(
            effect.unit,
            effect.model,
            effect.manifest_digest,
            passed,
            len(bundle.golden),
            latency_us,
        ),
    )


def _go_back(mcu: Mcu, before: McuBundle | None) -> None:
    """An unconfirmed image leaves by a reset."""
    if before is None:
        mcu.port.restart()
    else:
        bring_up(mcu, before)


def _swap(mcu: Mcu, job: Job) -> tuple[Input, ...]:
    effect: Swap = job.effect
    if effect.manifest_digest is None:
        _go_back(mcu, None)
        mcu.serving = None
        return ()
    bundle = _known(mcu, effect.manifest_digest)
    mcu.serving = bundle
    bring_up(mcu, bundle)
    return ()


def _make_permanent(mcu: Mcu, job: Job) -> tuple[Input, ...]:
    effect: MakePermanent = job.effect
    bundle = _known(mcu, effect.manifest_digest)
    confirm(mcu, bundle)
    return ()


def confirm(mcu: Mcu, bundle: McuBundle) -> None:
    """Keeps the running image, if it is the bundle's. Raises StateError if it is not."""
    if next_act(mcu.port.ask(read_slots()), bundle.image_digest) is not Act.DONE:
        raise StateError(f"microcontroller {mcu.name} runs another image than {bundle.version}")
    mcu.port.ask(confirm_image())


def _release(mcu: Mcu, job: Job) -> tuple[Input, ...]:
    """Forgets the bundle; its bytes in slot 1 stay until something else is uploaded."""
    effect: Release = job.effect
    mcu.bundles.pop(effect.manifest_digest, None)
    mcu.signatures.pop(effect.manifest_digest, None)
    mcu.modes.pop(effect.manifest_digest, None)
    return ()


# --- questions


def _answer(mcu: Mcu, job: Job) -> tuple[Input, ...]:
    effect: Ask = job.effect
    answers: dict[int, Callable[[Mcu, bytes], Any]] = {
        Verb.INFER: _infer,
        Verb.VERIFY: _verify,
        Verb.STATUS: _status,
        Verb.LOGS: _logs,
    }
    if effect.verb not in answers:
        text = f"a microcontroller does not know {Verb(effect.verb).name}"
        return (Answered(effect.unit, effect.request_id, Code.INVALID, text),)
    body = encode(answers[effect.verb](mcu, effect.body))
    return (Answered(effect.unit, effect.request_id, Code.OK, body=body),)


def _infer(mcu: Mcu, body: bytes) -> InferReply:
    request = decode(InferRequest, body)
    bundle = serving_or_error(mcu, request.model)
    before = mcu.port.statistics()
    answer = mcu.port.infer(request.input)
    after = mcu.port.statistics()
    return InferReply(
        output=answer.output or b"",
        manifest_digest=bundle.manifest_digest,
        version=bundle.version,
        slot="active",
        latency_us=max(after.sum_ns - before.sum_ns, 0) // 1000,
    )


def _verify(mcu: Mcu, body: bytes) -> VerifyReply:
    request = decode(VerifyRequest, body)
    bundle = serving_or_error(mcu, request.model)
    if request.manifest_digest not in (None, bundle.manifest_digest):
        raise NotFoundError(f"a microcontroller verifies what serves: {bundle.version}")
    is_intact = next_act(mcu.port.ask(read_slots()), bundle.image_digest) is Act.DONE
    return VerifyReply(
        is_intact=is_intact,
        golden_passed=golden_passed(mcu, bundle),
        golden_count=len(bundle.golden),
        manifest_digest=bundle.manifest_digest,
    )


def _status(mcu: Mcu, body: bytes) -> StatusReply:  # noqa: ARG001  (a duty takes a body)
    stats = mcu.port.statistics()
    fields = {name: str(getattr(stats, name)) for name in stats.__slots__ if name != "digest"}
    return StatusReply(fields={**fields, "image_digest": stats.digest.hex()})


def _logs(mcu: Mcu, body: bytes) -> LogsReply:
    count = decode(LogsRequest, body).count
    return LogsReply(lines=tuple(list(mcu.log)[-count:] if count else ()))


# --- what must be there


def _material(job: Job) -> Material:
    if job.material is None:
        raise RuntimeError(f"{type(job.effect).__name__} came without the bundle's blobs")
    return job.material


def _known(mcu: Mcu, manifest_digest: bytes) -> McuBundle:
    if manifest_digest not in mcu.bundles:
        raise NotFoundError(f"unit {mcu.name}: bundle {manifest_digest.hex()[:12]} is not loaded")
    return mcu.bundles[manifest_digest]


def _signatures(mcu: Mcu, bundle: McuBundle) -> tuple[ImageSignature, ...]:
    return mcu.signatures.get(bundle.manifest_digest, ())


def _has_image(mcu: Mcu, bundle: McuBundle) -> bool:
    return any(slot.digest == bundle.image_digest for slot in mcu.port.ask(read_slots()))


def _demand_one_model(mcu: Mcu, model: str) -> None:
    others = {known.manifest.model for known in mcu.bundles.values()} - {model}
    if others:
        raise StateError(
            f"unit {mcu.name} has two slots for one model and {others.pop()} is in them",
            Code.POLICY,
        )


DUTIES: Final[dict[type[Any], Callable[[Mcu, Job], tuple[Input, ...]]]] = {
    LoadCandidate: _load,
    SelfTest: _self_test,
    Swap: _swap,
    MakePermanent: _make_permanent,
    Release: _release,
    Ask: _answer,
}
