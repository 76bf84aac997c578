"""Seeded defects: each switches one mistake on, and the simulator must find it.

A new defect is a function registered by `defect(scenario)`: the scenario that should bring it to
light. It patches through `switch.set`, so that it can be taken back.

    python -m tests.simulation.defects            # all of them
    python -m tests.simulation.defects NAME ...
"""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

SEEDS_MAX = 20  # of its scenario: within so many each defect must be found
DEVICES = 6


@dataclass
class Switch:
    """Attributes and table rows that were changed, to be set back."""

    undo: list[Callable[[], None]] = field(default_factory=list)

    def set(self, place: Any, name: str, value: Any) -> None:
        """`place.name = value`, until `off`."""
        before = getattr(place, name)
        self.undo.append(lambda: setattr(place, name, before))
        setattr(place, name, value)

    def row(self, table: MutableMapping[Any, Any], key: Any, value: Any) -> None:
        """`table[key] = value`, until `off`."""
        before = table[key]
        self.undo.append(lambda: table.__setitem__(key, before))
        table[key] = value

    def off(self) -> None:
        while self.undo:
            self.undo.pop()()


def is_stale(failure: str) -> bool:
    """Does the switch itself fail? What it patches has another shape by now: nothing is found."""
    error = failure.removeprefix("a program failed: ").partition(":")[0]
    return error in ("TypeError", "AttributeError", "NameError")


Defect = Callable[[Switch], None]
DEFECTS: dict[str, tuple[Defect, str]] = {}  # name -> how to switch it on, scenario


def defect(scenario: str) -> Callable[[Defect], Defect]:
    """Register a defect under its function's name."""

    def register(switch_on: Defect) -> Defect:
        DEFECTS[switch_on.__name__] = (switch_on, scenario)
        return switch_on

    return register


from tests.simulation.defects import (  # noqa: E402, F401  (they register)
    in_agent,
    in_controller,
    in_emergencies,
    in_strategies,
)
