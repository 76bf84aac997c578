"""One runner for all subjects: which cuts there are, one play per cut, what went wrong.

Rules:
1. A scenario is a generator of legs. A leg does what is to be done and returns once that is
   reached; it may be begun again at any time, since a cut can end it anywhere.
2. Operations are counted from the scenario's beginning, and anew from each cut on.
3. A play without cuts says how many operations there are and how all ends. Whatever is cut must
   end alike, and nothing that must always hold may break on the way.
4. Every play depends on its cuts only, so that the printed command plays it again.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, Protocol

LEADING = 7  # operations of a recovery that get more than their share of second cuts


class Broken(Exception):  # noqa: N818  (a finding, not an error of the program)
    """Something that must always hold does not."""


class CutError(BaseException):
    """The power or the process is gone. Not an Exception: nothing may catch it and go on."""


class Cut(NamedTuple):
    """With operation `at` (from 1, since the beginning or the cut before), in this way."""

    at: int
    way: str

    def __str__(self) -> str:
        return f"{self.at}:{self.way}"


def cut_from(text: str) -> Cut:
    """`17:lost`. Raises ValueError."""
    at, _, way = text.partition(":")
    return Cut(int(at), way)


Leg = Callable[[Any], None]
Scenario = Callable[[Any], Iterator[Leg]]


class Ship(Protocol):
    """A subject's device or program in the middle of a play."""

    def wake(self) -> None:
        """Start it where it is dark, and look at what must hold after a start."""

    def darken(self) -> None:
        """It was cut: what is left is what durable storage says."""

    def counts(self) -> tuple[int, ...]:
        """Operations of each part: up to the first cut, up to the second, and so on."""

    def end(self) -> object:
        """How all has ended, to be compared; checks what must hold at the end."""


class Subject(Protocol):
    """What can be swept."""

    name: str
    ways: tuple[str, ...]  # how a cut may go
    second_ways: tuple[str, ...]  # and how the one after it
    scenarios: dict[str, Scenario]

    def launch(self, scenario: str, cuts: Sequence[Cut]) -> Ship:
        """A fresh ship, its cuts armed."""

    def stop(self, ship: Any) -> None:
        """Let go of what the ship holds."""


@dataclass(frozen=True)
class Played:
    """What a play has shown. `counts` is empty where it could not be played to the end."""

    counts: tuple[int, ...]
    end: object = None
    failure: str | None = None


@contextmanager
def quiet() -> Iterator[None]:
    """Programs that are cut complain much."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def play(subject: Subject, scenario: str, cuts: Sequence[Cut] = ()) -> Played:
    """Play the scenario to its end over these cuts. Raises what breaks."""
    with quiet():
        ship = subject.launch(scenario, cuts)
        try:
            for leg in subject.scenarios[scenario](ship):
                _reach(ship, leg)
            return Played(ship.counts(), ship.end())
        finally:
            subject.stop(ship)


def _reach(ship: Ship, leg: Leg) -> None:
    """Each cut happens once, so this ends."""
    while True:
        try:
            ship.wake()
            leg(ship)
        except CutError:
            ship.darken()
        else:
            return


def judged(subject: Subject, scenario: str, cuts: Sequence[Cut], wanted: object) -> Played:
    """A play whose failure is a value. What the program itself raises is a failure too."""
    try:
        played = play(subject, scenario, cuts)
    except Exception as error:
        return Played((), failure=f"{type(error).__name__}: {error}")
    if len(played.counts) <= len(cuts):
        return Played((), failure="the cut never came: the play is not the same every time")
    if played.end != wanted:
        return Played(played.counts, failure=f"ended otherwise: {_difference(played.end, wanted)}")
    return played


def _difference(found: Any, wanted: Any) -> str:
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [key for key in wanted if found.get(key) != wanted[key]]
        return "; ".join(f"{key} is {found.get(key)}, not {wanted[key]}" for key in keys)
    return f"{found}, not {wanted}"


@dataclass
class Tally:
    """What a sweep has counted. `failed` holds the cuts and what broke."""

    cut_points: int = 0
    double_cuts: int = 0
    failed: list[tuple[tuple[Cut, ...], str]] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.cut_points += other.cut_points
        self.double_cuts += other.double_cuts
        self.failed += other.failed


@dataclass(frozen=True)
class Share:
    """The part of a sweep that one process plays: every `stride`-th cut point from `first` on."""

    first: int = 0
    stride: int = 1
    seconds_max: int = 0  # second cuts per cut point; 0: none


def sweep(
    subject: Subject, scenario: str, share: Share, *, ends_with_failure: bool = False
) -> Tally:
    """Every cut point of the share, and second cuts after each that ended well."""
    whole = play(subject, scenario)
    tally = Tally()
    for number, cut in points(subject, whole.counts[0], share):
        if ends_with_failure and tally.failed:
            break
        played = judged(subject, scenario, (cut,), whole.end)
        tally.cut_points += 1
        if played.failure is not None:
            tally.failed.append(((cut,), played.failure))
            continue
        for second in seconds(subject, played.counts[1], number, share.seconds_max):
            again = judged(subject, scenario, (cut, second), whole.end)
            tally.double_cuts += 1
            if again.failure is not None:
                tally.failed.append(((cut, second), again.failure))
    return tally


def points(subject: Subject, count: int, share: Share) -> Iterator[tuple[int, Cut]]:
    """The share's first cuts, numbered."""
    cuts = [Cut(at, way) for at in range(1, count + 1) for way in subject.ways]
    return islice(enumerate(cuts), share.first, None, share.stride)


def seconds(subject: Subject, count: int, number: int, count_max: int) -> list[Cut]:
    """Where the second cut falls: one into the first operations of the recovery, where it works,
    the others evenly over the rest; both move on from cut point to cut point, until each is hit."""
    if not subject.second_ways or count == 0 or count_max == 0:
        return []
    places = {1 + number % min(count, LEADING)}
    if count_max > 1:
        step = max(1, -(-count // (count_max - 1)))
        places |= set(range(1 + number % step, count + 1, step))
    ways = subject.second_ways
    return [Cut(at, ways[(at + number) % len(ways)]) for at in sorted(places)]
