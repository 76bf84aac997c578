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
# The simulator does not see these yet: a rollout that is taken back for silence is a lawful end to
# it, and what comes again soon hides that it was lost. Played only where they are named.
NOT_FOUND_YET = frozenset((
    "put_off_sending_again_with_every_ack", "install_under_a_stop", "let_the_time_fall",
    "never_look_again", "report_only_once", "ignore_figures", "trust_the_brokers_memory",
))  # fmt: skip


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


Defect = Callable[[Switch], None]
DEFECTS: dict[str, tuple[Defect, str]] = {}  # name -> how to switch it on, scenario


def defect(scenario: str) -> Callable[[Defect], Defect]:
    """Register a defect under its function's name."""

    def register(switch_on: Defect) -> Defect:
        DEFECTS[switch_on.__name__] = (switch_on, scenario)
        return switch_on

    return register


from tests.simulation.defects import in_agent, in_controller  # noqa: E402, F401  (they register)
