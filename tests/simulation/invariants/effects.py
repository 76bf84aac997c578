"""What must hold before an effect is done, and at a boot. `check_effect` calls a new one."""

from typing import TYPE_CHECKING

from wherry_agent.core.effects import Effect, LoadCandidate, Persist, Swap
from wherry_agent.core.penalty import wait_s
from wherry_agent.core.record import AgentRecord, unit_record

from tests.simulation.engine import UNIT
from tests.simulation.invariants.broken import broken
from tests.simulation.models import BUDGET
from tests.simulation.network import SECOND_US

if TYPE_CHECKING:
    from tests.simulation.device import SimDevice
    from tests.simulation.world import World

PENALTY_SLACK_S = 3.0


def check_effect(world: "World", device: "SimDevice", effect: Effect) -> None:
    """Before an effect is done."""
    if isinstance(effect, Swap):
        _only_verified_bundles_serve(world, device, effect)
        _the_record_knows_what_will_serve(device, effect)
    elif isinstance(effect, LoadCandidate) and effect.assignment is not None:
        _a_failed_bundle_waits(world, device, effect)
        _nothing_is_installed_under_a_stop(device)
        _it_was_given_what_it_installs(world, device, effect)
    elif isinstance(effect, Persist):
        _revisions_only_rise(world, device, effect.record)


def _only_verified_bundles_serve(world: "World", device: "SimDevice", effect: Swap) -> None:
    """Invariant 2."""
    digest = effect.manifest_digest
    if digest is None:
        return
    if digest not in world.made:
        broken(f"{device.name} serves {digest.hex()[:8]}, which nobody signed")
    behaviour = world.made[digest].on(device.rank)
    is_fit = behaviour.latency_us <= BUDGET.latency_us_p95
    is_fit &= behaviour.memory_bytes <= BUDGET.memory_bytes
    if behaviour.is_lying or not behaviour.is_loadable or not is_fit:
        broken(f"{device.name} serves a bundle that must fail its self-test: {behaviour.name}")


def _the_record_knows_what_will_serve(device: "SimDevice", effect: Swap) -> None:
    """Invariant 1: the pointer never runs ahead of the durable record."""
    if effect.manifest_digest is None:
        return
    record = device.record_models().get(effect.model)
    slots = () if record is None else (record.active, record.previous)
    if effect.manifest_digest not in [slot.manifest_digest for slot in slots if slot]:
        broken(f"{device.name} swaps to {effect.manifest_digest.hex()[:8]}, and its record does "
               "not know it")  # fmt: skip


def _a_failed_bundle_waits(world: "World", device: "SimDevice", effect: LoadCandidate) -> None:
    failure = device.log.failures.get(effect.slot.manifest_digest)
    if failure is None or world.truth.is_clock_wrong:
        return
    count, at_us = failure
    waited_s = (world.now_us - at_us) / SECOND_US
    if waited_s < wait_s(count) - PENALTY_SLACK_S:
        broken(f"{device.name} tries a bundle again {waited_s:.0f} s after failure {count} of it, "
               f"{wait_s(count)} s must pass")  # fmt: skip


def _nothing_is_installed_under_a_stop(device: "SimDevice") -> None:
    if device.agent.is_stopped or device.agent.units[UNIT].memory.is_isolated:
        broken(f"{device.name} installs, and is stopped or isolated")


def _it_was_given_what_it_installs(
    world: "World", device: "SimDevice", effect: LoadCandidate
) -> None:
    """Invariant 5: the store has said so of this device at some time."""
    digest = effect.slot.manifest_digest
    if (device.name, digest) not in world.truth.given:
        broken(f"{device.name} installs {digest.hex()[:8]}, which it was not given")


def _revisions_only_rise(world: "World", device: "SimDevice", record: AgentRecord) -> None:
    """Invariant 3, and one revision never means two documents."""
    before = device.log.relied_on
    now = unit_record(record, UNIT)
    if before is None or _epoch(world, before) != _epoch(world, record):
        return
    then = unit_record(before, UNIT)
    if now.revision < then.revision:
        broken(f"{device.name}: revision {now.revision} after {then.revision}")
    if now.revision == then.revision and now.desired_digest != then.desired_digest:
        broken(f"{device.name}: two documents under revision {now.revision}")
    if record.time_floor_s < before.time_floor_s:
        broken(f"{device.name}: the time floor fell")


def _epoch(world: "World", record: AgentRecord) -> int:
    """A device holds every root from the first on, so their count says which is its newest."""
    return world.authority.epochs[len(record.roots) - 1]


def check_boot(world: "World", device: "SimDevice", record: AgentRecord | None) -> None:  # noqa: ARG001
    """The record is one that later effects relied on, or one that was being written."""
    log = device.log
    if record != log.relied_on and record not in log.writing:
        broken(f"{device.name} boots with a record that is not the last durable one")
