"""One canary over a very large fleet, from the first stage to the last device.

Rules:
1. What devices say in a span is told to the rollout while the next one is played, and what it
   then asks for reaches them with the one after that.
2. Every second the rollout gets its tick, and what was reported since the last one is
   acknowledged.
3. The trace is the same whatever the number of processes.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise

from wherry_controller.core.rollouts import OPEN, State
from wherry_controller.core.rollouts.members import MemberPhase

from tests.simulation.lean.controller import LeanController
from tests.simulation.lean.front import Given, Heard
from tests.simulation.lean.light import LightWorld
from tests.simulation.lean.parts import Here, PartOutcome, Span, There
from tests.simulation.lean.world import SPAN_US, START_S, LeanWorld
from tests.simulation.models import GOOD, Behaviour
from tests.simulation.network import SECOND_US
from tests.simulation.operator import CANARY
from tests.simulation.twins import codec, signatures

STAGES = [
    {"share": "1%", "soak_s": 30.0},
    {"share": "10%", "soak_s": 30.0},
    {"share": "100%"},
]
PLAN = {**CANARY, "stages": STAGES}
PERFORMANCE_S = 60
CONTROL_COUNT = 50  # devices that are there from the beginning and report on the old version
START_SPAN = 600  # with which the rollout starts
SPANS_MAX = 36_000
# Devices that are played by the process that plays the rollout, if there is another.
OURS, OURS_LIGHT = 0.46, 0.05


@dataclass(frozen=True)
class Outcome:
    """How it went. `problems` is empty where every device serves and says what it should. `trace`
    is a digest of all that the rollout was told and asked for, and of the devices in the end."""

    state: State
    reason: str
    confirmed: int
    touched: int
    events: int
    virtual_s: float
    problems: tuple[str, ...]
    trace: str


def sail_canary(
    device_count: int, behaviour: Behaviour = GOOD, *, processes: int = 1,
    is_light: bool = False, is_traced: bool = False,
) -> Outcome:  # fmt: skip
    """Roll version 2 out to that many devices; `behaviour` is how it does, and with `is_light`
    the devices are twins. Without `is_traced` the trace is only what became of the devices."""
    with signatures.in_place(), codec.in_place(codec.Attaching()), _no_cycles():
        voyage = Voyage(
            device_count, behaviour, processes, LightWorld if is_light else LeanWorld, is_traced
        )
        while voyage.controller.rollout.state in OPEN or voyage.span <= START_SPAN:
            if voyage.span > SPANS_MAX:
                break
            voyage.play_span()
        return voyage.outcome()


@contextmanager
def _no_cycles() -> Iterator[None]:
    """Nothing here forms cycles that end before the run does; looking for them takes long."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Voyage:
    """The rollout, and the fleet in as many parts as there are processes."""

    def __init__(
        self, device_count: int, behaviour: Behaviour, processes: int,
        kind: type[LeanWorld], is_traced: bool,
    ) -> None:  # fmt: skip
        def make() -> LeanWorld:
            world = kind(device_count, behaviour, PERFORMANCE_S)
            world.is_listening = is_traced
            return world

        ours = OURS_LIGHT if kind is LightWorld else OURS
        ranges = _shares(device_count, processes, ours)
        self.others = [There(make, one) for one in ranges[1:]]
        self.ours = Here(make, ranges[0])
        self.parts: list[Here | There] = [self.ours, *self.others]
        self.controls = range(min(CONTROL_COUNT, device_count))
        versions = self.ours.world.versions
        self.controller = LeanController(versions, PLAN, device_count, START_S)
        self.span = self.ticks = 0
        self.heard: list[Heard] = []
        self.trace = sha256()
        self.is_traced = is_traced

    def play_span(self) -> None:
        """Rule 1."""
        given, self.controller.given = self.controller.given, []
        is_second = self.span % (SECOND_US // SPAN_US) == 0
        for part in self.parts:
            part.begin(
                Span(
                    until_us=(self.span + 1) * SPAN_US,
                    given=[one for one in given if one[0] in part.numbers],
                    controls=self.controls if self.span == 0 else range(0),
                    is_acknowledged=is_second,
                )
            )
        self._tell(given, is_second=is_second)
        heard = [one for part in self.parts for one in part.end()]
        self.heard = sorted(heard, key=lambda one: one[:2])  # one device's stay in their order
        self.span += 1

    def _tell(self, given: list[tuple[int, Given]], *, is_second: bool) -> None:
        controller = self.controller
        controller.now_s = START_S + self.span * SPAN_US / SECOND_US
        if self.is_traced:
            self.trace.update(repr((self.span, given, self.heard)).encode())
        controller.take(self.heard)
        if self.span == START_SPAN:
            controller.start()
        if is_second:
            self.ticks += 1
            controller.tick()

    def outcome(self) -> Outcome:
        rollout, ended = self.controller.rollout, [part.close() for part in self.parts]
        for sums in ([one.digest for one in ended], [one.said for one in ended]):
            self.trace.update(b"%d" % (sum(sums) % (1 << 64)))
        return Outcome(
            rollout.state,
            rollout.state_reason,
            rollout.counts[MemberPhase.CONFIRMED],
            rollout.touched,
            sum(one.events for one in ended) + self.ticks,
            self.span * SPAN_US / SECOND_US,
            tuple(self._problems(ended)),
            self.trace.hexdigest(),
        )

    def _problems(self, ended: list[PartOutcome]) -> list[str]:
        rollout, found = self.controller.rollout, list(self.controller.problems)
        if rollout.state is State.SUCCEEDED:
            found += [what for one in ended for what in one.problems]
            found += [f"{unit} has not swapped" for unit, member in rollout.members.items()
                      if not member.has_swapped]  # fmt: skip
        return found


def _shares(device_count: int, processes: int, ours: float) -> list[range]:
    """Who plays which devices; the first plays the rollout too, and `ours` of them if there is one
    other."""
    if processes == 1:
        return [range(device_count)]
    first = int(device_count * ours * 2 / processes)
    rest, others = device_count - first, processes - 1
    edges = [first + rest * n // others for n in range(others + 1)]
    return [range(first), *(range(low, high) for low, high in pairwise(edges))]


__all__ = ["Outcome", "sail_canary"]
