"""Mermaid diagrams of the tables: `python -m wherry_controller.core.rollouts.diagram`."""

from collections import defaultdict
from collections.abc import Iterable
from enum import Enum
from typing import Any

from wherry_controller.core.rollouts.decide import LEADS
from wherry_controller.core.rollouts.members import MEMBER_TRANSITIONS, RETURN_TRANSITIONS

Arrow = tuple[Enum, str, Enum]


def mermaid(title: str, first: Enum, arrows: Iterable[Arrow]) -> str:
    """One state diagram; several labels between the same two states share an arrow."""
    labels: dict[tuple[Enum, Enum], list[str]] = defaultdict(list)
    for source, label, target in arrows:
        labels[source, target].append(label)
    lines = [f"%% {title}", "stateDiagram-v2", f"    [*] --> {first.value}"]
    lines += [
        f"    {source.value} --> {target.value}: {', '.join(sorted(found))}"
        for (source, target), found in labels.items()
    ]
    return "\n".join(lines)


def diagrams() -> dict[str, str]:
    """title -> Mermaid text of the rollout, its members, and their way back."""
    rollout: list[Arrow] = [(source, label, target) for (source, label), target in LEADS.items()]
    tables: dict[str, list[Arrow]] = {
        "rollout": rollout,
        "member": _moves(MEMBER_TRANSITIONS),
        "way back": _moves(RETURN_TRANSITIONS),
    }
    return {title: mermaid(title, arrows[0][0], arrows) for title, arrows in tables.items()}


def _moves(table: dict[tuple[Any, Any], Any]) -> list[Arrow]:
    """The pairs that change something, in the order in which the states are declared."""
    states: type[Enum] = type(next(iter(table))[0])
    order = list(states)
    found = [(a, signal.value, b) for (a, signal), b in table.items() if a is not b]
    return sorted(found, key=lambda arrow: (order.index(arrow[0]), order.index(arrow[2]), arrow[1]))


def main() -> None:
    """Print them all."""
    print("\n\n".join(diagrams().values()))


if __name__ == "__main__":
    main()
