"""What a device truly did over all its lives, and what must hold of it.

1. The record at a boot is the last one that an effect relied on, or the one being written; it is
   readable. So no revision, penalty or time floor is ever forgotten.
2. Once a bundle of a model was confirmed, a verified one serves it in every life.
3. The pointer never runs ahead of the record; a bundle that fails its self-test never serves.
4. A bundle that failed waits for its penalty; nothing is installed under a stop.
5. The spool keeps its limit. A report on it is delivered, or dropped for room and counted.
"""

from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from wherry_agent.core.effects import LoadCandidate, Swap
from wherry_agent.core.record import AgentRecord, unit_record
from wherry_agent.core.reports import decode_segment
from wherry_agent.shell import record_file
from wherry_controller.core.spool import Position
from wherry_protocol.errors import DecodeError
from wherry_protocol.messages.reported import Outcome, Phase

from tests.crash_sweep.sweep import Broken

if TYPE_CHECKING:
    from tests.crash_sweep.agent.ship import Bay

UNIT = "self"
CLOCK_SLACK_S = 2
Report = tuple[bytes, int]  # boot id, sequence


@dataclass
class Log:
    relied_on: AgentRecord | None = None
    writing: list[AgentRecord] = field(default_factory=list)  # begun, not known to be durable
    confirmed: set[str] = field(default_factory=set)  # models
    lying: frozenset[bytes] = frozenset()  # bundles that must fail their self-test
    bare: set[str] = field(default_factory=set)  # models whose only bundle the scenario damages
    positions: dict[bytes, Position] = field(default_factory=dict)  # the shore's, by boot
    received: set[Report] = field(default_factory=set)
    accepted: set[Report] = field(default_factory=set)  # were durable in the spool
    dropped: dict[bytes, set[Report]] = field(default_factory=dict)  # by the life that did it

    def copied(self) -> "Log":
        return replace(
            self,
            writing=list(self.writing),
            confirmed=set(self.confirmed),
            bare=set(self.bare),
            positions=dict(self.positions),
            received=set(self.received),
            accepted=set(self.accepted),
            dropped=dict(self.dropped),
        )

    # --- the record

    def check_disk(self, bay: "Bay") -> None:
        """Rule 1, before a boot."""
        try:
            record = record_file.load(bay.disk)
        except DecodeError as error:
            raise Broken(f"the record cannot be read: {error}") from error
        if record != self.relied_on and record not in self.writing:
            raise Broken("it boots with a record that is not the last durable one")
        if record is not None:
            self.relied(record)

    def begun(self, record: AgentRecord) -> None:
        """Revision and time floor only rise within an epoch; one revision is one document."""
        self.writing.append(record)
        before = self.relied_on
        if before is None or len(before.roots) != len(record.roots):
            return
        then, now = unit_record(before, UNIT), unit_record(record, UNIT)
        if now.revision < then.revision or record.time_floor_s < before.time_floor_s:
            raise Broken(f"revision {now.revision} after {then.revision}, or the time floor fell")
        if now.revision == then.revision and now.desired_digest != then.desired_digest:
            raise Broken(f"two documents under revision {now.revision}")

    def relied(self, record: AgentRecord) -> None:
        """It is durable."""
        self.relied_on = record
        self.writing.clear()
        models = unit_record(record, UNIT).models
        self.confirmed |= {m.model for m in models if m.outcome is Outcome.CONFIRMED and m.active}

    def check_bytes(self, bay: "Bay", record: AgentRecord) -> None:
        """A record names no bundle of which something is not durable."""
        disk = bay.swept
        durable = {
            name
            for name, inode in disk.names_durable.items()
            if disk.synced_inodes.get(inode) == disk.files.get(name)
        }
        for model in unit_record(record, UNIT).models:
            for slot in (model.active, model.candidate):
                if slot is None or model.model in self.bare:
                    continue
                program = bay.director.bundles[slot.manifest_digest].manifest.program_digest
                needed = (f"blobs/{slot.manifest_digest.hex()}", f"images/{program.hex()}")
                if not set(needed) <= durable:
                    raise Broken(f"the record names {slot.version}, and not all of it is durable")

    def durable(self, model: str) -> Any:
        """The model's durable record, or None."""
        models = unit_record(self.relied_on, UNIT).models if self.relied_on else ()
        return next((one for one in models if one.model == model), None)

    # --- effects

    def check_swap(self, effect: Swap) -> None:
        """Rule 3."""
        digest = effect.manifest_digest
        if digest in self.lying:
            raise Broken("a bundle that must fail its self-test is to serve")
        record = self.durable(effect.model)
        slots = (record.active, record.previous) if record is not None else ()
        if digest is not None and digest not in [s.manifest_digest for s in slots if s]:
            raise Broken(f"the pointer moves to {digest.hex()[:8]}, the record does not know it")

    def check_install(self, bay: "Bay", effect: LoadCandidate) -> None:
        """Rule 4."""
        if effect.assignment is None or self.relied_on is None:
            return
        unit = unit_record(self.relied_on, UNIT)
        if self.relied_on.is_stopped or unit.is_isolated:
            raise Broken("it installs, and is stopped or isolated")
        for one in unit.penalties:
            left_s = one.until_s - bay.director.now_s
            if one.manifest_digest == effect.slot.manifest_digest and left_s > CLOCK_SLACK_S:
                raise Broken(f"it tries a bundle again {left_s} s too early")

    # --- states

    def check_boot(self, bay: "Bay") -> None:
        """Everything that the start asked for was done, with bytes that hash."""
        self.check(bay)
        for digest in filter(None, bay.loops.serving.values()):
            program = bay.director.bundles[digest].manifest.program_digest
            if sha256(bay.disk.read(f"images/{program.hex()}")).digest() != program:
                raise Broken("damaged bytes serve")

    def check(self, bay: "Bay") -> None:
        """Nothing is queued."""
        for model in self.confirmed - self.bare:
            digest = bay.loops.serving.get(model)
            if digest is None or digest not in bay.loops.programs:
                raise Broken(f"{model}: a bundle was confirmed, and none serves")
        agent = bay.live.agent
        if agent.persisted == self.relied_on and not self.writing:  # else it was rolled back
            self._check_pointer(bay)
        if agent.reports.spool_bytes > agent.reports.spool_bytes_max:
            raise Broken(f"{agent.reports.spool_bytes} B in the spool")
        self._check_spool(bay)

    def _check_pointer(self, bay: "Bay") -> None:
        for model, state in bay.live.agent.units[UNIT].models.items():
            record = self.durable(model)
            trial = record.trial if record is not None else None
            if trial is not None and trial.start_count >= trial.limits.unconfirmed_starts_max:
                raise Broken(f"{model}: {trial.start_count} starts without confirmation")
            active = record.active.manifest_digest if record is not None and record.active else None
            if state.phase is Phase.IDLE and bay.loops.serving.get(model) != active:
                raise Broken(f"{model}: the record says that another bundle serves")

    # --- the spool

    def _check_spool(self, bay: "Bay") -> None:
        """On disk there may be one segment more than allowed, and one whose removal failed."""
        sizes = [len(data) for name, data in bay.swept.files.items() if name.startswith("spool/")]
        if sum(sizes) > bay.settings.spool_bytes_max + 2 * max(sizes, default=0):
            raise Broken(f"{sum(sizes)} B of spool on disk")

    def synced(self, bay: "Bay", folder: str) -> None:
        """What is durable in the spool now was accepted."""
        if folder != "spool":
            return
        disk = bay.swept
        for name, inode in disk.names_durable.items():
            if name.startswith("spool/") and inode in disk.synced_inodes:
                self.accepted |= _reports(disk.synced_inodes[inode])

    def unlinked(self, bay: "Bay", name: str) -> None:
        """Rule 5: for room, and counted."""
        if not name.startswith("spool/"):
            return
        lost = _reports(bay.swept.files[name]) & self.accepted - self.received
        if not lost:
            return
        sizes = [len(data) for one, data in bay.swept.files.items() if one.startswith("spool/")]
        # One that was to be written just before may have failed: it needed that room.
        if sum(sizes) + max(sizes) <= bay.settings.spool_bytes_max:
            raise Broken(f"{len(lost)} reports are dropped, and there was room")
        agent = bay.live.agent
        mine = self.dropped.setdefault(agent.boot_id, set())
        mine |= lost
        if agent.reports.dropped_count < len(mine):
            raise Broken(f"{len(mine)} reports were dropped, {agent.reports.dropped_count} counted")

    def check_end(self, bay: "Bay") -> None:
        """Rule 5, when all is calm."""
        missing = self.accepted - self.received - set().union(*self.dropped.values())
        if missing:
            raise Broken(f"{len(missing)} reports of the spool never arrived")
        self.check(bay)


def _reports(data: bytes) -> set[Report]:
    """None where the file is torn."""
    try:
        return {(one.boot_id, one.sequence) for one in decode_segment(data).reports}
    except DecodeError:
        return set()
