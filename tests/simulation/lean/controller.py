"""The controller of a very large fleet: the real rollout core; what it asks for is done in memory.

In the place of `wherry_controller.fleet` and its store. A report is acknowledged with the next
tick, as by the real writer with the next transaction.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wherry_controller.core import performance, spool
from wherry_controller.core.rollouts import Candidate, Rollout, decide, draft, parse_plan
from wherry_controller.core.rollouts import events as told
from wherry_controller.core.rollouts.effects import Assign, SendBack
from wherry_controller.core.rollouts.events import Event
from wherry_controller.fleet.rollouts import figures
from wherry_protocol import sealed  # by its module: the names in it are the twin's
from wherry_protocol.blobs import wrap_key
from wherry_protocol.codec import encode
from wherry_protocol.messages.desired import (
    Assignment,
    Desired,
    Mode,
    TelemetryConfig,
    TrialLimits,
    assignment_id,
)
from wherry_protocol.messages.observed import Ack, Origin, Telemetry
from wherry_protocol.messages.observed import Event as DeviceEvent
from wherry_protocol.messages.reported import Reported
from wherry_protocol.messages.rpc import Request, TimeAnswer, Verb
from wherry_protocol.messages.trust import TrustRole

from tests.simulation.engine import UNIT
from tests.simulation.lean.device import LeanDevice
from tests.simulation.models import MODEL, Made
from tests.simulation.network import SECOND_US

if TYPE_CHECKING:
    from tests.simulation.lean.world import LeanWorld

HARDWARE = "linux-test"
VALID_S = 86_400


class LeanController:
    """One rollout of version 2 to every device of the world."""

    def __init__(self, world: "LeanWorld", plan: dict[str, Any], control_count: int) -> None:
        self.world = world
        self.revisions: dict[str, int] = {}
        self.positions: dict[tuple[str, bytes], spool.Position] = {}
        self.to_acknowledge: dict[tuple[str, bytes], None] = {}
        self.reports: dict[str, tuple[int, int]] = {}  # the newest of each device
        wrapping = world.connection_keys.wrap_key
        self.blob_keys = {d: wrap_key(wrapping, key) for d, key in world.content_keys.items()}
        first, second = world.versions
        candidates = [Candidate(f"{n}/{UNIT}", HARDWARE, first.digest) for n in world.names]
        self.rollout: Rollout = draft(
            "canary", second.manifest, second.digest, parse_plan(plan), candidates,
            created_by="ada", now_s=world.now_s,
        )  # fmt: skip
        self.assignments: dict[tuple[bytes, TrialLimits, int], tuple[Assignment, bytes]] = {}
        world.hear = self.hear
        for name in world.names[:control_count]:
            world.to_device(name, "", b"")
        world.at(60 * SECOND_US, self.start)
        world.at(SECOND_US, self.tick)

    def start(self) -> None:
        self.tell(told.Approve("ada"))
        self.tell(told.LinkChanged(True))
        self.tell(told.Start("ada"))

    # --- the rollout

    def tell(self, event: Event) -> None:
        """Hand an event to the core and do what it asks for, as `fleet.rollouts.tell` does."""
        waiting: deque[Event] = deque([event])
        while waiting:
            self.rollout, effects = decide(self.rollout, waiting.popleft(), self.world.now_s)
            for effect in effects:
                if isinstance(effect, Assign):
                    waiting.append(self._assign(effect))
                elif isinstance(effect, SendBack):
                    waiting.append(self._send_back(effect))
        self.rollout.changed.clear()
        self.rollout.pools.changed.clear()

    def _assign(self, effect: Assign) -> Event:
        rollout = self.rollout
        member = rollout.members[effect.unit]
        if member.index >= rollout.progress.opened_count:
            self.world.broken(f"{effect.unit} is touched, and no stage has opened it")
        identity = self._give(effect.unit, self.world.made[effect.digest], effect.trial, 0)
        return told.Assigned(effect.unit, identity, self.world.versions[0].digest)

    def _send_back(self, effect: SendBack) -> Event:
        first, trial = self.world.versions[0], self.rollout.plan.trial
        return told.Assigned(effect.unit, self._give(effect.unit, first, trial, 1))

    def _give(self, unit: str, made: Made, trial: TrialLimits, attempt: int) -> bytes:
        """The unit's next desired document; the id of the assignment in it."""
        assignment, identity = self._assignment(made, trial, attempt)
        world, name = self.world, unit.partition("/")[0]
        revision = self.revisions[name] = self.revisions.get(name, 0) + 1
        now_s = int(world.now_s)
        desired = Desired(
            org=world.org, connection=name, unit=UNIT, epoch=world.authority.epoch,
            revision=revision, issued_s=now_s, expires_s=now_s + VALID_S,
            assignments=(assignment,), blob_keys=self.blob_keys,
            hardware_class=world.classes[UNIT],
            telemetry=TelemetryConfig(performance_s=world.performance_s),
            is_isolated=False, chunk_window=8,
        )  # fmt: skip
        payload = sealed.seal(desired, TrustRole.DIRECTOR, world.authority.director)
        topic = world.topics.desired(name, UNIT)
        world.retained[topic] = payload
        world.to_device(name, topic, payload)
        return identity

    def _assignment(self, made: Made, trial: TrialLimits, attempt: int) -> tuple[Assignment, bytes]:
        key = (made.digest, trial, attempt)
        if key not in self.assignments:
            assignment = Assignment(
                model=MODEL, manifest_digest=made.digest, signatures=made.bundle.signatures,
                manifest_bytes=len(made.bundle.manifest_bytes), trial=trial, attempt=attempt,
                mode=Mode.ACTIVE,
            )  # fmt: skip
            self.assignments[key] = assignment, assignment_id(assignment)
        return self.assignments[key]

    def tick(self) -> None:
        """Time passes; what was reported since the last tick is acknowledged."""
        self.tell(told.Tick(0, 0))
        for key in self.to_acknowledge:
            self._acknowledge(*key)
        self.to_acknowledge.clear()
        self.world.at(SECOND_US, self.tick)

    # --- messages

    def hear(self, device: LeanDevice, topic: str, payload: bytes) -> None:
        HEARERS[topic.rpartition("/")[2]](self, device, payload)

    def presence(self, _device: LeanDevice, _payload: bytes) -> None:
        """It is believed to be there anyhow."""

    def reported(self, device: LeanDevice, payload: bytes) -> None:
        keys = [self.world.device_key.public]
        message = sealed.open_sealed(Reported, payload, TrustRole.DEVICE, keys)
        name = message.connection
        if message.nonce is not None:
            self._tell_time(device, message.nonce)
        order = (message.boot_count, message.sequence)
        if order <= self.reports.get(name, (0, 0)):
            return
        self.reports[name] = order
        for model in message.models:
            running = None if model.active is None else model.active.manifest_digest
            observed = told.Observed(
                f"{name}/{UNIT}", model.assignment_id, model.phase, model.outcome, running,
                model.good_inferences, model.code, model.reason,
            )  # fmt: skip
            self.tell(observed)

    def _tell_time(self, device: LeanDevice, nonce: bytes) -> None:
        world, now_s = self.world, int(self.world.now_s)
        answer = TimeAnswer(
            nonce=nonce, time_s=now_s, epoch=world.authority.epoch,
            root_number=len(world.authority.roots),
        )  # fmt: skip
        request = Request(
            org=world.org, connection=device.name, unit=UNIT, id=world.random.randbytes(16),
            issued_s=now_s, expires_s=now_s + 120, verb=Verb.TIME, body=encode(answer),
        )  # fmt: skip
        payload = sealed.seal(request, TrustRole.DIRECTOR, world.authority.director)
        world.to_device(device.name, world.topics.rpc(device.name, UNIT), payload)

    def telemetry(self, _device: LeanDevice, payload: bytes) -> None:
        message = sealed.open_mac(Telemetry, payload, self.world.connection_keys.mac_key)
        if not self._is_new(message.origin):
            return
        for one in performance.read(message).performances:
            unit = f"{message.origin.connection}/{UNIT}"
            ended_s = float(message.origin.time_s or self.world.now_s)
            self.tell(told.Performance(unit, HARDWARE, one.digest, figures(one), ended_s))

    def event(self, _device: LeanDevice, payload: bytes) -> None:
        self._is_new(
            sealed.open_mac(DeviceEvent, payload, self.world.connection_keys.mac_key).origin
        )

    def _is_new(self, origin: Origin) -> bool:
        key = (origin.connection, origin.boot_id)
        position = self.positions.get(key, spool.START)
        self.positions[key], verdict = spool.accept(position, origin.sequence, origin.oldest)
        self.to_acknowledge[key] = None
        return verdict is spool.Verdict.NEW

    def _acknowledge(self, name: str, boot_id: bytes) -> None:
        world, position = self.world, self.positions[name, boot_id]
        ack = Ack(org=world.org, connection=name, boot_id=boot_id, sequence=position.contiguous)
        payload = sealed.seal_mac(ack, world.connection_keys.mac_key)
        world.to_device(name, world.topics.ack(name), payload)


HEARERS: dict[str, Callable[[LeanController, LeanDevice, bytes], None]] = {
    "presence": LeanController.presence,
    "reported": LeanController.reported,
    "telemetry": LeanController.telemetry,
    "event": LeanController.event,
}
