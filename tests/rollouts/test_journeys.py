"""Random journeys: whatever happens, in whatever order, what must hold holds.

Each journey is also run a second time with a restart from the kept parts before every event, and
must end the same.
"""

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wherry_controller.core.rollouts import (
    Candidate,
    Plan,
    Rollout,
    State,
    all_parts,
    changes,
    decide,
    draft,
    from_json,
    parse_plan,
    restore,
    to_json,
)
from wherry_controller.core.rollouts.effects import Assign, Effect, Release, SendBack
from wherry_controller.core.rollouts.events import (
    Abort,
    Advance,
    Approve,
    Assigned,
    Crashed,
    Decommission,
    Event,
    LinkChanged,
    Memory,
    Observed,
    PassedOver,
    Pause,
    Performance,
    Prepared,
    Presence,
    Resume,
    Revert,
    Start,
    Switch,
    Tick,
    Widen,
)
from wherry_controller.core.rollouts.members import ENDED, FAILED, MemberPhase, Return
from wherry_protocol.codec import Unknown
from wherry_protocol.errors import Code, DecodeError, StateError
from wherry_protocol.messages.desired import Mode
from wherry_protocol.messages.reported import Outcome, Phase

from tests.rollouts.voyage import CLASS, NEW, OLD, T0, figures, manifest, names

UNITS = names(8)
DIRECT = parse_plan({})
BRINGING = parse_plan(
    {
        "must_pass": ["1.0.1"],
        "must_pass_missing": "bring",
        "max_failed": 2,
        "silent_share_max": 0.5,
        "retries": {"count": 1, "after_s": 60},
    }
)
PLANS = st.sampled_from(
    [
        DIRECT,
        parse_plan({"strategy": "rolling"}),
        parse_plan({"strategy": "canary", "subset": "30%"}),
        parse_plan({"parallel_max": 2, "max_failed": 3, "silent_after_s": 400, "returns_per_s": 1}),
        parse_plan({"strategy": "rolling", "gate": {"requests_min": 10, "require": ["errors"]}}),
        parse_plan({"strategy": "ab", "gate": {"requests_min": 10, "require": ["errors"]}}),
        parse_plan({"strategy": "blue-green", "max_failed": 2}),
        parse_plan(
            {
                "strategy": "blue-green",
                "parallel_max": 3,
                "silent_after_s": 400,
                "silent_share_max": 0.5,
                "parameters": {"bake_s": 60, "switch": "automatic", "decommission": "automatic"},
                "gate": {"requests_min": 10, "require": []},
            }
        ),
        parse_plan({"retries": {"count": 2, "after_s": 60}, "ramp": {"per_minute": 3}}),
        parse_plan({"strategy": "shadow", "max_failed": 2, "gate": {"require": []}}),
        BRINGING,
    ]
)
FIRST = (b"1" * 32, b"2" * 32)
UNIT = st.sampled_from(UNITS)
SLOT = st.sampled_from(["blue", "green"])
COMMANDS: st.SearchStrategy[Event] = st.one_of(
    st.just(Pause("ada", "why")),
    st.just(Resume("ada")),
    st.just(Abort("ada", "why")),
    st.just(Revert("ada", "why")),
    st.just(Advance("ada", "why")),
    st.builds(Switch, st.just("ada"), SLOT, SLOT, st.just("why")),
    st.builds(Decommission, st.just("ada"), st.just(""), st.booleans()),
    st.builds(Widen, st.just("ada"), st.sampled_from([5_000, 10_000])),
)
REPORTS = st.builds(
    Observed,
    UNIT,
    st.just(b"?"),  # replaced by the id of the unit's present assignment
    st.sampled_from([*Phase, Unknown(77)]),
    st.sampled_from([*[Outcome.CONFIRMED] * 6, *[Outcome.READY] * 3, *Outcome, Unknown(88)]),
    st.sampled_from([NEW, NEW, OLD, None]),
    st.sampled_from([0, 1_000]),
    st.sampled_from([Code.OK, Code.STORAGE, Code.ENGINE_CRASH, Unknown(999)]),
    st.just(""),
    st.sampled_from([NEW, NEW, OLD, None]),
)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    REPORTS,
    REPORTS,
    REPORTS,
    COMMANDS,
    st.builds(PassedOver, UNIT, st.just("preempted"), st.booleans()),
    st.builds(Presence, UNIT, st.booleans()),
    st.builds(LinkChanged, st.booleans()),
    st.builds(
        Performance,
        UNIT,
        st.just(CLASS),
        st.sampled_from([NEW, OLD]),
        st.sampled_from([figures(), figures(errors=500), figures(9e5, inferences=30)]),
        st.floats(T0 - 100, T0 + 5_000),
    ),
    st.builds(Crashed, UNIT, st.just(CLASS), st.sampled_from([NEW, OLD])),
    st.builds(Memory, UNIT, st.integers(0, 100), st.integers(0, 100)),
    st.builds(Tick, st.integers(0, 10), st.integers(0, 5)),
)
STEPS = st.lists(st.tuples(EVENTS, st.sampled_from([0.0, 1.0, 60.0, 500.0])), max_size=60)
SOME_PLANS_AND_STEPS = (PLANS, STEPS)


class Journey:
    """One rollout driven by random events; holds the invariants after each."""

    def __init__(self, plan: Plan, is_restarted: bool) -> None:
        candidates = [Candidate(unit, CLASS, OLD) for unit in UNITS]
        self.is_restarted = is_restarted
        self.now_s = T0
        self.rollout: Rollout = draft(
            "r-1", manifest(), NEW, plan, candidates, created_by="ada", now_s=T0
        )
        self.parts = all_parts(self.rollout)
        self.ids: dict[str, bytes] = {}
        self.asked: dict[str, bytes] = {}  # what each unit was assigned last, if not sent back
        self.effects: list[Effect] = []

    def tell(self, event: Event) -> None:
        if isinstance(event, Observed):
            running = self.asked.get(event.unit, NEW) if event.running == NEW else event.running
            event = replace(event, assignment_id=self.ids.get(event.unit), running=running)
        before = {unit: m.phase for unit, m in self.rollout.members.items()}
        rollout = restore(self.parts) if self.is_restarted else self.rollout
        try:
            self.rollout, effects = decide(rollout, event, self.now_s)
        except StateError:
            self.rollout, effects = rollout, []
        self.keep()
        self.hold(before, effects)
        for effect in effects:
            self.effects.append(effect)
            if isinstance(effect, Assign | SendBack):
                self.asked[effect.unit] = effect.digest if isinstance(effect, Assign) else NEW
                self.ids[effect.unit] = sha256(repr((len(self.effects), effect)).encode()).digest()
                self.tell(Assigned(effect.unit, self.ids[effect.unit], OLD))

    def begin(self) -> None:
        self.tell(Approve("grace"))
        if self.rollout.plan.must_pass:
            for number, unit in enumerate(UNITS):  # some lack two versions, some one, some none
                self.tell(Prepared(unit, FIRST[number % 3 :]))
        self.tell(Start("ada"))

    def is_held(self, index: int) -> bool:
        member = self.rollout.members[self.rollout.order[index]]
        return member.phase is MemberPhase.HELD

    def keep(self) -> None:
        for key, text in changes(self.rollout).items():
            if text is None:
                self.parts.pop(key, None)
            else:
                self.parts[key] = text

    def hold(self, before: dict[str, MemberPhase], effects: list[Effect]) -> None:
        rollout = self.rollout
        assert all_parts(rollout) == all_parts(restore(self.parts)), "a change was not kept"
        opened = set(rollout.order[: rollout.progress.opened_count])
        new = [effect for effect in effects if isinstance(effect, Assign)]
        assert {effect.unit for effect in new} <= opened, "outside the open stages"
        released = [effect for effect in effects if isinstance(effect, Release)]
        for effect in released:
            assert rollout.members[effect.unit].phase is MemberPhase.CONFIRMED, "it may serve"
            assert effect.digest != rollout.digest, "what serves was released"
        for unit, member in rollout.members.items():
            assert member.phase is before[unit] or before[unit] not in ENDED, "the end changed"
        offered = [e for e in self.effects if isinstance(e, Assign)]
        keys = {(e.unit, e.digest, e.mode, e.attempt) for e in offered}
        assert len(offered) == len(keys), "offered twice"
        assigned = {e.unit for e in offered}
        returned = [effect.unit for effect in self.effects if isinstance(effect, SendBack)]
        assert set(returned) <= assigned, "sent back without having been touched"
        assert len(returned) == len(set(returned)), "sent back twice"
        fresh = restore(self.parts)
        for name in ("counts", "returns", "swapped"):
            assert +getattr(fresh, name) == +getattr(rollout, name), name
        for name in ("offline_in_flight", "relapsed"):
            assert getattr(fresh, name) == getattr(rollout, name), name
        waiting = [u for u in rollout.return_queue if rollout.members[u].way_back is Return.QUEUED]
        assert list(fresh.return_queue) == waiting
        held = [one for one in rollout.retries if self.is_held(one[1])]
        assert sorted(fresh.retries) == sorted(held)


def journey(plan: Plan, steps: list[tuple[Event, float]], is_restarted: bool) -> Journey:
    made = Journey(plan, is_restarted)
    made.begin()
    for event, after_s in steps:
        made.now_s += after_s
        made.tell(event)
    return made


@settings(max_examples=60)
@given(*SOME_PLANS_AND_STEPS)
def test_a_restart_of_the_controller_at_any_point_changes_nothing(
    plan: Plan, steps: list[tuple[Event, float]]
) -> None:
    once, again = journey(plan, steps, False), journey(plan, steps, True)
    assert once.effects == again.effects
    assert once.parts == again.parts
    assert to_json(from_json(to_json(once.rollout))) == to_json(once.rollout)


@settings(max_examples=60)
@given(*SOME_PLANS_AND_STEPS)
def test_every_journey_that_is_reverted_ends_with_each_touched_device_back_or_named(
    plan: Plan, steps: list[tuple[Event, float]]
) -> None:
    made = journey(plan, steps, False)
    if made.rollout.state not in (State.REVERTING, State.REVERTED):
        made.tell(Revert("bob", "worse"))
    made.tell(LinkChanged(True))
    for _ in range(50):
        made.now_s += 400.0
        made.tell(Tick())
    assert made.rollout.state is State.REVERTED
    ways = {member.way_back for member in made.rollout.members.values()}
    assert ways <= {Return.NONE, Return.BACK, Return.LOST}
    for member in made.rollout.members.values():
        if member.way_back is Return.NONE:
            assert member.phase.value in ("pending", "skipped"), member


@settings(max_examples=60)
@given(*SOME_PLANS_AND_STEPS)
def test_only_what_a_device_proved_is_confirmed(
    plan: Plan, steps: list[tuple[Event, float]]
) -> None:
    made = Journey(plan, False)
    made.begin()
    proved: set[str] = set()
    for event, after_s in steps:
        made.now_s += after_s
        if isinstance(event, Observed) and event.outcome is Outcome.CONFIRMED:
            is_whole = not isinstance(event.phase, Unknown)
            is_new = event.running == NEW == made.asked.get(event.unit, NEW)
            if is_whole and is_new and event.good_inferences >= 100:
                proved.add(event.unit)
        made.tell(event)
    confirmed = {u for u, m in made.rollout.members.items() if m.phase.value == "confirmed"}
    assert confirmed <= proved


@pytest.mark.parametrize(
    "parts", [{}, {"plan": "{}", "head": "{}"}, {"plan": "[]", "head": "3"}, {"head": "{"}]
)
def test_kept_parts_that_are_not_ours_are_refused(parts: dict[str, str]) -> None:
    with pytest.raises(DecodeError, match="kept rollout"):
        restore(parts)


def test_a_newer_format_is_refused_by_name() -> None:
    parts = dict(journey(DIRECT, [], False).parts)
    parts["head"] = parts["head"].replace('"format":3', '"format":4')
    with pytest.raises(DecodeError, match="format 4, this controller reads up to 3") as refused:
        restore(parts)
    assert refused.value.code is Code.UNSUPPORTED_FORMAT


@settings(max_examples=60)
@given(*SOME_PLANS_AND_STEPS)
def test_no_journey_that_is_aborted_leaves_a_candidate_that_nobody_takes_away(
    plan: Plan, steps: list[tuple[Event, float]]
) -> None:
    made = journey(plan, steps, False)
    if made.rollout.state not in (State.RUNNING, State.PAUSED):
        return
    made.tell(Abort("bob", "not now"))
    taken = {effect.unit for effect in made.effects if isinstance(effect, SendBack)}
    for effect in made.effects:
        if isinstance(effect, Assign) and effect.mode is not Mode.ACTIVE:
            member = made.rollout.members[effect.unit]
            has_gone_on = any(
                isinstance(e, Assign) and e.unit == effect.unit and e.mode is Mode.ACTIVE
                for e in made.effects
            )
            # One that says that it serves the bundle has no candidate of it.
            is_others = member.phase in (MemberPhase.SKIPPED, *FAILED) or member.has_swapped
            assert effect.unit in taken or has_gone_on or is_others, effect.unit


@settings(max_examples=60)
@given(STEPS)
def test_no_journey_that_is_aborted_leaves_a_device_on_a_version_in_between_unless_it_is_named(
    steps: list[tuple[Event, float]],
) -> None:
    made = journey(BRINGING, steps, False)
    if made.rollout.state not in (State.RUNNING, State.PAUSED):
        return
    made.tell(Abort("bob", "not now"))
    for unit, digest in made.asked.items():
        phase = made.rollout.members[unit].phase
        is_named = phase in FAILED
        is_others = made.rollout.members[unit].assignment_id is None
        assert digest == NEW or is_named or is_others, (unit, phase)
