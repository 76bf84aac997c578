"""What must hold after an event of a device. A new one is a function of (world, device), and its
name in DEVICE. Each looks only at what the event can have changed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from wherry_agent.core.reports import SEGMENT_BYTES_MAX
from wherry_controller.store import performance as rows
from wherry_protocol.errors import Code
from wherry_protocol.messages.reported import Phase

from tests.simulation.engine import UNIT
from tests.simulation.invariants.broken import broken
from tests.simulation.models import GOOD, MODEL

if TYPE_CHECKING:
    from tests.simulation.device import SimDevice
    from tests.simulation.world import World

CHUNKS_MAX = 8
ERROR_RATE_MAX = 0.1  # of the trials in `operator`
THE_BUNDLES_DOING = frozenset((
    Code.GOLDEN_MISMATCH, Code.OVER_LATENCY, Code.OVER_MEMORY, Code.PROGRAM, Code.ERROR_RATE,
    Code.LATENCY, Code.ENGINE_CRASH, Code.NOT_CONFIRMED_IN_TIME, Code.DECRYPT, Code.DIGEST,
))  # fmt: skip


def check_device(world: "World", device: "SimDevice") -> None:
    """After an event in which this device did something; a message on its way changes nothing."""
    device.has_acted = False
    if device.is_running and device.runtime is not None:
        for check in DEVICE:
            check(world, device)


def _what_has_served_serves(world: "World", device: "SimDevice") -> None:  # noqa: ARG001
    """Invariant 1: once a bundle was confirmed, one serves, in every life."""
    if not device.log.confirmed or device.jobs or not device.is_settled:
        return
    digest = device.loops.serving.get(MODEL)
    if digest is None or digest not in device.loops.loaded:
        broken(f"{device.name} serves nothing, and a bundle was confirmed here")


def _the_record_says_what_serves(world: "World", device: "SimDevice") -> None:  # noqa: ARG001
    """Once nothing is under way any more, the pointer is where the record says."""
    if device.jobs or not device.is_settled or device.is_rolled_back:
        return
    phases = device.agent.units[UNIT].models
    for model, record in device.record_models().items():
        active = None if record.active is None else record.active.manifest_digest
        is_there = model in phases and phases[model].phase in (Phase.IDLE, Phase.TRIAL)
        if is_there and device.loops.serving.get(model) != active:
            broken(f"{device.name}: the record says that another bundle serves {model}")


def _trials_end(world: "World", device: "SimDevice") -> None:  # noqa: ARG001
    """Starts without confirmation are counted, and few."""
    for record in device.record_models().values():
        trial = record.trial
        if trial is not None and trial.start_count >= trial.limits.unconfirmed_starts_max:
            broken(f"{device.name}: {trial.start_count} starts without confirmation")


def _bad_bundles_are_not_confirmed(world: "World", device: "SimDevice") -> None:
    """Invariant 1: what fails in its trial does not stay."""
    if len(device.log.confirmed) == device.log.confirmed_count:
        return
    device.log.confirmed_count = len(device.log.confirmed)
    for digest in device.log.confirmed:
        behaviour = world.made[digest].on(device.rank)
        if behaviour.error_rate > ERROR_RATE_MAX:
            broken(f"{device.name} confirmed a bundle with {behaviour.error_rate:.0%} errors")


def _chunk_topics_are_few(world: "World", device: "SimDevice") -> None:
    """Invariant 9: at most eight chunk topics at a time, as the broker sees it."""
    session = world.broker.sessions.get(device.client_id)
    if session is None or device.name not in world.truth.subscribed:
        return
    world.truth.subscribed.discard(device.name)
    count = sum("/b/" in topic for topic in session.subscribed)
    if count > CHUNKS_MAX:
        broken(f"{device.name} has {count} chunk topics subscribed, {CHUNKS_MAX} may be")


def _reports_are_bounded(world: "World", device: "SimDevice") -> None:  # noqa: ARG001
    """Invariant 9."""
    reports = device.agent.reports
    if reports is device.log.reports:
        return
    if reports.spool_bytes > reports.spool_bytes_max:
        broken(f"{device.name}: {reports.spool_bytes} B in the spool")
    if reports.held_bytes > 2 * SEGMENT_BYTES_MAX:
        broken(f"{device.name}: {reports.held_bytes} B of reports in memory")


def _released_reports_are_committed(world: "World", device: "SimDevice") -> None:
    """A report leaves the device only when the controller has committed it."""
    reports = device.agent.reports
    before, device.log.reports = device.log.reports, reports
    if reports is before or reports.dropped_count or world.controller.restored_count:
        return
    if before is not None and reports.boot_id == before.boot_id and reports.oldest == before.oldest:
        return
    if reports.oldest == 1:
        return
    kept = rows.spools_of(world.controller.db, [device.name])
    contiguous = max((one.contiguous for one in kept if one.boot_id == reports.boot_id), default=0)
    if contiguous < reports.oldest - 1:
        broken(f"{device.name} let go of reports up to {reports.oldest - 1}, committed are "
               f"{contiguous}")  # fmt: skip


def _good_bundles_are_not_blamed(world: "World", device: "SimDevice") -> None:
    """A device fails a bundle only for what the bundle does."""
    blamed, device.log.blamed = device.log.blamed, None
    if blamed is None or blamed[1] not in THE_BUNDLES_DOING:
        return
    if world.made[blamed[0]].on(device.rank) == GOOD:
        broken(f"{device.name} blames a good bundle: {blamed[1].name}")


DEVICE: list[Callable[["World", "SimDevice"], None]] = [
    _what_has_served_serves,
    _the_record_says_what_serves,
    _trials_end,
    _bad_bundles_are_not_confirmed,
    _good_bundles_are_not_blamed,
    _chunk_topics_are_few,
    _reports_are_bounded,
    _released_reports_are_committed,
]
