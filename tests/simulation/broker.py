"""Twin of an MQTT broker: retained messages, persistent sessions, QoS 1, last wills.

Rules:
1. A kept session has its subscriptions and what was not acknowledged, in order, while its client
   is away; it sends that again on the next connection. A clean one ends with its connection.
2. A restart keeps everything, what it had saved last, or nothing.
3. Exact topics only, except for the controller's filters. Whether retained messages come for
   such a filter depends on the broker, so `has_wildcard_retained` is drawn by seed.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from tests.simulation.network import SECOND_US, Wire

if TYPE_CHECKING:
    from tests.simulation.world import World

SAVE_US = 60 * SECOND_US
WILL_US = 90 * SECOND_US
HISTORY_MAX = 6
NO_MID = 0  # of what came at QoS 0: nobody acknowledges it
Handler = Callable[[str, bytes, int], None]  # topic, payload, message id


class Memory(Enum):
    """What a broker still knows after a restart."""

    ALL = "everything"
    RETAINED = "retained messages only"
    SESSIONS = "sessions only"
    SAVED = "what it saved last"
    NOTHING = "nothing"


@dataclass
class Session:
    """What the broker knows of one client."""

    is_kept: bool = True
    subscribed: dict[str, None] = field(default_factory=dict)
    waiting: dict[int, tuple[str, bytes]] = field(default_factory=dict)  # not acknowledged yet
    next_mid: int = 1


@dataclass
class Client:
    """A connected client: its wire, its ear, its last will, and whether its session is kept."""

    wire: Wire
    hear: Handler
    will: tuple[str, bytes] | None = None
    is_session_kept: bool = True


@dataclass
class Broker:
    """`matches` says for wildcard clients which topics they hear."""

    world: "World"
    has_wildcard_retained: bool
    is_up: bool = True
    retained: dict[str, bytes] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    matches: dict[str, Callable[[str], bool]] = field(default_factory=dict)
    history: dict[str, list[bytes]] = field(default_factory=dict)  # for a hostile broker
    lossy_topics: tuple[str, ...] = ()  # what it loses, by malice or because its queues are full
    honest_since_us: int = 0
    _ears: dict[str, dict[str, None]] = field(default_factory=dict)  # topic -> clients
    _saved: tuple[dict[str, bytes], dict[str, Session]] = field(default_factory=lambda: ({}, {}))

    # --- clients

    def connect(self, name: str, client: Client) -> bool:
        """Take a client in; whether its session was kept."""
        self._end_session(self.clients.get(name), name)
        has_session = name in self.sessions
        self.clients[name] = client
        session = self.sessions.setdefault(name, Session(client.is_session_kept))
        for mid in session.waiting:
            self._send(name, mid)
        return has_session

    def lose(self, name: str) -> None:
        """The connection is gone; the will speaks when the broker notices."""
        client = self.clients.pop(name, None)
        self._end_session(client, name)
        if client is None or client.will is None:
            return
        topic, payload = client.will

        def speak() -> None:
            # The client may be back: its own numbers say that the will is an old one.
            self.publish(topic, payload, is_retained=True)

        delay_us = self.world.network.randint(SECOND_US, WILL_US)
        self.world.at(delay_us, "broker", f"will of {name}", speak)

    def farewell(self, name: str) -> None:
        """An orderly disconnection: no will."""
        self._end_session(self.clients.pop(name, None), name)

    def _end_session(self, client: Client | None, name: str) -> None:
        """A clean session ends with its connection."""
        if client is not None and not client.is_session_kept:
            session = self.sessions.pop(name, Session())
            for topic in session.subscribed:
                self._ears.get(topic, {}).pop(name, None)

    def subscribe(self, name: str, topics: tuple[str, ...]) -> None:
        session = self.sessions.get(name)
        if session is None:
            return
        for topic in topics:
            session.subscribed[topic] = None
            self._ears.setdefault(topic, {})[name] = None
            if topic in self.retained:
                self._queue(name, topic, self.retained[topic])

    def subscribe_all(self, name: str) -> None:
        """A wildcard subscription, by `matches`."""
        if self.has_wildcard_retained:
            for topic, payload in list(self.retained.items()):
                if self.matches[name](topic):
                    self._queue(name, topic, payload)

    def unsubscribe(self, name: str, topics: tuple[str, ...]) -> None:
        session = self.sessions.get(name)
        for topic in topics:
            if session is not None:
                session.subscribed.pop(topic, None)
            self._ears.get(topic, {}).pop(name, None)

    def acknowledge(self, name: str, mid: int) -> None:
        session = self.sessions.get(name)
        if session is not None:
            session.waiting.pop(mid, None)

    # --- messages

    def publish(self, topic: str, payload: bytes, *, is_retained: bool, qos: int = 1) -> None:
        """Route a message, unless this broker is hostile and withholds it."""
        if not self.is_up or any(part in topic for part in self.lossy_topics):
            return
        self._remember(topic, payload)
        if is_retained and payload:
            self.retained[topic] = payload
        elif is_retained:
            self.retained.pop(topic, None)
        for name in list(self._ears.get(topic, ())):
            if qos == 0:
                self._pass_on(name, topic, payload)
            else:
                self._queue(name, topic, payload)
        for name, matches in self.matches.items():
            if matches(topic) and name in self.sessions:
                self._queue(name, topic, payload)

    def _remember(self, topic: str, payload: bytes) -> None:
        past = self.history.setdefault(topic, [])
        past.append(payload)
        del past[:-HISTORY_MAX]

    def _queue(self, name: str, topic: str, payload: bytes) -> None:
        session = self.sessions[name]
        mid = session.next_mid
        session.next_mid += 1
        session.waiting[mid] = (topic, payload)
        self._send(name, mid)

    def _pass_on(self, name: str, topic: str, payload: bytes) -> None:
        """At QoS 0: to whoever is here, and kept for nobody."""
        client = self.clients.get(name)
        if client is not None:
            client.wire.carry(
                "down", topic, len(payload), lambda: client.hear(topic, payload, NO_MID)
            )

    def _send(self, name: str, mid: int) -> None:
        client = self.clients.get(name)
        if client is None or not self.is_up:
            return
        topic, payload = self.sessions[name].waiting[mid]
        client.wire.carry("down", topic, len(payload), lambda: client.hear(topic, payload, mid))

    # --- its life

    def save(self) -> None:
        """As mosquitto does every minute."""
        kept = {name: session for name, session in self.sessions.items() if session.is_kept}
        self._saved = (dict(self.retained), deepcopy(kept))

    def stop(self) -> None:
        """Every connection ends."""
        self.is_up = False
        for name in list(self.clients):
            self.farewell(name)

    def start(self, memory: Memory) -> None:
        """With what it remembers."""
        if memory is Memory.SAVED:
            retained, sessions = self._saved
            self.retained, self.sessions = dict(retained), deepcopy(sessions)
        if memory in (Memory.NOTHING, Memory.SESSIONS):
            self.retained = {}
        if memory in (Memory.NOTHING, Memory.RETAINED):
            self.sessions = {}
        self._ears = {}
        for name, session in self.sessions.items():
            for topic in session.subscribed:
                self._ears.setdefault(topic, {})[name] = None
        self.is_up = True
