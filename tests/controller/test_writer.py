"""The writer's thread: PUBACK after commit, a full disk, mistakes of ours, commands in order."""

import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from wherry_controller.fleet import Fleet, Organization, Outbound
from wherry_controller.fleet.open import open_organization
from wherry_controller.layout import DataDir
from wherry_controller.link.mqtt import Arrived, Published
from wherry_controller.store import events
from wherry_controller.writer import BATCH_MAX, Stop, Writer
from wherry_protocol.errors import NotFoundError, StateError, UnreachableError

from tests.controller.device import FakeDevice, Message
from tests.controller.world import START_S, World, make_world


@dataclass
class Deck:
    """The link's place, with a broker that takes everything and acknowledges when told to."""

    inbox: "queue.SimpleQueue[Any]"
    is_up: bool = True
    acknowledged: list[int] = field(default_factory=list)
    published: list[Outbound] = field(default_factory=list)
    in_flight: dict[int, tuple[str, int]] = field(default_factory=dict)

    @property
    def topics_in_flight(self) -> frozenset[str]:
        return frozenset(topic for topic, _ in self.in_flight.values())

    @property
    def has_room(self) -> bool:
        return self.is_up

    def publish(self, messages: list[Outbound]) -> None:
        for message in messages:
            self.published.append(message)
            if message.version is not None:
                mid = len(self.published)
                self.in_flight[mid] = (message.topic, message.version)
                self.inbox.put(Published(mid))

    def settled(self, mid: int) -> tuple[str, int] | None:
        return self.in_flight.pop(mid, None)

    def acknowledge(self, messages: list[Arrived]) -> None:
        self.acknowledged += [message.mid for message in messages]

    def stop(self) -> None:
        self.is_up = False


@dataclass
class Ship:
    """A running writer, its deck, and a device that was enrolled before."""

    writer: Writer
    device: FakeDevice
    decks: list[Deck]
    mid: int = 0

    @property
    def deck(self) -> Deck:
        return self.decks[0]

    def arrive(self, message: Message) -> int:
        self.mid += 1
        self.writer.inbox.put(Arrived(*message, self.mid, 1))
        return self.mid

    def do(self, command: Callable[[Organization], Any]) -> Any:
        return self.writer.submit(command).result(20)


@pytest.fixture
def ship(tmp_path: Path) -> Iterator[Ship]:
    folder = tmp_path / "acme"
    world: World = make_world(folder)
    device = world.enroll("gw1")
    world.org.db.close()
    decks: list[Deck] = []

    def open_fleet() -> Fleet:
        return Fleet(open_organization(DataDir(folder))[0])

    def open_link(inbox: "queue.SimpleQueue[Any]") -> Any:
        decks.append(Deck(inbox))
        return decks[0]

    writer = Writer(open_fleet, open_link, clock=lambda: START_S + 10)
    writer.start()
    yield Ship(writer, device, decks)
    writer.stop()


def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_message_is_acknowledged_to_the_broker_and_to_the_device(ship: Ship) -> None:
    mid = ship.arrive(ship.device.event("hello"))
    until(lambda: mid in ship.deck.acknowledged)
    ack = ship.device.topics.ack("gw1")
    assert [m.topic for m in ship.deck.published if m.topic == ack] == [ack]


def test_nothing_is_acknowledged_while_the_disk_is_full_and_nothing_is_lost(ship: Ship) -> None:
    def fill(org: Organization) -> None:
        pages = org.db.execute("PRAGMA page_count").fetchone()[0]
        org.db.execute(f"PRAGMA max_page_count = {pages}")

    # Outside of a transaction, on the writer's own thread.
    ship.do(fill)
    count = 200
    mids = [ship.arrive(ship.device.event("x" * 500)) for _ in range(count)]
    until(lambda: ship.writer.counters.store_errors > 0)
    held = set(mids) - set(ship.deck.acknowledged)
    assert held
    ship.do(lambda org: org.db.execute("PRAGMA max_page_count = 1000000") and None)
    until(lambda: set(mids) <= set(ship.deck.acknowledged))
    stored = ship.do(lambda org: len(events.newest(org.db, limit=1000)))
    assert stored == count


def test_a_command_that_is_refused_raises_at_the_caller_and_the_writer_goes_on(ship: Ship) -> None:
    def refuse(_: Organization) -> None:
        raise StateError("no")

    with pytest.raises(StateError, match="no"):
        ship.do(refuse)
    assert ship.do(lambda org: org.name) == "acme"


def test_commands_and_messages_keep_their_order(ship: Ship) -> None:
    ship.arrive(ship.device.event("before"))
    seen: Future[int] = ship.writer.submit(lambda org: len(events.newest(org.db)))
    ship.arrive(ship.device.event("after"))
    assert seen.result(20) == 1


def test_an_outbox_row_is_marked_when_its_acknowledgement_comes(ship: Ship) -> None:
    from wherry_controller.store import outbox

    until(lambda: ship.do(lambda org: outbox.due_count(org.db)) == 0)
    assert ship.deck.in_flight == {}


def test_what_keeps_the_service_from_starting_is_raised_at_start(tmp_path: Path) -> None:
    def open_fleet() -> Fleet:
        return Fleet(open_organization(DataDir(tmp_path / "nothing"))[0])

    with pytest.raises(NotFoundError, match="wherry init"):
        Writer(open_fleet, lambda _: None).start()


def test_what_the_writer_cannot_do_any_more_is_refused_and_nobody_waits_for_it(ship: Ship) -> None:
    def ask_for_more(_: Organization) -> "list[Future[str]]":
        ship.writer.inbox.put(Stop())
        return [ship.writer.submit(lambda org: org.name) for _ in range(BATCH_MAX + 1)]

    asked = ship.do(ask_for_more)
    ship.writer.stop()
    late = ship.writer.submit(lambda org: org.name)
    for future in (asked[-1], late):
        with pytest.raises(UnreachableError, match="is stopping"):
            future.result(5)
    assert asked[0].result(5) == "acme"  # it was there when the writer looked
