"""The breaker: who answers when a confirmed bundle fails again and again, in virtual time."""

import itertools
from dataclasses import replace

import pytest
from wherry_agent.core.breaker import (
    TRANSITIONS,
    Breaker,
    BreakerLimits,
    Happened,
    State,
    step,
)
from wherry_agent.core.inputs import Diverted, Ran
from wherry_agent.shell.status import describe
from wherry_protocol.codec import encode
from wherry_protocol.errors import Code
from wherry_protocol.messages.observed import Kind, Severity
from wherry_protocol.messages.reported import Outcome, Phase
from wherry_protocol.messages.rpc import ResetBreakerRequest, Verb

from tests.agent.bundles import layer_image
from tests.agent.harbour import SETTINGS, Harbour, afloat

LIMITS = BreakerLimits(failures_max=5, open_us=60_000_000, successes_min=2)
GOOD, BAD = Happened.SUCCEEDED, Happened.FAILED


@pytest.mark.parametrize(("state", "happened"), list(itertools.product(State, Happened)))
def test_every_pair_of_state_and_event_has_a_rule(state, happened):
    assert callable(TRANSITIONS[state, happened])


def test_the_table_has_no_row_too_many():
    assert len(TRANSITIONS) == len(State) * len(Happened)


def walked(*events: Happened, breaker: Breaker = Breaker(b""), now_us: int = 0) -> Breaker:  # noqa: B008
    for happened in events:
        breaker = step(breaker, happened, LIMITS, now_us)
    return breaker


@pytest.mark.parametrize(
    ("events", "state", "in_a_row"),
    [
        ([BAD] * 4, State.CLOSED, 4),
        ([BAD] * 5, State.OPEN, 0),
        ([BAD] * 4 + [GOOD] + [BAD] * 4, State.CLOSED, 4),
        ([BAD] * 4 + [GOOD] + [BAD] * 5, State.OPEN, 0),
        ([BAD] * 5 + [GOOD] * 9, State.OPEN, 0),
        ([BAD] * 5 + [Happened.RESET], State.CLOSED, 0),
        ([BAD] * 3 + [Happened.RESET], State.CLOSED, 0),
    ],
)
def test_failures_in_a_row_open_and_a_good_one_begins_anew(events, state, in_a_row):
    breaker = walked(*events)
    assert (breaker.state, breaker.in_a_row) == (state, in_a_row)


def test_it_stays_open_for_exactly_its_time():
    opened = walked(*[BAD] * 5, now_us=7)
    assert opened.until_us == 60_000_007
    assert step(opened, Happened.WAITED, LIMITS, 60_000_006).state is State.OPEN
    assert step(opened, Happened.WAITED, LIMITS, 60_000_007).state is State.HALF_OPEN


@pytest.mark.parametrize(
    ("events", "state", "opened_count"),
    [
        ([GOOD], State.HALF_OPEN, 1),
        ([GOOD, GOOD], State.CLOSED, 1),
        ([BAD], State.OPEN, 2),
        ([GOOD, BAD], State.OPEN, 2),
        ([Happened.RESET], State.CLOSED, 1),
    ],
)
def test_half_open_two_good_ones_close_and_one_failure_opens(events, state, opened_count):
    half = step(walked(*[BAD] * 5), Happened.WAITED, LIMITS, 60_000_000)
    after = walked(*events, breaker=half, now_us=60_000_000)
    assert (after.state, after.opened_count) == (state, opened_count)


# --- through the agent


@pytest.fixture
def aboard(harbour: Harbour):
    """1.1.0 was confirmed over 1.0.0."""
    old = harbour.live.agent.units["self"].models["digits"].record.active.manifest_digest
    new = harbour.director.made("1.1.0", seed=2)
    harbour.install(new)
    return harbour, old, new.digest


def run(harbour: Harbour, digest: bytes, *outcomes: bool) -> None:
    harbour.live.post(Ran("self", "digits", digest, outcomes))
    harbour.settle()


def broken(harbour: Harbour, digest: bytes) -> None:
    run(harbour, digest, *[False] * 5)


def shown(harbour: Harbour) -> dict:
    status = describe(harbour.live.agent, harbour.now_us, True)
    return status["units"]["self"]["models"]["digits"]["breaker"]


def told(harbour: Harbour) -> list[tuple[Severity, Code]]:
    return [(e.severity, e.code) for e in harbour.events() if e.kind is Kind.BREAKER]


def test_five_failures_in_a_row_let_the_previous_version_answer_and_everybody_knows(aboard):
    harbour, old, new = aboard
    run(harbour, new, False, False, False, False, True, False, False, False, False)
    assert (shown(harbour)["state"], shown(harbour)["in_a_row"]) == ("closed", 4)
    assert harbour.loops.diverted == {}
    run(harbour, new, False)
    assert harbour.loops.diverted == {"digits": old}
    assert old in harbour.loops.programs
    assert shown(harbour) == {
        "state": "open", "in_a_row": 0, "opened_count": 1, "fallback": old.hex(),
    }  # fmt: skip
    assert told(harbour) == [(Severity.ERROR, Code.BREAKER_OPEN)]
    model = harbour.model
    assert (model.code, model.outcome) == (Code.BREAKER_OPEN, Outcome.CONFIRMED)
    assert "1.0.0 answers instead" in model.reason
    assert model.active is not None
    assert model.active.manifest_digest == new


def test_after_its_time_the_bundle_answers_again_and_two_good_inferences_close(aboard):
    harbour, old, new = aboard
    broken(harbour, new)
    harbour.tick(59.9)
    assert harbour.loops.diverted == {"digits": old}
    harbour.tick(0.1)
    assert harbour.loops.diverted == {}
    assert shown(harbour)["state"] == "half-open"
    run(harbour, new, True, True)
    assert shown(harbour)["state"] == "closed"
    assert (harbour.model.code, harbour.model.reason) == (Code.OK, "")
    assert told(harbour)[-1] == (Severity.INFO, Code.OK)
    assert old in harbour.loops.programs  # the way back stays one pointer away


def test_a_failure_while_half_open_opens_for_another_time(aboard):
    harbour, old, new = aboard
    broken(harbour, new)
    harbour.tick(60)
    run(harbour, new, True, False)
    assert harbour.loops.diverted == {"digits": old}
    harbour.tick(59)
    assert shown(harbour)["state"] == "open"
    assert shown(harbour)["opened_count"] == 2
    harbour.tick(1)
    assert shown(harbour)["state"] == "half-open"


def test_without_a_previous_version_nobody_stands_in(harbour):
    digest = harbour.serving
    broken(harbour, digest)
    assert harbour.loops.diverted == {"digits": None}
    assert "nothing answers instead" in harbour.model.reason


def test_the_safe_output_is_named_where_the_manifest_has_one():
    harbour = afloat()
    bundle = harbour.director.made(contract_changes={"safe_output": bytes(4)})
    harbour.install(bundle)
    broken(harbour, bundle.digest)
    assert harbour.loops.diverted == {"digits": None}
    assert "its safe output answers instead" in harbour.model.reason


def test_a_previous_version_of_another_contract_does_not_stand_in(harbour):
    wider = harbour.director.made("2.0.0", image=layer_image(3, outputs=5))
    harbour.install(wider)
    broken(harbour, wider.digest)
    assert harbour.loops.diverted == {"digits": None}


def test_a_previous_version_that_cannot_be_loaded_is_told_and_nobody_stands_in(aboard):
    harbour, _, new = aboard
    broken(harbour, new)
    harbour.live.post(Diverted("self", "digits", new, None))
    harbour.settle()
    assert shown(harbour)["fallback"] is None
    assert [e.text for e in harbour.events() if "cannot be loaded" in e.text]


def test_in_a_trial_a_breach_reverts_and_no_breaker_opens(harbour):
    old = harbour.serving
    new = harbour.director.made("1.1.0", seed=2)
    harbour.assign(new)
    assert harbour.model.phase is Phase.TRIAL
    run(harbour, new.digest, *[False] * 50)
    assert harbour.loops.diverted == {}
    harbour.loops.doing[new.digest] = {"error_count": 50}
    harbour.tick(0.1)
    assert harbour.serving == old
    assert told(harbour) == []


def test_outcomes_of_a_bundle_that_does_not_serve_count_for_nobody(aboard):
    harbour, old, new = aboard
    run(harbour, old, *[False] * 50)
    assert shown(harbour)["state"] == "closed"
    broken(harbour, new)
    run(harbour, new, *[True] * 50)
    assert shown(harbour)["state"] == "open"


def test_an_update_ends_the_breaker_of_the_version_before(aboard):
    harbour, _, new = aboard
    broken(harbour, new)
    better = harbour.director.made("1.2.0", seed=3)
    harbour.install(better)
    assert harbour.serving == better.digest
    assert (shown(harbour)["state"], shown(harbour)["opened_count"]) == ("closed", 0)
    assert harbour.model.code is Code.OK


def test_a_restart_closes_it(aboard):
    harbour, _, new = aboard
    broken(harbour, new)
    harbour.cut().boot().connect()
    assert shown(harbour)["state"] == "closed"
    assert harbour.serving == new


def test_without_breakers_nothing_is_counted():
    harbour = afloat(settings=replace(SETTINGS, breaker=None))
    bundle = harbour.director.made("1.0.0")
    harbour.install(bundle)
    broken(harbour, bundle.digest)
    assert harbour.loops.diverted == {}
    assert shown(harbour) is None


# --- the signed request


def ask_reset(harbour: Harbour, model: str = "digits") -> tuple[Code, str]:
    body = encode(ResetBreakerRequest(model=model))
    harbour.say("rpc", harbour.director.request(harbour.ashore, Verb.RESET_BREAKER, body))
    harbour.settle()
    reply = harbour.replies()[-1]
    return reply.code, reply.text


def test_the_director_closes_an_open_breaker(aboard):
    harbour, _, new = aboard
    broken(harbour, new)
    assert ask_reset(harbour) == (
        Code.OK, "the breaker of digits was open, now it is closed",
    )  # fmt: skip
    assert harbour.loops.diverted == {}
    assert shown(harbour)["state"] == "closed"
    assert harbour.questions == []


def test_a_reset_of_what_no_breaker_guards_is_answered_with_the_reason(aboard):
    harbour, _, _ = aboard
    code, text = ask_reset(harbour, "words")
    assert code is Code.NOT_FOUND
    assert "words" in text
    harbour.say("rpc", harbour.director.request(harbour.ashore, Verb.RESET_BREAKER, b"\x00"))
    harbour.settle()
    assert harbour.replies()[-1].code is not Code.OK
