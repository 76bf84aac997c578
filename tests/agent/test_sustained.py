"""A confirmed bundle that goes on failing gives its place back by itself, in virtual time."""

from dataclasses import replace

import pytest
from wherry_agent.core.acceptance import memory_bytes
from wherry_agent.core.inputs import Ran, StepFailed
from wherry_agent.core.sustained import DEFAULT_LIMITS, Sustained, add, close, is_proved
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import Mode, SlotRelease, SwapWindow
from wherry_protocol.messages.observed import Kind, Severity
from wherry_protocol.messages.reported import Outcome, Phase

from tests.agent.bundles import layer_image
from tests.agent.director import NOW_S, hardware_class
from tests.agent.harbour import SETTINGS, Harbour, afloat

WINDOW_S = 30
POOR = (True, True, True, False) * 5  # 25 % of 20, never five in a row
FAIR = (True,) * 18 + (False,) * 2  # 10 %, which is not above it
FEW = (False, True) * 4
LATER = SwapWindow(not_before_s=NOW_S + 3600)


def through(*windows: tuple[bool, ...], was_open: bool = False) -> Sustained | None:
    """What is remembered after these windows."""
    found: Sustained | None = None
    for number, outcomes in enumerate(windows):
        begun = found or Sustained(b"", number * WINDOW_S * 1_000_000)
        ends_us = (number + 1) * WINDOW_S * 1_000_000
        assert close(add(begun, outcomes), was_open, DEFAULT_LIMITS, ends_us - 1) is not None
        found = close(add(begun, outcomes), was_open, DEFAULT_LIMITS, ends_us)
    return found


@pytest.mark.parametrize(
    ("windows", "is_bad"),
    [
        ([POOR] * 3, False),
        ([POOR] * 4, True),
        ([POOR] * 9, True),
        ([POOR] * 3 + [FAIR] + [POOR] * 3, False),
        ([POOR] * 3 + [FEW] + [POOR] * 3, False),  # too few say nothing
        ([POOR] * 3 + [()] + [POOR] * 3, False),
        ([FAIR] * 9, False),
        ([POOR, FAIR] + [POOR] * 4, True),
    ],
)
def test_every_window_of_two_minutes_must_be_bad_with_enough_inferences(
    windows: list[tuple[bool, ...]], is_bad: bool
) -> None:
    found = through(*windows)
    assert (found is not None and is_proved(found, DEFAULT_LIMITS)) is is_bad


def test_a_window_in_which_the_breaker_was_open_is_bad() -> None:
    found = through((), (), (), (), was_open=True)
    assert found is not None
    assert is_proved(found, DEFAULT_LIMITS)


# --- through the agent


@pytest.fixture
def aboard(harbour: Harbour):
    """1.1.0 was confirmed over 1.0.0."""
    old = harbour.serving
    new = harbour.director.made("1.1.0", seed=2)
    harbour.install(new)
    return harbour, old, new


def serve(harbour: Harbour, digest: bytes, outcomes: tuple[bool, ...], windows: int) -> None:
    """So many windows, each with these inferences in its middle."""
    for _ in range(windows):
        harbour.live.post(Ran("self", "digits", digest, outcomes))
        harbour.settle()
        for _ in range(3):
            harbour.tick(WINDOW_S / 3)


def reverts(harbour: Harbour) -> list[tuple[Severity, Code, str]]:
    return [(e.severity, e.code, e.text) for e in harbour.events() if e.kind is Kind.REVERTED]


def test_a_confirmed_bundle_that_fails_for_two_minutes_gives_its_place_back_and_says_so(aboard):
    harbour, old, new = aboard
    serve(harbour, new.digest, POOR, 3)
    assert harbour.serving == new.digest
    serve(harbour, new.digest, POOR, 1)
    assert harbour.serving == old
    model = harbour.model
    assert (model.outcome, model.code) == (Outcome.REVERTED, Code.ERROR_RATE)
    assert model.reason == "more than 10% of its inferences failed for 120 s"
    said = f"digits: {model.reason}; 1.0.0 serves instead"
    assert set(reverts(harbour)) == {(Severity.ERROR, Code.ERROR_RATE, said)}
    harbour.cut().boot().connect()
    assert harbour.serving == old
    assert harbour.model.outcome is Outcome.REVERTED, "its document does not bring it again"


def test_an_owner_without_breakers_has_the_two_minutes_nevertheless():
    harbour = afloat(settings=replace(SETTINGS, breaker=None))
    old, new = (harbour.director.made(f"1.{n}.0", seed=1 + n) for n in (0, 1))
    harbour.install(old)
    harbour.install(new)
    serve(harbour, new.digest, (False,) * 20, 3)
    assert harbour.serving == new.digest
    serve(harbour, new.digest, (False,) * 20, 1)
    assert harbour.serving == old.digest
    assert harbour.model.code is Code.ERROR_RATE
    assert not [e for e in harbour.events() if e.kind is Kind.BREAKER]


def test_what_never_fails_for_two_minutes_on_end_stays(aboard):
    harbour, _, new = aboard
    for outcomes in (POOR, POOR, POOR, FAIR, POOR, POOR, POOR, FEW, POOR):
        serve(harbour, new.digest, outcomes, 1)
    assert harbour.serving == new.digest
    assert reverts(harbour) == []


def test_a_restart_begins_the_two_minutes_anew(aboard):
    harbour, _, new = aboard
    serve(harbour, new.digest, POOR, 3)
    harbour.cut().boot().connect()
    serve(harbour, new.digest, POOR, 3)
    assert harbour.serving == new.digest


def fail_when_asked(harbour: Harbour, digest: bytes, seconds: int) -> None:
    """Second after second: whatever it is asked fails, and an open breaker asks nothing."""
    for _ in range(seconds):
        if harbour.loops.diverted == {}:
            harbour.live.post(Ran("self", "digits", digest, (False,) * 5))
            harbour.settle()
        harbour.tick(1.0)


def test_a_bundle_whose_breaker_opens_again_and_again_for_two_minutes_goes_back(aboard):
    harbour, old, new = aboard
    fail_when_asked(harbour, new.digest, 119)
    assert harbour.serving == new.digest
    fail_when_asked(harbour, new.digest, 2)
    assert harbour.serving == old
    assert harbour.loops.diverted == {}


def test_a_breaker_that_opened_once_and_is_asked_nothing_more_sends_nobody_back(aboard):
    harbour, _, new = aboard
    fail_when_asked(harbour, new.digest, 1)
    for _ in range(300):
        harbour.tick(1.0)
    assert harbour.serving == new.digest


def test_without_a_way_back_of_the_same_contract_it_stays(harbour):
    wider = harbour.director.made("2.0.0", image=layer_image(3, outputs=5))
    harbour.install(wider)
    serve(harbour, wider.digest, POOR, 9)
    assert harbour.serving == wider.digest
    assert reverts(harbour) == []


def test_a_version_below_the_security_floor_never_comes_back(harbour):
    safe = harbour.director.made("1.1.0", seed=2, security_floor="1.1.0")
    harbour.install(safe)
    serve(harbour, safe.digest, POOR, 9)
    assert harbour.serving == safe.digest


def test_the_device_does_not_take_it_again_before_its_penalty_is_over(aboard):
    harbour, old, new = aboard
    serve(harbour, new.digest, POOR, 4)
    harbour.assign(new, attempt=7)
    assert harbour.serving == old
    assert [one.manifest_digest for one in harbour.live.agent.units["self"].penalties] == [
        new.digest
    ]


def reverted_digests(harbour: Harbour) -> set[bytes | None]:
    return {e.manifest_digest for e in harbour.events() if e.kind is Kind.REVERTED}


@pytest.mark.parametrize("mode", [Mode.WARM, Mode.SHADOW])
def test_what_goes_back_is_told_of_and_the_candidate_beside_it_stands_as_before(aboard, mode):
    harbour, old, new = aboard
    beside = harbour.director.made("1.2.0", seed=3)
    harbour.assign(beside, mode=mode)
    answer = harbour.model.assignment_id
    serve(harbour, new.digest, POOR, 4)
    assert harbour.serving == old
    model = harbour.model
    assert (model.outcome, model.assignment_id, model.code) == (Outcome.READY, answer, Code.OK)
    assert (model.candidate.manifest_digest, model.candidate_mode) == (beside.digest, mode)
    assert reverted_digests(harbour) == {new.digest}
    [penalty] = harbour.live.agent.units["self"].penalties
    assert penalty.manifest_digest == new.digest
    harbour.cut().boot().connect()
    assert harbour.serving == old
    assert harbour.model.candidate_mode is mode


def test_what_goes_back_after_another_was_rejected_does_not_take_its_answer(aboard):
    harbour, old, new = aboard
    bad = harbour.director.made("1.2.0", seed=3, golden_is_wrong=True)
    harbour.assign(bad)
    before = harbour.model
    assert before.outcome is Outcome.REJECTED
    serve(harbour, new.digest, POOR, 4)
    assert harbour.serving == old
    model = harbour.model
    assert (model.outcome, model.assignment_id) == (Outcome.REJECTED, before.assignment_id)
    assert (model.code, model.reason) == (before.code, before.reason)
    assert reverted_digests(harbour) == {new.digest}


@pytest.mark.parametrize("window", [None, LATER], ids=["fetched", "staged"])
def test_it_goes_back_while_another_version_is_on_its_way_which_comes_nevertheless(aboard, window):
    harbour, old, new = aboard
    other = harbour.director.made("1.2.0", seed=3, ballast_rows=3000)
    chunks = tuple(harbour.director.chunks(other))
    harbour.publish(other, without=chunks[-1:] if window is None else ())
    harbour.wish([harbour.director.assignment(other, window=window)])
    before = harbour.model
    assert before.phase is (Phase.FETCHING if window is None else Phase.STAGED)
    serve(harbour, new.digest, POOR, 4)
    assert harbour.serving == old
    assert reverted_digests(harbour) == {new.digest}
    model = harbour.model
    assert (model.phase, model.assignment_id) == (before.phase, before.assignment_id)
    assert (model.active.manifest_digest, model.previous) == (old, None)
    assert new.digest not in harbour.loops.programs
    harbour.publish(other)
    harbour.tick(1 if window is None else 3600)
    harbour.serve_well(other)
    model = harbour.model
    assert (model.outcome, model.previous.version) == (Outcome.CONFIRMED, "1.0.0")
    assert harbour.serving == other.digest


@pytest.mark.parametrize("deadline_us", [0, 77_000], ids=["loaded", "loaded anew"])
def test_what_goes_back_to_the_version_that_waits_for_its_window_has_answered(aboard, deadline_us):
    harbour, old, new = aboard
    back = harbour.director.bundles[old]
    harbour.assign(back, attempt=1, window=LATER, deadline_us=deadline_us)
    assert harbour.model.phase is Phase.STAGED
    answer = harbour.model.assignment_id
    serve(harbour, new.digest, POOR, 4)
    assert harbour.serving == old
    model = harbour.model
    assert (model.phase, model.outcome) == (Phase.IDLE, Outcome.CONFIRMED)
    assert (model.assignment_id, model.active.manifest_digest) == (answer, old)
    harbour.cut().boot().connect()
    harbour.tick(3600)
    assert harbour.serving == old
    assert harbour.model.outcome is Outcome.CONFIRMED


def test_a_bundle_that_cannot_be_loaded_any_more_is_named_by_its_event_too(aboard):
    harbour, old, new = aboard
    gone = StepFailed("self", "digits", new.digest, Code.PROGRAM, "damaged", is_unloadable=True)
    harbour.live.post(gone)
    harbour.settle()
    assert harbour.serving == old
    assert reverted_digests(harbour) == {new.digest}


def unload_way_back(harbour: Harbour, old: bytes, new) -> None:
    """The controller needs it no more: it stays on disk."""
    release = (SlotRelease(model="digits", manifest_digest=old),)
    harbour.wish([harbour.director.assignment(new)], releases=release)
    assert old not in harbour.loops.programs


def test_a_way_back_that_was_unloaded_is_loaded_before_anything_is_given_up(aboard):
    harbour, old, new = aboard
    unload_way_back(harbour, old, new)
    serve(harbour, new.digest, POOR, 4)
    assert harbour.serving == old
    assert harbour.loops.programs.keys() == {old}
    assert harbour.model.outcome is Outcome.REVERTED
    harbour.cut().boot()
    assert harbour.serving == old


def test_what_fails_goes_on_where_its_way_back_has_rotted_on_disk_also_after_a_reboot(aboard):
    harbour, old, new = aboard
    image = f"images/{harbour.loops.programs[old][1].program_digest.hex()}"
    unload_way_back(harbour, old, new)
    harbour.disk.write(image, b"rot", 100)
    harbour.disk.fsync(image)
    serve(harbour, new.digest, POOR, 4)
    assert harbour.serving == new.digest
    assert harbour.model.outcome is Outcome.CONFIRMED
    told = {(e.severity, e.code, e.text) for e in harbour.events() if e.kind is Kind.STORAGE}
    text = "digits 1.0.0: the image is damaged on disk; so 1.1.0 goes on, although more than 10% "
    text += "of its inferences failed for 120 s"
    assert told == {(Severity.ERROR, Code.DIGEST, text)}
    harbour.cut().boot()
    assert harbour.serving == new.digest


def test_a_candidate_for_which_the_way_back_leaves_no_memory_goes_by_name():
    harbour = afloat()
    old = harbour.director.made("1.0.0", seed=1, ballast_rows=800)
    new, beside = (harbour.director.made(f"1.{n}.0", seed=1 + n) for n in (1, 2))
    harbour.install(old)
    harbour.install(new)
    harbour.publish(beside)
    budget = memory_bytes(old.manifest) + memory_bytes(beside.manifest) - 1
    tight = {"hardware_class": hardware_class(memory_budget_bytes=budget)}
    release = (SlotRelease(model="digits", manifest_digest=old.digest),)
    for attempt in (1, 2):  # the first is refused, and releases
        wish = harbour.director.assignment(beside, mode=Mode.WARM, attempt=attempt)
        harbour.wish([wish], releases=release, **tight)
    assert harbour.model.outcome is Outcome.READY
    serve(harbour, new.digest, POOR, 4)
    assert harbour.serving == old.digest
    model = harbour.model
    assert (model.outcome, model.code) == (Outcome.REJECTED, Code.OVER_MEMORY)
    assert model.candidate is None
    assert harbour.loops.programs.keys() == {old.digest}
