"""One organization in virtual time: the real fleet service, and a broker that is a dict."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from wherry_controller.fleet import (
    Fleet,
    Inbound,
    Organization,
    Outbound,
    bundles,
    deploying,
    enrolment,
)
from wherry_controller.fleet.open import open_organization
from wherry_controller.founding import Charter, found
from wherry_controller.layout import DataDir
from wherry_controller.settings import BrokerSettings
from wherry_protocol.keys import SigningKey

from tests.controller.device import FakeDevice, Message
from tests.controller.made import bundle_file

T = TypeVar("T")
START_S = 1_800_000_000.0
DIRECT = {
    "strategy": "direct",
    "trial": {"good_inferences_min": 1, "trial_s_min": 0.0, "trial_s_max": 5.0},
}


@dataclass
class World:
    """`retained` is what the broker holds; `told` what was sent to each topic, in order."""

    folder: Path
    fleet: Fleet
    release: list[SigningKey]
    now_s: float = START_S
    retained: dict[str, bytes] = field(default_factory=dict)
    told: list[Outbound] = field(default_factory=list)
    devices: dict[str, FakeDevice] = field(default_factory=dict)
    asked: list[Outbound] = field(default_factory=list)  # questions that nobody answered yet

    @property
    def org(self) -> Organization:
        return self.fleet.org

    def do(self, command: Callable[[Organization], T]) -> T:
        result = self.fleet.do(command, self.now_s)
        asked = self.fleet.take_asked()
        self.asked += asked
        self.told += asked
        return result

    def restart(self) -> None:
        """A new process over the same files."""
        self.org.db.close()
        self.fleet = open_fleet(self.folder, self.now_s)

    def enroll(self, name: str, **options: Any) -> FakeDevice:
        device = FakeDevice(name, **options)
        _, answer = self.do(
            lambda org: enrolment.enroll(
                org, device.request(), BrokerSettings(), "", "ada", self.now_s
            )
        )
        device.take_answer(answer)
        self.devices[name] = device
        self.receive(device.presence(), device.reported())
        return device

    def receive(self, *messages: Message) -> list[Outbound]:
        answers = self.fleet.receive([Inbound(*m) for m in messages], self.now_s)
        self.told += answers
        return answers

    def push(self, version: str, **options: Any) -> bytes:
        """Push a bundle; its digest."""
        data = bundle_file(self.release, version, **options)
        return self.do(lambda org: bundles.push(org, data, "ada", self.now_s)).digest

    def deploy(
        self, version: str, target: str = "all", *, model: str = "digits", **plan: Any
    ) -> str:
        order = deploying.Order(model, version, target, DIRECT | plan, "test", True)
        return self.do(lambda org: deploying.create(org, order, "ada", self.now_s))

    def publish(self) -> None:
        """Hand everything that is due to the broker."""
        while due := self.fleet.due():
            for message in due:
                self.told.append(message)
                self._keep(message)
            self.fleet.sent([(m.topic, m.version or 0) for m in due])

    def _keep(self, message: Outbound) -> None:
        if message.is_retained and message.payload:
            self.retained[message.topic] = message.payload
        elif message.is_retained:
            self.retained.pop(message.topic, None)

    def go(self, seconds: float = 1.0) -> None:
        """One second after the other: publish, let devices act and report, tick."""
        for _ in range(round(seconds)):
            self.publish()
            for device in self.devices.values():
                if device.follow(self.retained):
                    self.receive(device.reported())
            self.now_s += 1.0
            self.fleet.tick(self.now_s)
            self.answer()
        self.publish()

    def answer(self) -> None:
        """Devices answer what they were asked, and what they are asked because of it."""
        while asked := self.fleet.take_asked() + self._unanswered():
            for message in asked:
                for device in self.devices.values():
                    if message.topic == device.topics.rpc(device.name, device.unit):
                        self.receive(*device.replies(message.payload))

    def _unanswered(self) -> list[Outbound]:
        """Questions of commands, which are in `told` already."""
        found, self.asked = self.asked, []
        return found

    def versions(self, model: str = "digits") -> dict[str, str]:
        """What each device serves."""
        return {
            name: device.active[model].version
            for name, device in self.devices.items()
            if model in device.active
        }


def open_fleet(folder: Path, now_s: float) -> Fleet:
    org, _ = open_organization(DataDir(folder))
    fleet = Fleet(org)
    fleet.start(now_s)
    fleet.link_changed(True, True, now_s)
    return fleet


def make_world(folder: Path) -> World:
    """An organization with one release key and no device."""
    data = DataDir(folder)
    made = found(data, Charter("acme", "ada"), START_S)
    release = [SigningKey.from_pem(path.read_bytes()) for path in made.release_key_files]
    return World(folder, open_fleet(folder, START_S), release)
