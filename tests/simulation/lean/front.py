"""What the controller does for each device by itself: it reads what the device says, answers with
the time, acknowledges, and makes the desired documents that the rollout asks for.

In the place of `wherry_controller.fleet` and its store. What the rollout is to be told is kept
until it is fetched, as by the real writer until its transaction is committed; a report is
acknowledged when `acknowledge` is called.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from wherry_controller.core import performance, spool
from wherry_controller.core.rollouts import events as told
from wherry_controller.fleet.rollouts import figures
from wherry_protocol import sealed  # by its module: the names in it are the twin's
from wherry_protocol.blobs import wrap_key
from wherry_protocol.messages.desired import (
    Assignment,
    Desired,
    Mode,
    TelemetryConfig,
    TrialLimits,
)
from wherry_protocol.messages.observed import Ack, Origin, Telemetry
from wherry_protocol.messages.observed import Event as DeviceEvent
from wherry_protocol.messages.reported import Reported
from wherry_protocol.messages.rpc import Request, TimeAnswer, Verb
from wherry_protocol.messages.trust import TrustRole

from tests.simulation.engine import UNIT
from tests.simulation.lean.device import LeanDevice, name_of
from tests.simulation.models import MODEL, Made
from tests.simulation.twins.codec import enclose

if TYPE_CHECKING:
    from tests.simulation.lean.world import LeanWorld

HARDWARE = "linux-test"
VALID_S = 86_400


class Given(NamedTuple):
    """What a device shall run: a bundle's digest, its trial, and which attempt it is."""

    digest: bytes
    trial: TrialLimits
    attempt: int


# The fields of an `Observed` that the rollout is told, enumerations as numbers.
Observed = tuple[bytes | None, int, int, bytes | None, int, int, str]


# What a device said to the rollout: when (us), which one, and what, of either kind.
Heard = tuple[int, int, Observed | None, told.Performance | None]


def assignment_of(made: Made, given: Given) -> Assignment:
    return Assignment(
        model=MODEL, manifest_digest=made.digest, signatures=made.bundle.signatures,
        manifest_bytes=len(made.bundle.manifest_bytes), trial=given.trial, attempt=given.attempt,
        mode=Mode.ACTIVE,
    )  # fmt: skip


def observed_in(message: Reported) -> list[Observed]:
    """What the rollout is told of each model."""
    return [
        (
            model.assignment_id, int(model.phase), int(model.outcome),
            None if model.active is None else model.active.manifest_digest,
            model.good_inferences, int(model.code), model.reason,
        )
        for model in message.models
    ]  # fmt: skip


class Front:
    """Of the devices of one world."""

    def __init__(self, world: "LeanWorld") -> None:
        self.world = world
        self.revisions: dict[int, int] = {}
        self.positions: dict[tuple[int, bytes], spool.Position] = {}
        self.to_acknowledge: dict[tuple[int, bytes], None] = {}
        self.heard: list[Heard] = []
        wrapping = world.connection_keys.wrap_key
        self.blob_keys = {d: wrap_key(wrapping, key) for d, key in world.content_keys.items()}
        self.assignments: dict[Given, Assignment] = {}

    # --- what goes out

    def give(self, number: int, what: Given) -> None:
        """The device's next desired document."""
        world, name = self.world, name_of(number)
        revision = self.revisions[number] = self.revisions.get(number, 0) + 1
        payload = self.desired(name, what, revision, int(world.now_s))
        topic = world.topics.desired(name, UNIT)
        world.retained[topic] = payload
        world.to_device(number, topic, payload)

    def desired(self, name: str, what: Given, revision: int, now_s: int) -> bytes:
        if what not in self.assignments:
            self.assignments[what] = assignment_of(self.world.made[what.digest], what)
        world = self.world
        desired = Desired(
            org=world.org, connection=name, unit=UNIT, epoch=world.authority.epoch,
            revision=revision, issued_s=now_s, expires_s=now_s + VALID_S,
            assignments=(self.assignments[what],), blob_keys=self.blob_keys,
            hardware_class=world.classes[UNIT],
            telemetry=TelemetryConfig(performance_s=world.performance_s),
            is_isolated=False, chunk_window=8,
        )  # fmt: skip
        return sealed.seal(desired, TrustRole.DIRECTOR, world.authority.director)

    def time_answer(self, name: str, nonce: bytes, now_s: int) -> bytes:
        authority = self.world.authority
        answer = TimeAnswer(
            nonce=nonce, time_s=now_s, epoch=authority.epoch, root_number=len(authority.roots)
        )
        request = Request(
            org=self.world.org, connection=name, unit=UNIT, id=nonce,
            issued_s=now_s, expires_s=now_s + 120, verb=Verb.TIME, body=enclose(answer),
        )  # fmt: skip
        return sealed.seal(request, TrustRole.DIRECTOR, authority.director)

    def ack(self, name: str, boot_id: bytes, sequence: int) -> bytes:
        ack = Ack(org=self.world.org, connection=name, boot_id=boot_id, sequence=sequence)
        return sealed.seal_mac(ack, self.world.connection_keys.mac_key)

    def acknowledge(self) -> None:
        """What was reported since the last time."""
        world = self.world
        for number, boot_id in self.to_acknowledge:
            name, position = name_of(number), self.positions[number, boot_id]
            payload = self.ack(name, boot_id, position.contiguous)
            world.to_device(number, world.topics.ack(name), payload)
        self.to_acknowledge.clear()

    # --- messages

    def hear(self, device: LeanDevice, topic: str, payload: bytes) -> None:
        HEARERS[topic.rpartition("/")[2]](self, device, payload)

    def presence(self, _device: LeanDevice, _payload: bytes) -> None:
        """It is believed to be there anyhow."""

    def reported(self, device: LeanDevice, payload: bytes) -> None:
        keys = [self.world.device_key.public]
        message = sealed.open_sealed(Reported, payload, TrustRole.DEVICE, keys)
        if message.nonce is not None:
            self._tell_time(device, message.nonce)
        order = (message.boot_count, message.sequence)
        if order <= device.reported:
            return
        device.reported = order
        for observed in observed_in(message):
            self.heard.append((self.world.now_us, device.number, observed, None))

    def _tell_time(self, device: LeanDevice, nonce: bytes) -> None:
        world = self.world
        payload = self.time_answer(device.name, nonce, int(world.now_s))
        world.to_device(device.number, world.topics.rpc(device.name, UNIT), payload)

    def telemetry(self, device: LeanDevice, payload: bytes) -> None:
        message = sealed.open_mac(Telemetry, payload, self.world.connection_keys.mac_key)
        if not self._is_new(device, message.origin):
            return
        for one in performance.read(message).performances:
            unit = f"{device.name}/{UNIT}"
            ended_s = float(message.origin.time_s or self.world.now_s)
            said = told.Performance(unit, HARDWARE, one.digest, figures(one), ended_s)
            self.heard.append((self.world.now_us, device.number, None, said))

    def event(self, device: LeanDevice, payload: bytes) -> None:
        message = sealed.open_mac(DeviceEvent, payload, self.world.connection_keys.mac_key)
        self._is_new(device, message.origin)

    def _is_new(self, device: LeanDevice, origin: Origin) -> bool:
        key = (device.number, origin.boot_id)
        position = self.positions.get(key, spool.START)
        self.positions[key], verdict = spool.accept(position, origin.sequence, origin.oldest)
        self.to_acknowledge[key] = None
        return verdict is spool.Verdict.NEW


HEARERS: dict[str, Callable[[Front, LeanDevice, bytes], None]] = {
    "presence": Front.presence,
    "reported": Front.reported,
    "telemetry": Front.telemetry,
    "event": Front.event,
}
