"""A controller in virtual time that the sweep can stop and start again, and its fleet.

Rules:
1. What a device says stays with the broker until the controller has committed it; an operator
   asks again until he was answered, and looks first whether it was done.
2. A start is a new process over the same files. What must hold then is in `invariants`.
3. A disk without room (`pages_max`) refuses a few transactions, then somebody makes room.
"""

import atexit
import copy
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from wherry_controller.fleet import Fleet, Inbound, Organization, Outbound
from wherry_controller.fleet.open import open_organization
from wherry_controller.founding import Charter, found
from wherry_controller.layout import DataDir
from wherry_protocol.keys import SigningKey

from tests.controller.device import FakeDevice, Message
from tests.controller.world import START_S
from tests.crash_sweep.controller import invariants
from tests.crash_sweep.controller.stops import Stops
from tests.crash_sweep.sweep import Broken, Cut

T = TypeVar("T")
REFUSALS_MAX = 3  # transactions that meet a full disk before there is room again
UNLIMITED_PAGES = 1 << 30
SECONDS_MAX = 90
PAGE_BYTES = 512
Figures = Callable[[FakeDevice], dict[str, Any]]


@dataclass
class Port:
    """`figures` None: devices report no telemetry. `pages_max` 0: the disk has room."""

    place: Path  # all folders of this play
    release: list[SigningKey]
    stops: Stops
    now_s: float = START_S
    retained: dict[str, bytes] = field(default_factory=dict)
    devices: dict[str, FakeDevice] = field(default_factory=dict)
    queued: list[Inbound] = field(default_factory=list)  # with the broker
    figures: Figures | None = None
    pages_max: int = 0
    pages_more: int | None = None  # room for so many, counted from the first start
    first_pages: int = 0
    refusals: int = 0
    life: int = 0
    home: str = "data"
    told_count: int = 0  # reports that devices have made
    told_inferences: int = 0
    documents: dict[tuple[str, str, int, int], bytes] = field(default_factory=dict)
    fleet: Fleet | None = None

    @property
    def folder(self) -> Path:
        return self.place / self.home

    @property
    def live(self) -> Fleet:
        if self.fleet is None:
            raise RuntimeError("the controller is down")
        return self.fleet

    @property
    def org(self) -> Organization:
        return self.live.org

    # --- the process

    def wake(self) -> None:
        """Rule 2."""
        if self.fleet is not None:
            return
        self.life += 1
        self.stops.is_armed = False
        source = random.Random(f"life {self.life}")
        org, _ = open_organization(DataDir(self.folder), source.randbytes)
        self.fleet = Fleet(org)
        org.db.execute("PRAGMA synchronous = OFF")  # the sweep stops processes, not machines
        self._limit()
        self.stops.watch(org.db)
        invariants.check_start(self)
        self.stops.is_armed = True
        self.kept(lambda: self.live.start(self.now_s))
        self.kept(lambda: self.live.link_changed(True, True, self.now_s))

    def darken(self) -> None:
        self.stops.is_armed = False
        if self.fleet is not None:
            self.fleet.org.db.close()
        self.fleet = None

    # --- the disk

    @property
    def pages(self) -> int:
        return int(self.org.db.execute("PRAGMA page_count").fetchone()[0])

    def _limit(self) -> None:
        self.first_pages = self.first_pages or self.pages
        if self.pages_more is not None and self.refusals < REFUSALS_MAX:
            self.pages_max = self.first_pages + self.pages_more
            self.org.db.execute(f"PRAGMA max_page_count = {self.pages_max}")

    def kept(self, act: Callable[[], T]) -> T:
        """Rule 3: as the writer does, again until the store can write."""
        while True:
            try:
                return act()
            except (sqlite3.OperationalError, OSError) as error:
                is_planned = error is self.stops.failure or isinstance(error, shutil.Error)
                if not is_planned:  # else the disk was full for one write only
                    if not self.pages_max or "full" not in str(error):
                        raise
                    self._refused()

    def _refused(self) -> None:
        self.refusals += 1
        if self.refusals >= REFUSALS_MAX:
            self.pages_max = 0
            self.org.db.execute(f"PRAGMA max_page_count = {UNLIMITED_PAGES}")

    # --- operators

    def do(self, command: Callable[[Organization], T]) -> T:
        return self.kept(lambda: self.live.do(command, self.now_s))

    # --- devices and the broker

    def hear(self, *messages: Message) -> None:
        self.queued += [Inbound(*one) for one in messages]

    def _take(self) -> None:
        """Rule 1."""
        if not self.queued:
            return
        answers = self.kept(lambda: self.live.receive(self.queued, self.now_s))
        self.queued = []
        for answer in answers:
            self.stops.publication()
            self._answered(answer)

    def _answered(self, answer: Outbound) -> None:
        for device in self.devices.values():
            if answer.topic == device.topics.ack(device.name):
                device.take_ack(answer.payload)

    def publish(self) -> None:
        """Hand everything that is due to the broker."""
        while due := self.live.due():
            for message in due:
                self.stops.publication()
                invariants.check_published(self, message)
                self._keep(message)
            self.kept(lambda: self.live.sent([(m.topic, m.version or 0) for m in due]))

    def _ask(self) -> None:
        """Hand over questions, which nobody keeps; devices answer at once."""
        for message in self.live.take_asked():
            self.stops.publication()
            for device in self.devices.values():
                if message.topic == device.topics.rpc(device.name, device.unit):
                    self.hear(*device.replies(message.payload))

    def _keep(self, message: Outbound) -> None:
        if message.is_retained and message.payload:
            self.retained[message.topic] = message.payload
        elif message.is_retained:
            self.retained.pop(message.topic, None)
        else:
            for device in self.devices.values():  # all/report is the only one
                self.hear(device.presence(), device.reported())

    def second(self) -> None:
        """One second in which everybody does what he does."""
        self.publish()
        for device in self.devices.values():
            if device.follow(self.retained):
                self.hear(device.reported())
            if self.figures is not None and device.active:
                self._report(device, self.figures)
        self._ask()
        self._take()
        self.now_s += 1.0
        self.kept(lambda: self.live.tick(self.now_s))
        self.publish()

    def _report(self, device: FakeDevice, figures: Figures) -> None:
        for model in sorted(device.active):
            self.report(device, model, interval_s=1.0, **figures(device))

    def report(self, device: FakeDevice, model: str, **figures: Any) -> None:
        self.told_count += 1
        self.told_inferences += figures["inferences"]
        self.hear(device.telemetry(device.performance(model, **figures)))

    def until(self, holds: Callable[["Port"], bool], what: str) -> None:
        for _ in range(SECONDS_MAX):
            self._take()
            self.publish()
            if holds(self):
                return
            self.second()
        raise Broken(f"it never came to this: {what}")

    def versions(self, model: str = "digits") -> dict[str, str]:
        return {n: d.active[model].version for n, d in self.devices.items() if model in d.active}

    # --- the runner's questions

    def counts(self) -> tuple[int, ...]:
        return tuple(self.stops.counts)

    def end(self) -> dict[str, object]:
        """A few calm seconds later."""
        self.stops.is_armed = False
        self.figures = None
        for _ in range(3):
            self.second()
        invariants.check_start(self)
        return invariants.outcome(self)

    def close(self) -> None:
        self.stops.is_armed = False
        if Stops.watching is self.stops:
            Stops.watching = None
        self.darken()
        shutil.rmtree(self.place, ignore_errors=True)


# --- ports of departure


def new_place() -> Path:
    """In memory where there is such a folder: a sweep writes much and keeps nothing."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="wherry-sweep-", dir=memory if memory.is_dir() else None))


def founded() -> Port:
    """One release key and no device; the store's pages are small, so that they are many."""
    place = new_place()
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    data = DataDir(place / "data")
    made = found(data, Charter("acme", "ada"), START_S)
    with closing(sqlite3.connect(data.database)) as db:
        for step in ("PRAGMA journal_mode = DELETE", f"PRAGMA page_size = {PAGE_BYTES}", "VACUUM"):
            db.execute(step)
    release = [SigningKey.from_pem(path.read_bytes()) for path in made.release_key_files]
    return Port(place, release, Stops(place, ()))


def fork(port: Port, cuts: Sequence[Cut], kind: type[Port] = Port) -> Port:
    """The same fleet and files, independent from now on; the controller is down."""
    place = new_place()
    shutil.copytree(port.place, place, dirs_exist_ok=True)
    new = kind(place, port.release, Stops(place, cuts), port.now_s, dict(port.retained))
    new.devices = {name: _copied(device) for name, device in port.devices.items()}
    new.documents = dict(port.documents)
    Stops.watching = new.stops
    return new


def _copied(device: FakeDevice) -> FakeDevice:
    new = copy.copy(device)
    new.active, new.previous = dict(device.active), dict(device.previous)
    new.done = dict(device.done)
    return new
