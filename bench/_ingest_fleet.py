"""The fleet of bench/ingest.py: an organization on disk, its devices, and their reports."""

import os
import pickle
import random
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wherry_agent.telemetry.counters import Counters
from wherry_agent.telemetry.energy import EnergyFigure
from wherry_agent.telemetry.pack import Performance, performance_pack, unit_base
from wherry_controller.broker import provision
from wherry_controller.fleet import Fleet, Organization, bundles, enrolment
from wherry_controller.fleet.open import open_organization
from wherry_controller.founding import Charter, found
from wherry_controller.layout import DataDir
from wherry_controller.settings import BrokerSettings, HttpSettings
from wherry_controller.store import devices, outbox
from wherry_protocol.keys import SigningKey
from wherry_protocol.sketch import sketch_of

from tests.controller.device import FakeDevice
from tests.controller.made import bundle_file

INFERENCES = 600  # of a report: ten a second for a minute
ORG = "acme"


@dataclass
class Shore:
    """An organization, its service not running; `devices` keep counting between runs."""

    folder: Path
    port: int
    token: str
    digest: bytes
    devices: list[FakeDevice] = field(default_factory=list)

    @property
    def data(self) -> DataDir:
        return DataDir(self.folder)

    def plan(self, path: Path, reports: int) -> int:
        """Write the load's FILE with at least that many reports; how many they are.

        Each plan is another boot of every device: its sequence starts at 1.
        """
        each = -(-reports // len(self.devices))
        chance = random.Random(each)
        entries = [self._entry(device, each, chance) for device in self.devices]
        path.write_bytes(pickle.dumps({"port": self.port, "devices": entries}))
        return each * len(entries)

    def _entry(self, device: FakeDevice, count: int, chance: random.Random) -> dict[str, Any]:
        assert device.answer is not None
        device.boot_id, device.sequence = os.urandom(16), 0
        device.time_s = int(time.time())
        payloads = []
        for _ in range(count):
            topic, payload = device.telemetry(self.pack_of(device, chance))
            payloads.append(payload)
        login = device.answer.broker
        return {"username": login.username, "password": login.password, "publish": topic,
                "ack": device.topics.ack(device.name), "payloads": payloads}  # fmt: skip

    def pack_of(self, device: FakeDevice, chance: random.Random) -> Any:
        """What an agent sends of one model every minute, made by the agent's own code."""
        latency = sketch_of([int(chance.lognormvariate(13.0, 0.15)) for _ in range(INFERENCES)])
        seen = Performance(
            "digits", "1.0.0", "active", self.digest, 60.0,
            Counters(inferences=INFERENCES, errors=0, latency=latency),
            EnergyFigure(120.0, 850.0, 0.05, "measured:hwmon"),
        )  # fmt: skip
        return performance_pack(unit_base(ORG, device.name, "self"), seen)


def make_shore(folder: Path, port: int, http_port: int, count: int) -> Shore:
    """Found the organization, push a bundle, enroll `count` devices."""
    data = DataDir(folder)
    charter = Charter(
        ORG, "ada", broker=BrokerSettings(port=port), http=HttpSettings(port=http_port)
    )
    made = found(data, charter, time.time())
    release = [SigningKey.from_pem(path.read_bytes()) for path in made.release_key_files]
    org, settings = open_organization(data)
    fleet = Fleet(org)
    bundle = bundle_file(release, "1.0.0")
    digest = fleet.do(lambda o: bundles.push(o, bundle, "ada", time.time()), time.time()).digest
    shore = Shore(folder, port, made.token, digest)
    fleet.do(lambda o: _enroll(shore, o, settings.broker, count), time.time())
    provision.write_files(org.db, data, settings)
    org.db.close()
    return shore


def _enroll(shore: Shore, org: Organization, broker: BrokerSettings, count: int) -> None:
    for number in range(count):
        device = FakeDevice(f"gw{number:05d}")
        _, answer = enrolment.enroll(org, device.request(), broker, "", "ada", time.time())
        device.take_answer(answer)
        shore.devices.append(device)


def make_known(shore: Shore, count: int) -> None:
    """As many further devices in the store as make `count`, each assigned and told once.

    Their rows are those of the first device under other names and keys.
    """
    org, _ = open_organization(shore.data)
    first, now_s = shore.devices[0].name, time.time()
    connection, unit = devices.connection(org.db, first), devices.unit(org.db, first, "self")
    with org.db.atomic():
        for number in range(len(shore.devices), count):
            name = f"known{number:06d}"
            keys = {"signing_key": os.urandom(32), "agreement_key": os.urandom(32)}
            row = replace(connection, name=name, username=f"{ORG}/d/{name}", **keys)
            devices.put_connection(org.db, row)
            told = {"revision": 1, "issued_s": now_s, "seen_s": now_s}
            devices.put_unit(org.db, replace(unit, connection=name, **told))
            topic = org.topics.desired(name, "self")
            outbox.queue(org.db, topic, os.urandom(700), outbox.Priority.DESIRED, now_s)
            outbox.mark_sent(org.db, topic, 1)
    org.db.close()
