"""What must hold for a device that nothing disturbs: it is connected, the controller is, the broker
is honest, and both can write.

A rollout may lawfully end in many ways, so that a device which hardly speaks or hears can go
unseen. Here it cannot. A new one is a function of (world, device, row of its unit) in QUIET: what
is not right yet, or None; and within how many seconds it must pass.
"""

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from wherry_controller.store import devices as rows
from wherry_controller.store.devices import Unit
from wherry_protocol.errors import Code
from wherry_protocol.messages.reported import Outcome

from tests.simulation.engine import UNIT
from tests.simulation.invariants.broken import broken
from tests.simulation.models import MODEL
from tests.simulation.network import SECOND_US

if TYPE_CHECKING:
    from tests.simulation.device import SimDevice
    from tests.simulation.world import World

BOUND_S = 90  # for what has to travel; the worst weather needs some twenty
OWN_BOUND_S = 15  # for what a device has to do by itself
RECORD_FAILED_S = 60  # so long a step that was taken back may show
LOOKED_AT_MAX = 200  # devices per look: a large fleet takes turns


def check_quiet(world: "World") -> None:
    """Now and then, about some devices."""
    names = list(world.devices)
    start = world.truth.turn % max(1, len(names))
    world.truth.turn = start + LOOKED_AT_MAX
    for name in islice(names[start:] + names[:start], LOOKED_AT_MAX):
        device = world.devices[name]
        row = rows.unit(world.controller.db, name, UNIT)
        for check, bound_s in QUIET.items():
            _judge(world, device, check.__name__, check(world, device, row), bound_s)


def _judge(
    world: "World", device: "SimDevice", name: str, complaint: str | None, bound_s: int
) -> None:
    """A complaint must pass, counted from when it began or the last disturbance."""
    since, quiet_us = device.log.complaints, _quiet_since_us(world, device)
    if complaint is None or quiet_us is None:
        since.pop(name, None)
        return
    began_us = since.setdefault(name, world.now_us)
    if world.now_us - max(began_us, quiet_us) > bound_s * SECOND_US:
        broken(f"{device.name} {complaint}, for {bound_s} s without a disturbance")


def _quiet_since_us(world: "World", device: "SimDevice") -> int | None:
    """Since when nothing disturbs; None while something does."""
    controller, broker = world.controller, world.broker
    if device.disk.is_full or device.runtime is None or device.is_rolled_back:
        device.log.trouble_us = world.now_us
    if broker.lossy_topics or not device.is_heard or not controller.is_heard:
        return None
    return max(
        device.connected_us, device.log.trouble_us, controller.up_since_us,
        controller.writes_since_us, broker.honest_since_us,
    )  # fmt: skip


def _is_known_to_the_controller(world: "World", device: "SimDevice", row: Unit) -> str | None:  # noqa: ARG001
    """What a device does is in the store."""
    record = device.record_models().get(MODEL)
    if record is None:
        return None
    active = None if record.active is None else record.active.manifest_digest
    known = rows.find_model(world.controller.db, device.name, UNIT, MODEL)
    # An assignment that waits is reported as unanswered, and the record is of the one before.
    waits = device.runtime is not None and MODEL in device.agent.units[UNIT].waiting
    outcome = known.outcome if known is not None and waits else int(record.outcome)
    if known is not None and (known.active_digest, known.outcome) == (active, outcome):
        return None
    told = "nothing" if known is None else Outcome(known.outcome).name
    return f"is {record.outcome.name}, and known is {told}"


def _knows_its_document(world: "World", device: "SimDevice", row: Unit) -> str | None:
    """A desired document arrives, and is believed."""
    if world.truth.is_clock_wrong or row.issued_s is None or device.runtime is None:
        return None
    if device.agent.trust.root.epoch != row.epoch or device.revision >= row.revision:
        return None
    return f"is at revision {device.revision}, and {row.revision} is published"


def _knows_the_time(world: "World", device: "SimDevice", row: Unit) -> str | None:  # noqa: ARG001
    """The director answers, and what has waited for it goes on."""
    if world.truth.is_clock_wrong or device.runtime is None:
        return None
    unit = device.agent.units[UNIT]
    codes = {one.code for one in unit.waiting.values()}
    codes |= {unit.refusal.code} if unit.refusal is not None else set()
    is_known = device.agent.clock.base_s is not None
    return None if is_known and Code.TIME_UNKNOWN not in codes else "waits for the time"


def _looks_again_with_the_time(world: "World", device: "SimDevice", row: Unit) -> str | None:  # noqa: ARG001
    """What a document waits for has come: it is judged again at once."""
    has_failed = world.now_us - device.log.trouble_us < RECORD_FAILED_S * SECOND_US
    if device.runtime is None or (has_failed and device.log.trouble_us):
        return None
    refusal = device.agent.units[UNIT].refusal
    waits = refusal is not None and refusal.code is Code.TIME_UNKNOWN
    is_known = device.agent.clock.base_s is not None
    return "knows the time, and its document waits for it" if waits and is_known else None


QUIET: dict[Callable[["World", "SimDevice", Unit], str | None], int] = {
    _is_known_to_the_controller: BOUND_S,
    _knows_its_document: BOUND_S,
    _knows_the_time: BOUND_S,
    _looks_again_with_the_time: OWN_BOUND_S,
}
