"""A part of the fleet, played in this process or in another one.

Time goes on in spans. What the rollout asked for goes in when a span begins, what devices said
comes out when it has ended, and in between no part depends on another. So it makes no difference
in which process a part is played, or how many parts there are.

    part.begin(span)   # another process begins to play
    part.end()         # plays it, or waits for it
"""

import gc
import marshal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection

from wherry_controller.core.rollouts.events import Performance

from tests.simulation.lean.front import Given, Heard
from tests.simulation.lean.world import LeanWorld


@dataclass(frozen=True)
class Span:
    """`given` to devices, the first `controls` of the fleet come up, and time goes on."""

    until_us: int
    given: list[tuple[int, Given]]
    controls: range
    is_acknowledged: bool


@dataclass(frozen=True)
class PartOutcome:
    events: int
    problems: list[str]
    digest: int
    said: int


class Here:
    """Played in this process, of the devices in `numbers`."""

    def __init__(self, make: Callable[[], LeanWorld], numbers: range) -> None:
        self.world = make()
        self.numbers = numbers
        self.span: Span | None = None

    def begin(self, span: Span) -> None:
        self.span = span

    def end(self) -> list[Heard]:
        """What its devices said in the span."""
        world, span, self.span = self.world, self.span, None
        if span is None:
            raise RuntimeError("no span has begun")
        for number in span.controls:
            if number in self.numbers:
                world.to_device(number, "", b"")
        if span.is_acknowledged:
            world.front.acknowledge()
        for number, what in span.given:
            world.front.give(number, what)
        world.run_until(span.until_us)
        heard, world.front.heard = world.front.heard, []
        return heard

    def close(self) -> PartOutcome:
        return PartOutcome(
            self.world.events, self.world.problems(), self.world.digest(), self.world.said
        )


class There:
    """The same in a process of its own, which ends with it."""

    def __init__(self, make: Callable[[], LeanWorld], numbers: range) -> None:
        self.numbers = numbers
        context = get_context("fork")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, numbers), daemon=True)
        self._process.start()
        theirs.close()  # so that waiting ends when the process does

    def begin(self, span: Span) -> None:
        self._connection.send(span)

    def end(self) -> list[Heard]:
        return unpacked(self._connection.recv_bytes(), self._connection.recv())

    def close(self) -> PartOutcome:
        self._connection.send(None)
        outcome: PartOutcome = self._connection.recv()
        self._process.join()
        return outcome


def packed(heard: list[Heard]) -> tuple[bytes, list[Performance]]:
    """The same for another process: what is plain in the quickest form that there is."""
    plain = [(at_us, number, observed) for at_us, number, observed, _ in heard]
    return marshal.dumps(plain), [one[3] for one in heard if one[3] is not None]


def unpacked(plain: bytes, performances: list[Performance]) -> list[Heard]:
    """What was said, in its order."""
    rest = iter(performances)
    return [(*one, next(rest) if one[2] is None else None) for one in marshal.loads(plain)]


def _serve(connection: Connection, make: Callable[[], LeanWorld], numbers: range) -> None:
    gc.disable()
    part = Here(make, numbers)
    while (span := connection.recv()) is not None:
        part.begin(span)
        plain, performances = packed(part.end())
        connection.send_bytes(plain)
        connection.send(performances)
    connection.send(part.close())
