"""A device's step: taken by the real core once, repeated by every device that comes the same way.

Rules:
1. A node is a device's state without what its numbers are worth (`shapes`). Devices at one node
   differ in these numbers, in who they are and in their chance, and in nothing else.
2. A step from a node is taken by a real `LeanDevice` with `Number`s in it. What it compared, what
   the numbers become, what it sent and set is kept as a Python function, a play.
3. A play goes for every device at that node to which the same happens and for which every
   comparison comes out the same; for any other the real one takes the step again.
4. Who a device is stands in no comparison but with itself: the real one plays under one name, one
   boot id and one nonce, and what is sent bears the names of whoever sends it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wherry_agent.core.inputs import Input, Received
from wherry_protocol.messages.observed import Event, Presence, Telemetry
from wherry_protocol.messages.reported import Reported

from tests.simulation.engine import UNIT
from tests.simulation.lean.device import LeanDevice, boot_id_of, name_of, nonce_of
from tests.simulation.lean.front import observed_in
from tests.simulation.lean.numbers import Number, Tracing
from tests.simulation.lean.world import (
    CHANCE_ADD,
    CHANCE_MASK,
    CHANCE_TIMES,
    LATENCY_US,
    SPAN_US,
    said_in,
)

if TYPE_CHECKING:
    from tests.simulation.lean.light import LightDevice, LightWorld

NUMBER = 10**9  # of the real one; no fleet has such a device
NAME = name_of(NUMBER)
BOOT_ID, NONCE = boot_id_of(NAME), nonce_of(NAME)
WHO = {NAME: "d.name", repr(BOOT_ID): "d.boot_id", repr(NONCE): "d.nonce"}
ATTRIBUTES = tuple(one for one in LeanDevice.__slots__ if one != "world")
Play = Callable[["LightDevice", int, tuple[Any, ...]], bool]


@dataclass(frozen=True, slots=True)
class Pack:
    """In the place of a telemetry pack: what it would be made of."""

    digest: bytes
    interval_us: int

    @property
    def interval_s(self) -> float:
        return self.interval_us / 1e6


@dataclass(eq=False, slots=True)
class Happening:
    """Something that happens to a device. `happen` lets it happen to a real one, with numbers in
    the place of what comes with it."""

    happen: Callable[[LeanDevice, list[Any]], None]


class Node(dict[Happening, list[Play]]):
    """Where devices stand, and the plays that are known from there; `state` is None before the
    device has begun."""

    __slots__ = ("numbers", "state")

    def __init__(self, state: tuple[Any, ...] | None, numbers: list[Number]) -> None:
        super().__init__()
        self.state = state
        self.numbers = numbers


def _begin(device: LeanDevice, numbers: list[Any]) -> None:
    del numbers
    device.__init__(device.world, NUMBER, device.world.first_record)  # type: ignore[misc]


def _wake(device: LeanDevice, numbers: list[Any]) -> None:
    device.wake(numbers[0])


def _sample(device: LeanDevice, numbers: list[Any]) -> None:
    del numbers
    device.sample()


def _examine(device: LeanDevice, numbers: list[Any]) -> None:
    del numbers
    device.world.examine(device)  # type: ignore[attr-defined]


BEGIN, WAKE, SAMPLE, EXAMINE = map(Happening, (_begin, _wake, _sample, _examine))


def step_with(what: Input) -> Happening:
    """Always the same input."""
    return Happening(lambda device, _numbers: device.step(what))


class Recorder:
    """The world as a real device sees it whose step is kept. `lines` are what the play does."""

    def __init__(self, world: "LightWorld", light: "LightDevice", now_us: int) -> None:
        self._world = world
        self._light = light
        self.tracing = Tracing()
        self.now_us = self.tracing.name("now", now_us)
        self.lines: list[str] = []
        self.things: dict[str, Any] = {}  # what the play's Python names
        self.drawn: list[tuple[int, int]] = []  # (lowest, how many) of each chance
        self._chance = light.chance

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def thing(self, value: Any) -> str:
        """A name for it in the play."""
        name = f"k{len(self.things)}"
        self.things[name] = value
        return name

    def source(self, value: Any) -> str:
        """Python that makes it in the play."""
        return self.tracing.source_of(value) if type(value) is Number else self.thing(value)

    # --- as `LeanWorld`

    def draw(self, number: int, low: int, high: int) -> int:
        del number
        self._chance = (self._chance * CHANCE_TIMES + CHANCE_ADD) & CHANCE_MASK
        self.drawn.append((low, high - low + 1))
        value = low + (self._chance >> 33) % (high - low + 1)
        return self.tracing.name(f"c{len(self.drawn)}", value)  # type: ignore[return-value]

    def at(self, delay_us: int, act: Callable[..., None], *given: Any) -> None:
        kind = act.__func__  # type: ignore[attr-defined]
        if kind is LeanDevice.step:
            self.put(delay_us, self._world.step_with(given[0]), "()")
        elif kind is LeanDevice.wake:
            self.put(delay_us, WAKE, f"({self.source(given[0])},)")
        elif kind is LeanDevice.sample:
            self.put(delay_us, SAMPLE, "()")
        else:
            raise RuntimeError(f"a step that has {act} done later cannot be repeated")

    def put(self, delay_us: int, happening: object, args: str) -> None:
        due = self.tracing.source_of(self.now_us + delay_us)
        self.lines += [  # as `LightWorld.put`, which a step of a device would call several times
            f"entry = ({due}, next(numbers), {self.thing(happening)}, d, {args})",
            f"if {due} < world.until_us: push(world.queue, entry)",
            f"else: later[{due} // {SPAN_US}].append(entry)",
        ]

    def pack(self, name: str, digest: bytes, interval_us: int) -> Any:
        del name
        return Pack(digest, interval_us)

    def to_controller(self, device: LeanDevice, topic: str, payload: bytes) -> None:
        message = payload.carried.message  # type: ignore[attr-defined]
        self._note(topic, message)
        kind, args = SAYINGS[type(message)](self, message)
        self.put(self.draw(device.number, *LATENCY_US), kind, args)

    def to_subscriber(self, device: LeanDevice, topic: str) -> None:
        payload = self._world.retained.get(topic)
        if payload is not None:
            self._note(topic, payload)
            arrival = self._world.step_with(Received(topic, payload))
            self.put(self.draw(device.number, *LATENCY_US), arrival, "()")
        elif topic == self._world.topics.desired(NAME, UNIT):
            is_there = self._light.document is not None
            self.tracing.guard(f"d.document is {'not ' if is_there else ''}None")
            if is_there:
                due = self.tracing.source_of(self.now_us + self.draw(NUMBER, *LATENCY_US))
                self.lines.append(f"send_document({due}, d, now)")

    def _note(self, topic: str, message: Any) -> None:
        if self._world.is_listening:
            text = self.tracing.text((topic, said_in(message)), WHO)
            self.lines.append(f"heed(now, d.number, {text})")

    def examine(self, device: LeanDevice) -> None:
        has_confirmed = device.has_confirmed(self._world.versions[1].digest)
        text = self.tracing.text(device.portrait(), WHO)
        self.lines.append(f"examined(d, {has_confirmed}, {text})")


# --- what the play says to the controller: (what happens there, Python that makes what it is told)


def _presence(recorder: Recorder, message: Presence) -> tuple[object, str]:
    del message
    return recorder.front.presence_heard, "()"


def _event(recorder: Recorder, message: Event) -> tuple[object, str]:
    return recorder.front.event_heard, repr((message.origin.sequence, message.origin.oldest))


def _telemetry(recorder: Recorder, message: Telemetry) -> tuple[object, str]:
    origin, pack = message.origin, message.pack
    if not isinstance(pack, Pack):
        raise RuntimeError("telemetry of something else than performance cannot be repeated")
    said = (origin.sequence, origin.oldest, pack.digest, pack.interval_us, origin.time_s)
    return recorder.front.telemetry_heard, f"({', '.join(map(recorder.source, said))})"


def _reported(recorder: Recorder, message: Reported) -> tuple[object, str]:
    observed = [f"({', '.join(map(recorder.source, one))})" for one in observed_in(message)]
    order = (message.boot_count, message.sequence)
    is_asking = message.nonce is not None
    said = (f"({', '.join(map(recorder.source, order))})", repr(is_asking),
            f"({''.join(f'{one}, ' for one in observed)})")  # fmt: skip
    return recorder.front.reported_heard, f"({', '.join(said)})"


SAYINGS: dict[type, Callable[[Recorder, Any], tuple[object, str]]] = {
    Presence: _presence,
    Event: _event,
    Telemetry: _telemetry,
    Reported: _reported,
}


# --- learning a play


def learn(
    world: "LightWorld", light: "LightDevice", happening: Happening, now_us: int, args: tuple[Any]
) -> Play:
    """Let the real device take the step, and keep it as a play from the device's node."""
    node, recorder = light.node, Recorder(world, light, now_us)
    with recorder.tracing as tracing:
        for place, number in enumerate(node.numbers):
            tracing.name(f"h{place}", light.numbers[place], number)
        given = [tracing.name(f"a[{n}]", value) for n, value in enumerate(args)]
        device = _revived(node, recorder)
        happening.happen(device, given)
        state = tuple(_kept(getattr(device, one)) for one in ATTRIBUTES)
        after, numbers = world.node_of(state)
        does = [*recorder.lines, *_arrives(tracing, node, numbers)]
        does.append(f"d.node = {recorder.thing(after)}")
        play = _compiled(world, recorder, len(node.numbers), does)
    node.setdefault(happening, []).append(play)
    return play


def _revived(node: Node, recorder: Recorder) -> LeanDevice:
    device: LeanDevice = object.__new__(LeanDevice)
    device.world = recorder  # type: ignore[assignment]
    for name, value in zip(ATTRIBUTES, node.state or (), strict=node.state is not None):
        setattr(device, name, _kept(value))
    return device


def _kept(value: Any) -> Any:
    """A copy of what a device changes in place."""
    if isinstance(value, dict):
        return {key: _kept(one) for key, one in value.items()}
    return set(value) if isinstance(value, set) else value


def _arrives(tracing: Tracing, node: Node, numbers: list[Number]) -> list[str]:
    """What makes the numbers of the device at its new node; nothing where they are the old ones."""
    sources = [tracing.source_of(number) for number in numbers]
    held = [f"h{place}" for place in range(len(node.numbers))]
    return [] if sources == held else [f"d.numbers = ({''.join(f'{one}, ' for one in sources)})"]


def _compiled(world: "LightWorld", recorder: Recorder, number_count: int, does: list[str]) -> Play:
    """The play: the numbers of the device, its chances, guards, and what it does."""
    asked: list[str] = []
    used = " ".join(does)
    for name, source in reversed(recorder.tracing.lines):
        if not name:
            asked.append(f"if not ({source}): return False")
        elif _is_in(name, used):
            asked.append(f"{name} = {source}")
        else:
            continue
        used += f" {source}"
    held = [f"h{place}" for place in range(number_count)]
    unpacked = [f"{', '.join(held)}, = d.numbers"] if any(_is_in(h, used) for h in held) else []
    lines = [*unpacked, *_draws(recorder, used, does), *reversed(asked), *does, "return True"]
    text = "\n".join(["def play(d, now, a):", *(f"    {line}" for line in lines)])
    known = {**world.deeds, **recorder.things}
    exec(compile(text, "<play>", "exec"), known)
    return known["play"]  # type: ignore[no-any-return]


def _draws(recorder: Recorder, used: str, does: list[str]) -> list[str]:
    """The device's chances that somebody uses, each by as many steps of the generator at once; the
    last one stays with it."""
    times, add, draws = 1, 0, []
    for place, (low, width) in enumerate(recorder.drawn, 1):
        times = times * CHANCE_TIMES & CHANCE_MASK
        add = add * CHANCE_TIMES + CHANCE_ADD & CHANCE_MASK
        if _is_in(f"c{place}", used):
            draws.append(
                f"c{place} = {low} + ((c * {times} + {add} & {CHANCE_MASK}) >> 33) % {width}"
            )
    if not recorder.drawn:
        return []
    does.append(f"d.chance = c * {times} + {add} & {CHANCE_MASK}")
    return ["c = d.chance", *draws]


def _is_in(name: str, source: str) -> bool:
    return re.search(rf"\b{name}\b", source) is not None
