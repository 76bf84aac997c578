"""Twin of the devices of a very large fleet: what the real core does is asked for once per way.

In the place of `LeanWorld`, with the same trace: `steps` says how. The controller's part for each
device (`LightFront`) is a twin too: what it is told are the fields that it reads.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from itertools import count
from typing import Any

from wherry_agent.core.inputs import Input, Received
from wherry_controller.core import performance, spool
from wherry_controller.core.gates.pools import Figures
from wherry_controller.core.rollouts import events as told
from wherry_controller.fleet.rollouts import figures
from wherry_protocol.messages.observed import Origin, Telemetry

from tests.simulation.engine import RATE_PER_S, UNIT
from tests.simulation.lean import steps
from tests.simulation.lean.device import LeanDevice, boot_id_of, name_of, nonce_of
from tests.simulation.lean.front import HARDWARE, Front, Given
from tests.simulation.lean.shapes import Shapes
from tests.simulation.lean.steps import BEGIN, EXAMINE, Happening, Node, Number
from tests.simulation.lean.world import (
    BOOT_US,
    CHANCE_ADD,
    CHANCE_MASK,
    CHANCE_TIMES,
    LATENCY_US,
    SPAN_US,
    START_S,
    LeanWorld,
    digest_of,
)
from tests.simulation.models import Behaviour
from tests.simulation.network import SECOND_US

LIGHT_TWINS = (
    "devices: each step of the agent's core is taken once, and repeated where all that it compares "
    "comes out the same",
    "figures of telemetry: made once for so many inferences",
)
Hearing = Callable[["LightDevice", int, tuple[Any, ...]], None]
Document = tuple[Happening, tuple[int], Given, int]  # its arrival, when it was issued, its revision


class LightDevice:
    """Where it stands, and what its numbers are worth there; what the controller knows of it."""

    __slots__ = ("chance", "document", "node", "number", "numbers", "order", "position")

    def __init__(self, number: int, chance: int, node: Node) -> None:
        self.number = number
        self.chance = chance
        self.node = node
        self.numbers: tuple[Any, ...] = ()
        self.order = (0, 0)  # of the newest report that the controller has
        self.position = spool.START
        self.document: Document | None = None

    @property
    def name(self) -> str:
        return name_of(self.number)

    @property
    def boot_id(self) -> bytes:
        return boot_id_of(self.name)

    @property
    def nonce(self) -> bytes:
        return nonce_of(self.name)


class LightWorld(LeanWorld):
    """The devices that somebody spoke to, and what happens to them."""

    def __init__(self, device_count: int, behaviour: Behaviour, performance_s: int) -> None:
        super().__init__(device_count, behaviour, performance_s)
        self.lights: dict[int, LightDevice] = {}
        self.front: LightFront = LightFront(self)  # type: ignore[assignment]
        self.unborn = Node(None, [])
        self._shapes = Shapes()
        self._by_shape: dict[int, Node] = {}
        self._steps: dict[int, Happening] = {}
        self._numbers = count()
        self.queue: list[Any] = []  # a heap of what happens before `until_us`
        self.later: dict[int, list[Any]] = defaultdict(list)  # by span
        self.until_us = 0
        self._examined: list[tuple[LightDevice, bool]] = []
        self._portraits = 0  # the sum of their digests
        self.deeds = {
            "world": self, "later": self.later, "numbers": self._numbers, "push": heapq.heappush,
            "heed": self.heed, "send_document": self.send_document,
            "examined": self._look_at,
        }  # fmt: skip

    # --- what is known of steps

    def node_of(self, state: tuple[Any, ...]) -> tuple[Node, list[Number]]:
        """The node of such states, and the numbers in this one."""
        shape, numbers = self._shapes.of(state)
        if shape not in self._by_shape:
            self._by_shape[shape] = Node(state, numbers)
        return self._by_shape[shape], numbers

    @property
    def nodes(self) -> list[Node]:
        return [self.unborn, *self._by_shape.values()]

    def step_with(self, what: Input) -> Happening:
        shape, numbers = self._shapes.of(what)
        if numbers:
            raise RuntimeError(f"an input with numbers in it cannot be repeated: {what}")
        if shape not in self._steps:
            self._steps[shape] = steps.step_with(what)
        return self._steps[shape]

    # --- events

    def put(
        self, due_us: int, happening: Happening | Hearing, light: LightDevice, args: tuple[Any, ...]
    ) -> None:
        entry = (due_us, next(self._numbers), happening, light, args)
        if due_us < self.until_us:
            heapq.heappush(self.queue, entry)
        else:
            self.later[due_us // SPAN_US].append(entry)

    def run_until(self, until_us: int) -> None:
        """Everything that happens before; in spans, one after the other."""
        if until_us - self.now_us != SPAN_US:
            raise RuntimeError(f"a span is {SPAN_US} us long")
        queue = self.later.pop(self.now_us // SPAN_US, [])
        heapq.heapify(queue)
        self.queue, self.until_us, pop = queue, until_us, heapq.heappop
        events = 0
        while queue:
            now_us, _, happening, light, args = pop(queue)
            events += 1
            if type(happening) is Happening:
                for play in light.node.get(happening, ()):
                    if play(light, now_us, args):
                        break
                else:
                    self.let_happen(light, happening, now_us, args)
            else:
                happening(light, now_us, args)
        self.events += events
        self.now_us = until_us

    def let_happen(
        self, light: LightDevice, happening: Happening, now_us: int, args: tuple[Any, ...]
    ) -> None:
        """In a way that is not known yet."""
        if happening is BEGIN and light.node is not self.unborn:
            return
        play = steps.learn(self, light, happening, now_us, args)
        if not play(light, now_us, args):
            raise RuntimeError("a step cannot be repeated by the device that has taken it")

    # --- the broker

    def light(self, number: int) -> LightDevice:
        found = self.lights.get(number)
        if found is None:
            found = LightDevice(number, self.chance[number], self.unborn)
            self.lights[number] = found
        return found

    def draw_for(self, light: LightDevice, low: int, high: int) -> int:
        """As `LeanWorld.draw`."""
        state = light.chance = (light.chance * CHANCE_TIMES + CHANCE_ADD) & CHANCE_MASK
        return low + (state >> 33) % (high - low + 1)

    def to_device(self, number: int, topic: str, payload: bytes) -> None:
        """A first word, to make it come up."""
        del topic, payload
        light = self.light(number)
        self.send(light, self.now_us, BEGIN, ())

    def send(
        self, light: LightDevice, now_us: int, happening: Happening, args: tuple[Any, ...]
    ) -> bool:
        """As `LeanWorld.to_device`; False where the device only comes up."""
        if light.node is self.unborn:
            self.put(now_us + self.draw_for(light, 0, BOOT_US), BEGIN, light, ())
            return False
        self.put(now_us + self.draw_for(light, *LATENCY_US), happening, light, args)
        return True

    def send_document(self, due_us: int, light: LightDevice, now_us: int) -> None:
        """The retained one, to a device that has subscribed."""
        if light.document is None:
            raise RuntimeError("there is no document")
        happening, args, _, _ = light.document
        self.front.note_document(light, now_us)
        self.put(due_us, happening, light, args)

    # --- what is looked at in the end

    def _examine(self) -> None:
        if self._examined:
            return
        for light in self.lights.values():
            if light.node is not self.unborn:
                for play in light.node.get(EXAMINE, ()):
                    if play(light, self.now_us, ()):
                        break
                else:
                    self.let_happen(light, EXAMINE, self.now_us, ())

    def _look_at(self, light: LightDevice, has_confirmed: bool, portrait: str) -> None:
        self._examined.append((light, has_confirmed))
        self._portraits += digest_of(portrait)

    def problems(self) -> list[str]:
        self._examine()
        return [
            f"{light.name} does not serve the new version, or has not recorded that it confirmed"
            for light, has_confirmed in self._examined
            if not has_confirmed
        ]

    def digest(self) -> int:
        self._examine()
        return self._portraits


class LightFront(Front):
    """Of light devices."""

    world: LightWorld

    def __init__(self, world: LightWorld) -> None:
        super().__init__(world)
        self.waiting: dict[LightDevice, None] = {}
        self._documents: dict[tuple[Given, int], Happening] = {}
        self._figures = cache(self._figures_of)
        self._accepted: dict[tuple[Any, ...], tuple[spool.Position, bool]] = {}
        self._acks = cache(self._ack)
        self._time = Happening(self._take_time)

    # --- what goes out

    def give(self, number: int, what: Given) -> None:
        world = self.world
        light, now_s = world.light(number), int(world.now_s)
        revision = self.revisions[number] = self.revisions.get(number, 0) + 1
        happening = self._documents.get((what, revision))
        if happening is None:
            happening = self._documents[what, revision] = self._document(what, revision)
        light.document = happening, (now_s,), what, revision
        if world.send(light, world.now_us, happening, (now_s,)):
            self.note_document(light, world.now_us)

    def _document(self, what: Given, revision: int) -> Happening:
        def happen(device: LeanDevice, numbers: list[Any]) -> None:
            payload = self.desired(device.name, what, revision, numbers[0])
            device.hear(self.world.topics.desired(device.name, UNIT), payload)

        return Happening(happen)

    def note_document(self, light: LightDevice, now_us: int) -> None:
        if self.world.is_listening and light.document is not None:
            _, (issued_s,), what, revision = light.document
            payload = self.desired(light.name, what, revision, issued_s)
            topic = self.world.topics.desired(light.name, UNIT)
            self.world.note(light.number, topic, payload, now_us)

    def acknowledge(self) -> None:
        world = self.world
        for light in self.waiting:
            sequence = light.position.contiguous
            is_sent = world.send(light, world.now_us, self._acks(sequence), ())
            if is_sent and world.is_listening:
                payload = self.ack(light.name, light.boot_id, sequence)
                world.note(light.number, world.topics.ack(light.name), payload)
        self.waiting.clear()

    def _ack(self, sequence: int) -> Happening:
        topic = self.world.topics.ack(steps.NAME)
        return self.world.step_with(Received(topic, self.ack(steps.NAME, steps.BOOT_ID, sequence)))

    def _tell_time(self, light: LightDevice, now_us: int) -> None:  # type: ignore[override]
        world, now_s = self.world, START_S + now_us // SECOND_US
        world.send(light, now_us, self._time, (now_s,))
        if world.is_listening:
            payload = self.time_answer(light.name, light.nonce, now_s)
            world.note(light.number, world.topics.rpc(light.name, UNIT), payload, now_us)

    def _take_time(self, device: LeanDevice, numbers: list[Any]) -> None:
        payload = self.time_answer(device.name, steps.NONCE, numbers[0])
        device.hear(self.world.topics.rpc(device.name, UNIT), payload)

    # --- what comes in

    def presence_heard(self, light: LightDevice, now_us: int, args: tuple[Any, ...]) -> None:
        """It is believed to be there anyhow."""

    def reported_heard(self, light: LightDevice, now_us: int, args: tuple[Any, ...]) -> None:
        order, is_asking, observed = args
        if is_asking:
            self._tell_time(light, now_us)
        if order <= light.order:
            return
        light.order = order
        for one in observed:
            self.heard.append((now_us, light.number, one, None))

    def event_heard(self, light: LightDevice, now_us: int, args: tuple[Any, ...]) -> None:
        del now_us
        self._is_news(light, *args)

    def telemetry_heard(self, light: LightDevice, now_us: int, args: tuple[Any, ...]) -> None:
        sequence, oldest, digest, interval_us, time_s = args
        if not self._is_news(light, sequence, oldest):
            return
        count = interval_us * RATE_PER_S // SECOND_US
        ended_s = float(time_s or START_S + now_us / SECOND_US)
        said = told.Performance(
            f"{light.name}/{UNIT}", HARDWARE, digest, self._figures(digest, count), ended_s
        )
        self.heard.append((now_us, light.number, None, said))

    def _is_news(self, light: LightDevice, sequence: int, oldest: int) -> bool:
        self.waiting[light] = None
        position = light.position
        key = position.contiguous, position.ahead, sequence, oldest
        found = self._accepted.get(key)
        if found is None:
            after, verdict = spool.accept(position, sequence, oldest)
            found = self._accepted[key] = after, verdict is spool.Verdict.NEW
        light.position, is_new = found
        return is_new

    def _figures_of(self, digest: bytes, count: int) -> Figures:
        """Of so many inferences, by way of a real pack."""
        pack = self.world.pack(steps.NAME, digest, -(-count * SECOND_US // RATE_PER_S))
        origin = Origin(
            org=self.world.org, connection=steps.NAME, unit=UNIT, boot_id=steps.BOOT_ID,
            sequence=1, oldest=1, monotonic_us=0, time_s=None,
        )  # fmt: skip
        (one,) = performance.read(Telemetry(origin=origin, pack=pack)).performances
        return figures(one)
