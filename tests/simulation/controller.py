"""The controller: the real `Fleet` over the real store and vault; its thread and link are twins.

The order of things is that of `wherry_controller.writer`: what arrived is taken in one
transaction, acknowledged after the commit, then the answers go out, then what is due. The process
may die after each commit and each publication.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlite_utils import Database
from wherry_controller import store
from wherry_controller.core.profiles import DEFAULT_CLASSES
from wherry_controller.fleet import Fleet, Inbound, Organization, Outbound
from wherry_controller.fleet.organization import SYSTEM
from wherry_controller.keyring import Keyring
from wherry_controller.settings import FleetSettings
from wherry_controller.store import classes, meta
from wherry_controller.vault import Vault
from wherry_protocol import trust
from wherry_protocol.keys import AgreementKey
from wherry_protocol.topics import DEVICE_LEAVES

from tests.agent.director import hardware_class
from tests.simulation.broker import Client
from tests.simulation.device import ProcessDiedError
from tests.simulation.network import SECOND_US, Wire, draw

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")
NAME = "controller"
TICK_US = SECOND_US
PRUNE_TICKS = 300
IN_FLIGHT_MAX = 64
SETTINGS = FleetSettings(desired_valid_s=3_600, time_interval_s=120, chunk_republish_s=20)


@dataclass(frozen=True)
class Arrived:
    """A message that the writer has not taken yet."""

    topic: str
    payload: bytes
    mid: int
    epoch: int


class SimController:
    """One organization's controller, over all its lives."""

    def __init__(self, world: "World", folder: Path, roots: tuple[bytes, ...]) -> None:
        self.world = world
        self.random = world.stream(NAME)
        self.wire = Wire(world, NAME)
        self.folder = folder
        seed = self.random.randbytes
        self.keyring = Keyring(world.authority.director, AgreementKey.from_seed(seed(32)), seed(32))
        self.first_root = roots[0]
        self.db = store.open_writer(None)
        with self.db.atomic():
            for profile in (*DEFAULT_CLASSES, hardware_class()):
                classes.put(self.db, profile, self.now_s)
        self.life = 0
        self.is_running = False
        self.is_partitioned = False
        self.is_link_up = False
        self.clock_offset_s = 0.0
        self.is_full = False
        self.step_count = 0
        self.die_at_step: int | None = None
        self.inbox: list[Arrived] = []
        self.settled: list[tuple[str, int]] = []
        self.in_flight: dict[int, Outbound] = {}
        self._next_mid = 1
        self.writes_since_us = 0  # since then its disk takes what is written
        self.up_since_us = self._up_us = 0
        self._is_turn_due = False
        self._ticks = 0
        self.restored_count = 0
        self.fleet: Fleet

    @property
    def org(self) -> Organization:
        return self.fleet.org

    @property
    def changes(self) -> tuple[int, int]:
        """Another pair whenever a row of the store was written, or another life began."""
        return self.life, self.db.conn.total_changes

    @property
    def now_s(self) -> float:
        """Its wall clock, which may be wrong."""
        return self.world.wall_s + getattr(self, "clock_offset_s", 0.0)

    # --- life and death

    def boot(self) -> None:
        self.life += 1
        self.is_running = True
        self.inbox.clear()
        self.settled.clear()
        self.in_flight.clear()
        self._is_turn_due = False
        self.guarded(self._boot)

    def _boot(self) -> None:
        roots = (self.first_root, *meta.newer_roots(self.db))
        name = self.world.authority.org
        vault = Vault(self.folder, self.keyring.storage, self.random.randbytes)
        chain = trust.start(name, roots, int(self.now_s))
        org = Organization(
            name, self.db, vault, self.keyring, chain, SETTINGS, self.random.randbytes
        )
        self.fleet = Fleet(org)
        self.fleet.start(self.now_s)
        self._step()
        self.later(0, "ticks", self._tick)
        self.later(self.random.randint(0, SECOND_US), "connects", self._connect)

    def die(self) -> None:
        """The process is gone; SQLite keeps what was committed."""
        self.life += 1
        self._link_down()
        self.is_running = False
        self.die_at_step = None
        if self.db.conn.in_transaction:
            self.db.conn.rollback()
        self.wire.cut()
        self.world.broker.farewell(NAME)
        self.world.note(NAME, "is killed")
        delay_us = self.random.randint(SECOND_US, 20 * SECOND_US)
        life = self.life
        self.world.at(delay_us, NAME, "boots", lambda: self._boot_again(life))

    def _boot_again(self, life: int) -> None:
        if self.life == life and not self.is_running:
            self.boot()

    def _step(self) -> None:
        """One more commit or publication is done."""
        self.step_count += 1
        if self.die_at_step is not None and self.step_count >= self.die_at_step:
            raise ProcessDiedError

    def later(self, delay_us: int, what: str, act: Callable[[], None]) -> None:
        life = self.life

        def alive() -> None:
            if self.life == life and self.is_running:
                self.guarded(act)

        self.world.at(delay_us, NAME, what, alive)

    def guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except ProcessDiedError:
            self.die()
        except sqlite3.OperationalError as error:  # at its start: the supervisor tries again
            self.world.note(NAME, f"store: {error}")
            self.die()

    # --- the writer

    def _turn_soon(self) -> None:
        if not self._is_turn_due:
            self._is_turn_due = True
            self.later(draw(self.random, 500, 30_000), "turns", self._turn)

    def _turn(self) -> None:
        self._is_turn_due = False
        self._written(self._receive)
        self._written(self._settle)
        self._publish_due()

    def _written(self, act: Callable[[], None]) -> None:
        """Where the store cannot write nothing happened, and it comes again."""
        try:
            act()
        except sqlite3.OperationalError as error:
            self.world.note(NAME, f"store: {error}")

    def _receive(self) -> None:
        if not self.inbox:
            return
        messages = [Inbound(one.topic, one.payload) for one in self.inbox]
        answers = self.fleet.receive(messages, self.now_s)
        done, self.inbox = self.inbox, []
        self._step()
        for one in done:
            if one.epoch == self.wire.epoch:
                self._acknowledge(one.mid)
        for answer in answers:
            self._publish(answer)
        self._step()

    def _settle(self) -> None:
        if self.settled:
            self.fleet.sent(self.settled)
            self.settled = []
            self._step()

    def _publish_due(self) -> None:
        if not self.is_link_up or len(self.in_flight) >= IN_FLIGHT_MAX:
            return
        topics = {one.topic for one in self.in_flight.values() if one.version is not None}
        for message in self.fleet.take_asked():
            self._publish(message)
        for message in self.fleet.due(topics):
            self._publish(message)
            self._step()

    def _tick(self) -> None:
        self._ticks += 1
        self._written(lambda: self.fleet.tick(self.now_s))
        if self._ticks % PRUNE_TICKS == 0:
            self.prune()
        self._step()
        self._turn()
        self.later(TICK_US, "ticks", self._tick)

    def prune(self) -> None:
        self._written(self.fleet.prune)

    def do(self, command: Callable[[Organization], T]) -> T:
        """An operator's command, in one transaction. Raises WherryError where it is refused."""
        result = self.fleet.do(command, self.now_s)
        self.guarded(self._step)
        self._turn_soon()
        return result

    # --- the link

    def _connect(self) -> None:
        if self.is_link_up:
            return
        if self.is_partitioned or not self.world.broker.is_up:
            self.later(self.random.randint(SECOND_US, 5 * SECOND_US), "connects", self._connect)
            return
        self.wire.connect()
        prefix = f"wherry/1/{self.world.authority.org}/d/"
        leaves = ("presence", *DEVICE_LEAVES[:4])
        self.world.broker.matches[NAME] = lambda topic: (
            topic.startswith(prefix) and topic.rpartition("/")[2] in leaves
        )
        has_session = self.world.broker.connect(NAME, Client(self.wire, self._hear))
        self.world.broker.subscribe_all(NAME)
        self.is_link_up = True
        self.up_since_us = self.world.now_us
        self._written(lambda: self.fleet.link_changed(True, has_session, self.now_s))
        self._step()
        for mid in list(self.in_flight):
            self._send(mid)
        self._turn_soon()

    def cut(self) -> None:
        """The link breaks and is made again."""
        if not self.wire.is_up:
            return
        self.wire.cut()
        self.world.broker.farewell(NAME)
        self.later(self.random.randint(0, 3 * SECOND_US), "notices the cut", self._noticed_cut)

    @property
    def is_heard(self) -> bool:
        """Whoever speaks to it is heard."""
        return self.is_running and self.is_link_up and self.wire.is_up and not self.is_full

    @property
    def link_up_s(self) -> float:
        """How long the link was up, over all lives."""
        since_us = self.world.now_us - self.up_since_us if self.is_link_up else 0
        return (self._up_us + since_us) / SECOND_US

    def _link_down(self) -> None:
        if self.is_link_up:
            self._up_us += self.world.now_us - self.up_since_us
        self.is_link_up = False

    def _noticed_cut(self) -> None:
        self._link_down()
        self._written(lambda: self.fleet.link_changed(False, False, self.now_s))
        self._step()
        self.later(self.random.randint(SECOND_US, 5 * SECOND_US), "connects", self._connect)

    def _hear(self, topic: str, payload: bytes, mid: int) -> None:
        if self.is_running:
            self.inbox.append(Arrived(topic, payload, mid, self.wire.epoch))
            self._turn_soon()

    def _publish(self, message: Outbound) -> None:
        if message.qos == 0:
            self._say(message)
            return
        mid = self._next_mid
        self._next_mid += 1
        self.in_flight[mid] = message
        self.world.note(NAME, f"publishes {message.topic.split('/', 3)[-1]}")
        self._send(mid)

    def _say(self, message: Outbound) -> None:
        """At QoS 0: it arrives now or never."""
        broker = self.world.broker
        self.world.note(NAME, f"says {message.topic.split('/', 3)[-1]}")
        self.wire.carry(
            "up", message.topic, len(message.payload),
            lambda: broker.publish(message.topic, message.payload, is_retained=False, qos=0),
        )  # fmt: skip

    def _send(self, mid: int) -> None:
        message, life = self.in_flight[mid], self.life

        def taken() -> None:
            if self.life == life and self.in_flight.pop(mid, None) is not None:
                self._took(message)

        def arrive() -> None:
            broker = self.world.broker
            broker.publish(message.topic, message.payload, is_retained=message.is_retained)
            self.wire.carry("down", "puback", 4, taken)

        self.wire.carry("up", message.topic, len(message.payload), arrive)

    def _acknowledge(self, mid: int) -> None:
        self.wire.carry("up", "puback", 4, lambda: self.world.broker.acknowledge(NAME, mid))

    def _took(self, message: Outbound) -> None:
        """The broker has acknowledged it."""
        if message.version is not None:
            self.settled.append((message.topic, message.version))
            self._turn_soon()

    # --- backups

    def back_up(self) -> sqlite3.Connection:
        """A copy of the database, as `wherry backup` makes it."""
        copy = sqlite3.connect(":memory:")
        self.db.conn.backup(copy)
        return copy

    def restore(self, backup: sqlite3.Connection) -> None:
        """A new machine with an old database: `wherry restore`, then `wherry serve`."""
        if self.is_running:
            self.die()
        self.db.close()
        self.db = _from_copy(backup)
        with self.db.atomic():
            store.audit.add(self.db, self.now_s, SYSTEM, "restore", "backup", "", {})
        self.restored_count += 1
        self.boot()

    def fill_disk(self, is_full: bool) -> None:
        """No page more may be written, or as many as one likes."""
        self.is_full, self.writes_since_us = is_full, self.world.now_us
        pages = self.db.execute("PRAGMA page_count").fetchone()[0] if is_full else 1 << 30
        self.db.execute(f"PRAGMA max_page_count = {pages}")

    def with_director(self, key: Any) -> None:
        """Install another director key; it takes effect with the next start."""
        self.keyring = replace(self.keyring, director=key)


def _from_copy(backup: sqlite3.Connection) -> Database:
    db = store.open_writer(None)
    backup.backup(db.conn)
    db.execute("PRAGMA foreign_keys = ON")
    return db
