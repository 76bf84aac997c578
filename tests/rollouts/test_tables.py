"""The tables of the rollout core, walked in full."""

import itertools
from collections.abc import Callable

import pytest
from wherry_controller.core.rollouts import State
from wherry_controller.core.rollouts.commanding import ignore, refuse
from wherry_controller.core.rollouts.decide import LEADS, TRANSITIONS
from wherry_controller.core.rollouts.diagram import diagrams
from wherry_controller.core.rollouts.events import (
    COMMANDS,
    EVENTS,
    Abort,
    Advance,
    Approve,
    Decommission,
    Pause,
    Resume,
    Revert,
    Start,
    Switch,
    Widen,
)
from wherry_controller.core.rollouts.members import (
    ENDED,
    IN_FLIGHT,
    MEMBER_TRANSITIONS,
    RETURN_ENDED,
    RETURN_TRANSITIONS,
    MemberPhase,
    Return,
    ReturnSignal,
    Signal,
)
from wherry_protocol.errors import StateError
from wherry_protocol.messages.reported import Outcome

from tests.rollouts.voyage import NEW, Voyage, figures, names

ISSUED = {
    Approve: Approve("ada"),
    Start: Start("ada"),
    Pause: Pause("ada", "why"),
    Resume: Resume("ada"),
    Abort: Abort("ada", "why"),
    Revert: Revert("ada", "why"),
    Widen: Widen("ada", 10_000),
    Advance: Advance("ada", "why"),
    Switch: Switch("ada", "blue", "green", "why"),
    Decommission: Decommission("ada"),
}


@pytest.mark.parametrize(("state", "event"), [*itertools.product(State, EVENTS)])
def test_every_pair_of_state_and_event_has_a_rule(state: State, event: type) -> None:
    assert (state, event) in TRANSITIONS


@pytest.mark.parametrize(("phase", "signal"), [*itertools.product(MemberPhase, Signal)])
def test_every_pair_of_phase_and_signal_has_a_rule(phase: MemberPhase, signal: Signal) -> None:
    assert (phase, signal) in MEMBER_TRANSITIONS


@pytest.mark.parametrize(("phase", "signal"), [*itertools.product(sorted(ENDED, key=str), Signal)])
def test_a_phase_that_has_ended_stays_ended(phase: MemberPhase, signal: Signal) -> None:
    assert MEMBER_TRANSITIONS[phase, signal] is phase


@pytest.mark.parametrize("signal", [s for s in Signal if s.name not in ("OFFER", "PASSED_OVER")])
def test_a_member_that_was_offered_nothing_is_moved_by_nothing_it_reports(signal: Signal) -> None:
    assert MEMBER_TRANSITIONS[MemberPhase.PENDING, signal] is MemberPhase.PENDING


@pytest.mark.parametrize("phase", sorted(IN_FLIGHT, key=str))
def test_a_member_under_way_can_end_in_every_way(phase: MemberPhase) -> None:
    assert {MEMBER_TRANSITIONS[phase, signal] for signal in Signal} >= ENDED


@pytest.mark.parametrize(("state", "signal"), [*itertools.product(Return, ReturnSignal)])
def test_every_pair_on_the_way_back_has_a_rule_and_its_ends_stay(
    state: Return, signal: ReturnSignal
) -> None:
    after = RETURN_TRANSITIONS[state, signal]
    proves_it_late = (state, signal, after) == (Return.LOST, ReturnSignal.LATE, Return.BACK)
    assert after is state or state not in RETURN_ENDED or proves_it_late


def draft_one(**table: object) -> Voyage:
    return Voyage(names(2), **table)


def running(**table: object) -> Voyage:
    return draft_one(**table).start()


def paused() -> Voyage:
    voyage = running()
    voyage.tell(Pause("ada", "lunch"))
    return voyage


def succeeded() -> Voyage:
    return running().confirm()


def aborted() -> Voyage:
    voyage = running()
    voyage.tell(Abort("ada", "wrong model"))
    return voyage


def reverting() -> Voyage:
    voyage = running().confirm()
    voyage.tell(Revert("ada", "worse"))
    return voyage


def approved() -> Voyage:
    voyage = draft_one()
    voyage.tell(Approve("grace"))
    return voyage


def reverted() -> Voyage:
    return reverting().come_back()


MAKE: dict[State, Callable[[], Voyage]] = {
    State.DRAFT: draft_one,
    State.APPROVED: approved,
    State.RUNNING: running,
    State.PAUSED: paused,
    State.SUCCEEDED: succeeded,
    State.REVERTING: reverting,
    State.REVERTED: reverted,
    State.ABORTED: aborted,
}
REFUSED = [pair for pair, rule in TRANSITIONS.items() if rule is refuse]


@pytest.mark.parametrize(("state", "command"), REFUSED)
def test_a_command_that_does_not_fit_the_state_is_refused_in_a_sentence_and_changes_nothing(
    state: State, command: type
) -> None:
    voyage = MAKE[state]()
    assert voyage.state is state
    parts = dict(voyage.parts)
    with pytest.raises(StateError, match=f"is {state.value} .* cannot {command.__name__.lower()}"):
        voyage.tell(ISSUED[command])
    assert voyage.parts == parts


def stage_done() -> tuple[Voyage, State]:
    stages = [{"share": "50%", "is_gated": False}, {"share": "100%", "is_gated": False}]
    voyage = running(stages=stages)
    voyage.confirm()
    assert voyage.rollout.progress.stage_index == 1
    return voyage, State.RUNNING


def subset_reached() -> tuple[Voyage, State]:
    return running(subset="50%").confirm(), State.RUNNING


def resumed() -> tuple[Voyage, State]:
    voyage = paused()
    voyage.tell(Resume("ada"))
    return voyage, State.PAUSED


def breached(make: Callable[[], Voyage]) -> Callable[[], tuple[Voyage, State]]:
    def found() -> tuple[Voyage, State]:
        voyage = make()
        state = voyage.state
        voyage.report(voyage.units[0], Outcome.REJECTED, running=None)
        return voyage, state

    return found


def commanded(state: State, command: type) -> Callable[[], tuple[Voyage, State]]:
    def found() -> tuple[Voyage, State]:
        voyage = MAKE[state]()
        voyage.tell(ISSUED[command])
        return voyage, state

    return found


def switched_back() -> tuple[Voyage, State]:
    voyage = running(strategy="blue-green").make_ready()
    voyage.tell(Switch("ada", "blue", "green"))
    voyage.confirm()
    voyage.tell(Switch("ada", "green", "blue", "worse"))
    return voyage, State.RUNNING


def switched_back_while_paused() -> tuple[Voyage, State]:
    voyage = running(strategy="blue-green").make_ready()
    voyage.tell(Switch("ada", "blue", "green"))
    voyage.confirm()
    voyage.tell(Pause("ada", "hold"))
    voyage.tell(Switch("ada", "green", "blue", "worse"))
    return voyage, State.PAUSED


ARROWS: dict[tuple[State, str], Callable[[], tuple[Voyage, State]]] = {
    (State.DRAFT, "Approve"): commanded(State.DRAFT, Approve),
    (State.DRAFT, "Abort"): commanded(State.DRAFT, Abort),
    (State.APPROVED, "Start"): commanded(State.APPROVED, Start),
    (State.APPROVED, "Abort"): commanded(State.APPROVED, Abort),
    (State.RUNNING, "stage done"): stage_done,
    (State.RUNNING, "Pause, subset reached, silence, stage deadline"): subset_reached,
    (State.PAUSED, "Resume, Widen"): resumed,
    (State.RUNNING, "last stage done"): lambda: (succeeded(), State.RUNNING),
    (State.RUNNING, "Revert, breach, failures, excess silence"): breached(running),
    (State.PAUSED, "Revert, breach, failures, excess silence"): breached(paused),
    (State.RUNNING, "Switch back"): switched_back,
    (State.PAUSED, "Switch back"): switched_back_while_paused,
    (State.SUCCEEDED, "Revert, Switch back"): commanded(State.SUCCEEDED, Revert),
    (State.ABORTED, "Revert"): commanded(State.ABORTED, Revert),
    (State.REVERTING, "every device is back or named"): lambda: (reverted(), State.REVERTING),
    (State.RUNNING, "Abort"): commanded(State.RUNNING, Abort),
    (State.PAUSED, "Abort"): commanded(State.PAUSED, Abort),
}


@pytest.mark.parametrize("arrow", list(LEADS))
def test_every_arrow_of_the_diagram_is_what_happens(arrow: tuple[State, str]) -> None:
    voyage, state = ARROWS[arrow]()
    assert state is arrow[0]
    assert voyage.state is LEADS[arrow] or (
        # whoever was touched by nothing but an abort is back at once
        voyage.state is State.REVERTED and LEADS[arrow] is State.REVERTING
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_changes_the_state_is_in_the_diagram(command: type) -> None:
    allowed = {
        state
        for (state, event), rule in TRANSITIONS.items()
        if event is command and rule not in (refuse, ignore)
    }
    shown = {state for state, label in LEADS if command.__name__ in label.split(", ")}
    unchanged = {
        Pause: {State.PAUSED}, Widen: {State.RUNNING}, Advance: {State.RUNNING},
        Switch: {State.RUNNING, State.PAUSED, State.SUCCEEDED},  # forward only
        Decommission: {State.RUNNING, State.SUCCEEDED},  # in RUNNING it says what it waits for
    }  # fmt: skip
    assert allowed == shown | unchanged.get(command, set())


def test_the_diagrams_name_every_state() -> None:
    text = diagrams()
    assert all(state.value in text["rollout"] for state in State)
    assert all(phase.value in text["member"] for phase in MemberPhase)
    assert all(state.value in text["way back"] for state in Return)


def test_what_arrives_after_the_end_changes_no_state() -> None:
    voyage = succeeded()
    voyage.serve(figures(errors=900)).wait(3_600)
    voyage.report(voyage.units[0], Outcome.REJECTED, running=NEW)
    assert voyage.state is State.SUCCEEDED
