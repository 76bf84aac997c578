"""Mermaid diagrams of the agent's tables, for the documents (`docs/build.py`)."""

from collections import defaultdict
from collections.abc import Iterable
from enum import Enum

from wherry_agent.core.breaker import Breaker, BreakerLimits, Happened, State
from wherry_agent.core.breaker import step as step_breaker

Arrow = tuple[Enum, str, Enum]


def breaker_diagram() -> str:
    """Each arrow is one step of the table where one inference decides."""
    limits = BreakerLimits(failures_max=1, open_us=0, successes_min=1)
    arrows = [
        (state, happened.value, step_breaker(Breaker(b"", state), happened, limits, 0).state)
        for state in State
        for happened in Happened
    ]
    return mermaid(State.CLOSED, (arrow for arrow in arrows if arrow[0] is not arrow[2]))


def mermaid(first: Enum, arrows: Iterable[Arrow]) -> str:
    """One state diagram; several labels between the same two states share an arrow."""
    labels: dict[tuple[str, str], list[str]] = defaultdict(list)
    for source, label, target in arrows:
        labels[_word(source), _word(target)].append(label)
    lines = ["stateDiagram-v2", f"    [*] --> {_word(first)}"]
    lines += [f"    {a} --> {b}: {', '.join(sorted(found))}" for (a, b), found in labels.items()]
    return "\n".join(lines)


def _word(state: Enum) -> str:
    return state.name.lower()
