"""Mermaid diagrams of the agent's tables, for the documents (`docs/build.py`)."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Final

from wherry_protocol.messages.reported import Phase

from wherry_agent.core import beginning, candidates, installing, trying, update
from wherry_agent.core.breaker import Breaker, BreakerLimits, Happened, State
from wherry_agent.core.breaker import step as step_breaker
from wherry_agent.core.model import UNDER_WAY, Result

Arrow = tuple[Enum, str, Enum]
ENDS: Final = {Phase.IDLE: "confirmed, reverted", Phase.TRIAL: ""}

# Where each rule of the update may lead and the word on that arrow; a rule that stays in its phase
# has no arrow. Tests hold that no update ever goes elsewhere, and that each of these happens.
LEADS: Final[Mapping[Callable[..., Result], Mapping[Phase, str]]] = {
    beginning.begin: {
        Phase.FETCHING: "assigned",
        Phase.IDLE: "",
        Phase.TRIAL: "switched",
        Phase.STAGED: "waits for its window",
    },
    candidates.release: {Phase.IDLE: ""},
    candidates.give_way: dict.fromkeys((Phase.IDLE, *UNDER_WAY), ""),
    update.fall_back: {Phase.IDLE: ""},
    update.give_back: {Phase.IDLE: ""},
    update.give_back_on_the_way: {
        Phase.IDLE: "serves again",
        **dict.fromkeys(UNDER_WAY, ""),
    },
    update.restart: {
        Phase.FETCHING: "another assigned",
        Phase.IDLE: "let go",
        Phase.STAGED: "",
        Phase.TRIAL: "swapped in",
        Phase.SELF_TESTING: "",
    },
    installing.drop: {Phase.IDLE: "let go"},
    installing.accept_manifest: {Phase.FETCHING: "", Phase.IDLE: "rejected"},
    installing.check_room: {Phase.FETCHING: "", Phase.IDLE: "rejected"},
    installing.verify_blobs: {Phase.VERIFYING: "all chunks here"},
    installing.assemble: {Phase.VERIFYING: "all blobs hashed"},
    installing.wait_for_transfer: {Phase.IDLE: "tried again later"},
    installing.load: {Phase.STAGED: "program hashed"},
    installing.self_test: {
        Phase.SELF_TESTING: "loaded",
        Phase.STAGED: "",
        Phase.IDLE: "rejected",
    },
    installing.judge_self_test: {
        Phase.TRIAL: "swapped in",
        Phase.STAGED: "waits for its window",
        Phase.IDLE: "ready, rejected",
    },
    installing.look_at_window: {
        Phase.STAGED: "",
        Phase.TRIAL: "swapped in",
        Phase.SELF_TESTING: "window opened",
        Phase.IDLE: "window missed",
    },
    installing.reject_failed_step: {Phase.IDLE: "rejected, tried again later"},
    update.restart_in_trial: {
        Phase.TRIAL: "",
        Phase.FETCHING: "reverted for another",
        Phase.IDLE: "reverted",
    },
    trying.judge_figures: ENDS,
    trying.judge_time: ENDS,
    trying.judge_golden_again: {Phase.IDLE: "confirmed, reverted"},
    trying.revert_failed_step: {Phase.IDLE: "reverted"},
}


def update_diagram() -> str:
    """The phases of one model, as `update.RULES` and LEADS have them."""
    moves: dict[tuple[Phase, Phase], set[str]] = defaultdict(set)
    for (phase, _), rule in update.RULES.items():
        for target, words in LEADS[rule].items():
            moves[phase, target].update(words.split(", ") if words else ())
    arrows = [(a, word, b) for (a, b), words in sorted(moves.items()) for word in words]
    return mermaid(Phase.IDLE, (arrow for arrow in arrows if arrow[0] is not arrow[2]))


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
