"""Twin of the network: what is sent arrives late, in another order, twice, or with the next
connection, or never.

Rules:
1. Within one connection and topic the order holds; across topics it need not, but what is said
   after a subscription comes after it.
2. A lost packet is one that TCP sends again: it comes `resend_s` later.
3. When a connection ends, everything in the air is gone. QoS 1 is the ends' own business.
4. A half-open connection takes what is sent and delivers nothing, until somebody notices.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.world import World

SECOND_US = 1_000_000
SUBSCRIPTIONS = ("up", "subscriptions")


def draw(source: Random, low: int, high: int) -> int:
    """What `source.randint(low, high)` gives, in a third of the time: every event draws."""
    width = high - low + 1
    bits = width.bit_length()
    found = source.getrandbits(bits)
    while found >= width:
        found = source.getrandbits(bits)
    return low + found


@dataclass(frozen=True)
class Weather:
    """How bad the network is: shares in 0..1, times in milliseconds and seconds."""

    latency_ms: tuple[int, int] = (2, 40)
    lost_share: float = 0.0
    doubled_share: float = 0.0
    resend_s: float = 1.0


CALM = Weather()
WEATHERS = (
    CALM,
    Weather((1, 400), 0.01, 0.01),
    Weather((20, 3_000), 0.05, 0.05, 3.0),
    Weather((2, 40), 0.15, 0.10, 5.0),
)


@dataclass
class Wire:
    """One client's connection to the broker. `epoch` counts connections; 0: never connected."""

    world: "World"
    name: str
    is_up: bool = False
    is_half_open: bool = False
    epoch: int = 0
    _arrivals: dict[tuple[str, str], int] = field(default_factory=dict)

    def connect(self) -> int:
        """A new connection, that carries nothing of the former."""
        self.epoch += 1
        self.is_up, self.is_half_open = True, False
        self._arrivals.clear()
        return self.epoch

    def cut(self) -> None:
        """The connection ends; both ends find out by themselves."""
        self.is_up = False

    def carry(self, direction: str, topic: str, size: int, deliver: Callable[[], None]) -> None:
        """Bring it to the other end, perhaps; `direction` is "up" or "down"."""
        if not self.is_up:
            return
        self._schedule(direction, topic, size, deliver)
        if self.world.network.random() < self.world.weather.doubled_share:
            self._schedule(direction, topic, size, deliver, " again")

    def _schedule(
        self, direction: str, topic: str, size: int, deliver: Callable[[], None], word: str = ""
    ) -> None:
        world, epoch = self.world, self.epoch
        latency_us, is_lost = self._latency_us()
        arrival_us = world.now_us + latency_us
        word += " late" if is_lost else ""
        key = (direction, topic)
        before_us = self._arrivals.get(key, 0)
        if direction == "up":
            before_us = max(before_us, self._arrivals.get(SUBSCRIPTIONS, 0))
        arrival_us = max(arrival_us, before_us + 1)
        self._arrivals[key] = arrival_us

        def arrive() -> None:
            if self.is_up and not self.is_half_open and self.epoch == epoch:
                deliver()

        what = f"{direction} {topic.split('/', 3)[-1]} {size} B{word}"
        world.at(arrival_us - world.now_us, self.name, what, arrive)

    def _latency_us(self) -> tuple[int, bool]:
        """How long a packet takes, and whether it was lost first."""
        weather, source = self.world.weather, self.world.network
        low, high = weather.latency_ms
        latency_us = draw(source, low * 1000, high * 1000)
        is_lost = source.random() < weather.lost_share
        if is_lost:
            latency_us += int(weather.resend_s * SECOND_US)
        return latency_us, is_lost
