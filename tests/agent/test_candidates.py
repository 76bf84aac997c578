"""What stands beside the bundle that serves: warm, as a shadow, or as the way back."""

from dataclasses import replace

import pytest
from wherry_agent.core import installs, reporting, trying
from wherry_agent.core.acceptance import Fit
from wherry_agent.core.effects import MakePermanent
from wherry_agent.core.inputs import Shadowed, StepFailed, Stopping
from wherry_agent.core.model import Released, Surroundings
from wherry_agent.shell import status
from wherry_agent.shell.blob_store import BlobStore
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import Mode, SlotRelease
from wherry_protocol.messages.reported import Outcome, Phase

from tests.agent.bundles import layer_image
from tests.agent.director import hardware_class
from tests.agent.harbour import afloat
from tests.engine import programs


@pytest.fixture
def aboard():
    """A device on which 1.0.0 was confirmed, that bundle, and a 1.1.0 that nobody assigned."""
    harbour = afloat()
    old = harbour.director.made("1.0.0", seed=1)
    harbour.install(old)
    return harbour, old, harbour.director.made("1.1.0", seed=2)


def forget_chunks(harbour):
    """From now on nothing can be fetched."""
    for topic in [t for t in harbour.broker.retained if "/b/" in t]:
        del harbour.broker.retained[topic]


def effects_of(harbour, what):
    """What the host is asked for while `what` happens."""
    seen = []
    execute = harbour.loops.execute
    harbour.loops.execute = lambda effect: (seen.append(type(effect).__name__), execute(effect))[1]
    what()
    harbour.loops.execute = execute
    return seen


SWITCH = ["LoadCandidate", "Swap", "WatchTrial"]  # the first one finds it loaded


def test_a_warm_candidate_is_switched_in_by_one_pointer_without_fetch_or_test(aboard):
    harbour, old, new = aboard
    harbour.assign(new, mode=Mode.WARM)
    assert harbour.model.candidate_mode is Mode.WARM
    assert harbour.serving == old.digest
    forget_chunks(harbour)
    wish = [harbour.director.assignment(new)]
    assert effects_of(harbour, lambda: harbour.wish(wish)) == SWITCH
    assert harbour.model.phase is Phase.TRIAL
    harbour.serve_well(new)
    model = harbour.model
    assert (model.outcome, model.candidate, model.candidate_mode) == (Outcome.CONFIRMED, None, None)
    assert model.previous is not None
    assert (model.previous.version, model.is_previous_loaded) == ("1.0.0", True)


def test_switching_back_to_the_loaded_previous_is_one_pointer_too(aboard):
    harbour, old, new = aboard
    harbour.install(new)
    forget_chunks(harbour)
    wish = [harbour.director.assignment(old, attempt=1)]
    assert effects_of(harbour, lambda: harbour.wish(wish)) == SWITCH
    harbour.serve_well(old)
    assert harbour.serving == old.digest
    assert harbour.model.previous.version == "1.1.0"
    assert harbour.model.is_previous_loaded


@pytest.mark.parametrize("mode", [Mode.WARM, Mode.SHADOW])
def test_a_restart_keeps_a_candidate_and_loads_it_again(aboard, mode):
    harbour, old, new = aboard
    harbour.assign(new, mode=mode, shadow_sample_bp=2_500)
    harbour.cut().boot()
    assert harbour.loops.programs.keys() == {old.digest, new.digest}
    shadows = {"digits": (new.digest, 2_500)} if mode is Mode.SHADOW else {}
    assert harbour.loops.shadows == shadows
    harbour.connect()
    model = harbour.model
    assert (model.outcome, model.candidate_mode) == (Outcome.READY, mode)
    forget_chunks(harbour)
    wish = [harbour.director.assignment(new)]
    assert effects_of(harbour, lambda: harbour.wish(wish)) == SWITCH


@pytest.mark.parametrize("mode", [Mode.WARM, Mode.SHADOW])
def test_assigning_what_serves_drops_the_candidate_and_unloads_it(aboard, mode):
    harbour, old, new = aboard
    harbour.assign(new, mode=mode)
    harbour.wish([harbour.director.assignment(old, attempt=1)])
    model = harbour.model
    assert (model.outcome, model.candidate) == (Outcome.CONFIRMED, None)
    assert harbour.loops.programs.keys() == {old.digest}
    assert harbour.loops.shadows == {}
    assert harbour.loops.history == [("digits", old.digest)]


def test_another_candidate_takes_the_place_of_the_one_that_stood(aboard):
    harbour, old, new = aboard
    harbour.assign(new, mode=Mode.SHADOW)
    newer = harbour.director.made("1.2.0", seed=3)
    harbour.assign(newer, mode=Mode.WARM)
    assert harbour.model.candidate.version == "1.2.0"
    assert harbour.loops.programs.keys() == {old.digest, newer.digest}
    assert harbour.loops.shadows == {}


def test_warm_becomes_shadow_and_back_where_it_stands(aboard):
    harbour, _, new = aboard
    harbour.assign(new, mode=Mode.WARM)
    for mode, sample_bp in ((Mode.SHADOW, 10_000), (Mode.SHADOW, 100), (Mode.WARM, 10_000)):
        wish = [harbour.director.assignment(new, mode=mode, shadow_sample_bp=sample_bp)]
        assert effects_of(harbour, lambda wish=wish: harbour.wish(wish)) == ["Shadow"]
        assert harbour.model.candidate_mode is mode
        shadow = harbour.loops.shadows.get("digits")
        assert shadow == ((new.digest, sample_bp) if mode is Mode.SHADOW else None)


def test_a_candidate_waits_until_the_trial_of_what_serves_has_ended(aboard):
    harbour, _, new = aboard
    harbour.assign(new)
    newer = harbour.director.made("1.2.0", seed=3)
    harbour.assign(newer, mode=Mode.WARM)
    assert (harbour.model.phase, harbour.model.code) == (Phase.TRIAL, Code.CONFLICT)
    harbour.serve_well(new)
    assert harbour.serving == new.digest
    assert harbour.model.candidate_mode is Mode.WARM


def test_a_shadow_that_fails_ends_alone_and_what_serves_is_not_touched(aboard):
    harbour, old, new = aboard
    harbour.assign(new, mode=Mode.SHADOW)
    swaps = list(harbour.loops.history)
    text = "digits 1.1.0: WH_ERR_MEMORY as a shadow"
    harbour.live.post(StepFailed("self", "digits", new.digest, Code.ENGINE_CRASH, text))
    harbour.settle()
    model = harbour.model
    assert (model.outcome, model.code, model.reason) == (Outcome.REJECTED, Code.ENGINE_CRASH, text)
    assert model.candidate is None
    assert harbour.loops.shadows == {}
    assert harbour.loops.programs.keys() == {old.digest}
    assert harbour.loops.history == swaps
    harbour.assign(new, mode=Mode.SHADOW, attempt=1)
    assert harbour.model.code is Code.PENALTY


def test_a_shadow_that_ends_the_agent_three_times_is_given_up(aboard):
    harbour, old, new = aboard
    harbour.assign(new, mode=Mode.SHADOW)
    for _ in range(3):
        harbour.cut().boot()
        assert harbour.loops.shadows == {"digits": (new.digest, 10_000)}
    harbour.cut().boot().connect()
    assert harbour.loops.shadows == {}
    assert (harbour.model.outcome, harbour.model.code) == (
        Outcome.REJECTED, Code.UNCONFIRMED_STARTS,
    )  # fmt: skip
    assert harbour.serving == old.digest


@pytest.mark.parametrize("sign", [Stopping(), None], ids=["good order", "it has run"])
def test_a_shadow_that_runs_or_is_stopped_in_good_order_outlives_any_number_of_starts(aboard, sign):
    harbour, _, new = aboard
    harbour.assign(new, mode=Mode.SHADOW)
    for _ in range(5):
        harbour.live.post(sign or Shadowed("self", "digits", new.digest))
        harbour.settle()
        harbour.cut().boot()
    assert harbour.loops.shadows == {"digits": (new.digest, 10_000)}


def test_a_shadow_needs_something_that_serves():
    harbour = afloat()
    harbour.assign(harbour.director.made("1.0.0", seed=1), mode=Mode.SHADOW)
    assert (harbour.model.outcome, harbour.model.code) == (Outcome.REJECTED, Code.CONFLICT)


def test_a_bundle_with_other_outputs_can_stand_warm_and_is_no_shadow(aboard):
    harbour, _, _ = aboard
    other = harbour.director.made("2.0.0", image=layer_image(4, outputs=6))
    harbour.assign(other, mode=Mode.SHADOW)
    assert (harbour.model.outcome, harbour.model.code) == (Outcome.REJECTED, Code.CONTRACT)
    harbour.wish([harbour.director.assignment(other, mode=Mode.WARM)])
    assert harbour.model.outcome is Outcome.READY
    harbour.wish([harbour.director.assignment(other, mode=Mode.SHADOW)])
    assert harbour.model.code is Code.CONTRACT


@pytest.mark.parametrize(
    ("scales", "outcome"),
    [
        ({"x": (0.25, 4), "y": (0.5, 3)}, Outcome.READY),
        ({"x": (0.0, 4)}, Outcome.REJECTED),
        ({"y": (0.0, 4)}, Outcome.REJECTED),
    ],
)
def test_a_bundle_of_other_scales_is_a_shadow_and_one_that_states_none_is_not(
    aboard, scales, outcome
):
    harbour, _, _ = aboard
    image = programs.scaled(layer_image(4), **scales)
    harbour.assign(harbour.director.made("1.2.0", image=image), mode=Mode.SHADOW)
    assert harbour.model.outcome is outcome
    assert (harbour.model.code is Code.CONTRACT) is (outcome is Outcome.REJECTED)


def test_memory_counts_active_previous_and_candidate_and_refuses_a_warm_one_by_a_sentence(aboard):
    harbour, old, new = aboard
    harbour.install(new)
    newer = harbour.director.made("1.2.0", seed=3)
    harbour.publish(newer)
    need = sum(
        one.manifest.arena_bytes
        + sum(b.size_bytes for b in one.manifest.blobs if b.name.startswith("piece"))
        for one in (old, new, newer)
    )
    tight = {"hardware_class": hardware_class(memory_budget_bytes=need - 1)}
    warm = [harbour.director.assignment(newer, mode=Mode.WARM)]
    harbour.wish(warm, **tight)
    assert (harbour.model.outcome, harbour.model.code) == (Outcome.REJECTED, Code.OVER_MEMORY)
    assert "1.1.0" in harbour.model.reason
    assert str(need - 1) in harbour.model.reason
    release = SlotRelease(model="digits", manifest_digest=old.digest)
    again = [harbour.director.assignment(newer, mode=Mode.WARM, attempt=1)]
    harbour.wish(again, releases=(release,), **tight)
    harbour.wish([replace(again[0], attempt=2)], releases=(release,), **tight)
    assert harbour.model.candidate_mode is Mode.WARM
    assert not harbour.model.is_previous_loaded


def test_where_there_is_no_memory_for_three_an_active_one_takes_the_place_of_previous(aboard):
    harbour, _, new = aboard
    harbour.install(new)
    newer = harbour.director.made("1.2.0", seed=3)
    harbour.publish(newer)
    each = new.manifest.arena_bytes + sum(
        b.size_bytes for b in new.manifest.blobs if b.name.startswith("piece")
    )
    tight = {"hardware_class": hardware_class(memory_budget_bytes=each + each // 2)}
    harbour.wish([harbour.director.assignment(newer)], **tight)
    assert harbour.loops.programs.keys() == {new.digest, newer.digest}
    harbour.serve_well(newer)
    assert harbour.model.outcome is Outcome.CONFIRMED
    assert not harbour.model.is_previous_loaded
    assert harbour.loops.programs.keys() == {newer.digest}
    harbour.wish([harbour.director.assignment(new, attempt=1)], **tight)
    harbour.serve_well(new)
    assert harbour.serving == new.digest


def test_decommission_unloads_previous_and_keeps_its_bytes(aboard):
    harbour, old, new = aboard
    harbour.install(new)
    release = SlotRelease(model="digits", manifest_digest=old.digest)
    harbour.wish([harbour.director.assignment(new)], releases=(release,))
    assert harbour.loops.programs.keys() == {new.digest}
    assert harbour.model.previous.version == "1.0.0"
    assert not harbour.model.is_previous_loaded
    harbour.cut().boot().connect()
    assert harbour.loops.programs.keys() == {new.digest}
    forget_chunks(harbour)
    harbour.wish([harbour.director.assignment(old, attempt=1)])
    harbour.serve_well(old)
    assert harbour.serving == old.digest


def test_purging_deletes_the_bytes_too(aboard):
    harbour, old, new = aboard
    harbour.install(new)
    release = SlotRelease(model="digits", manifest_digest=old.digest, is_purged=True)
    harbour.wish([harbour.director.assignment(new)], releases=(release,))
    assert harbour.model.previous is None
    assert not any(old.digest.hex() in name for name in harbour.disk.files)
    assert any(new.digest.hex() in name for name in harbour.disk.files)


def test_what_serves_and_the_way_back_of_a_trial_are_never_released(aboard):
    harbour, old, new = aboard
    harbour.assign(new)
    releases = tuple(
        SlotRelease(model="digits", manifest_digest=one.digest, is_purged=True)
        for one in (old, new)
    )
    harbour.wish([harbour.director.assignment(new)], releases=releases)
    assert {old.digest, new.digest} <= harbour.loops.programs.keys()
    harbour.loops.doing[new.digest] = {"error_count": 50}
    harbour.tick(0.1)
    assert harbour.serving == old.digest
    harbour.tick(60)
    assert old.digest in harbour.loops.programs


def test_a_release_that_came_during_a_trial_is_followed_when_it_has_ended(aboard):
    harbour, old, new = aboard
    harbour.assign(new)
    release = SlotRelease(model="digits", manifest_digest=old.digest)
    harbour.wish([harbour.director.assignment(new)], releases=(release,))
    harbour.serve_well(new)
    assert harbour.model.outcome is Outcome.CONFIRMED
    assert harbour.loops.programs.keys() == {new.digest}


def test_a_candidate_that_no_assignment_names_any_more_can_be_released(aboard):
    harbour, old, new = aboard
    harbour.assign(new, mode=Mode.WARM)
    release = SlotRelease(model="digits", manifest_digest=new.digest)
    harbour.wish([harbour.director.assignment(new, mode=Mode.WARM)], releases=(release,))
    assert harbour.model.candidate_mode is Mode.WARM
    harbour.wish([], releases=(release,))
    assert harbour.model.candidate is None
    assert harbour.loops.programs.keys() == {old.digest}


def test_a_candidate_under_keys_that_were_rotated_is_held_to_the_new_ones(aboard):
    harbour, old, new = aboard
    harbour.assign(new, mode=Mode.WARM)
    director = harbour.director
    stale = director.assignment(new)
    director.release_keys = [type(director.director_key).from_seed(b"r" * 32)] * 1
    harbour.broker.say(director.topics.root(2), director.rotate(), is_retained=True)
    harbour.settle()
    harbour.wish([stale])
    assert harbour.model.outcome is Outcome.REJECTED
    assert 200 <= harbour.model.code < 300
    assert harbour.serving == old.digest


def test_the_pointer_never_moves_for_a_candidate_whose_load_failed_after_a_boot(aboard):
    harbour, old, new = aboard
    harbour.assign(new, mode=Mode.WARM)
    harbour.cut().boot()
    gone = StepFailed("self", "digits", new.digest, Code.PROGRAM, "it does not load", True)
    harbour.live.post(gone)
    harbour.settle()
    harbour.connect()
    assert (harbour.model.outcome, harbour.model.code) == (Outcome.REJECTED, Code.PROGRAM)
    assert harbour.model.candidate is None
    assert ("digits", new.digest) not in harbour.loops.history
    assert harbour.serving == old.digest


def test_each_release_is_followed_once_and_a_purge_that_is_done_scans_nothing_more(
    aboard, monkeypatch
):
    harbour, old, new = aboard
    harbour.install(new)
    gone = [bytes([n]) * 32 for n in range(20)]
    releases = tuple(
        SlotRelease(model="digits", manifest_digest=digest, is_purged=True)
        for digest in (old.digest, *gone)
    )
    followed, scanned = [], []
    step_model, collect = installs.step_model, BlobStore.collect
    monkeypatch.setattr(
        installs, "step_model", lambda *given: (followed.append(given[-1]), step_model(*given))
    )
    monkeypatch.setattr(
        BlobStore, "collect", lambda *given: (scanned.append(given), collect(*given))[1]
    )
    wish = [harbour.director.assignment(new)]
    document = harbour.director.sealed(
        harbour.director.desired(harbour.ashore, wish, releases=releases)
    )
    harbour.send(document)
    assert len([one for one in followed if isinstance(one, Released)]) == len(releases)
    assert harbour.model.previous is None
    assert len(scanned) == 2  # for the one that was there, and for a new document
    harbour.send(document)
    assert len(scanned) == 2


@pytest.mark.parametrize(("unit", "is_loaded"), [("self", True), ("mcu1", False)])
def test_after_a_confirmation_only_the_agent_itself_keeps_the_way_back_loaded(
    aboard, unit, is_loaded
):
    harbour, old, new = aboard
    harbour.assign(new)
    live = harbour.live.agent.units["self"]
    around = Surroundings(
        unit=unit, trust=harbour.live.agent.trust, fit=Fit(hardware_class(), 1, 1), now_us=0,
        serving=new.manifest, previous=old.manifest,
    )  # fmt: skip
    confirmed, effects = trying.confirm(live.models["digits"], around)
    [kept] = [one.kept for one in effects if isinstance(one, MakePermanent)]
    assert kept == (old.digest if is_loaded else None)
    told = replace(live, memory=replace(live.memory, unit=unit), models={"digits": confirmed})
    agent = replace(
        harbour.live.agent,
        units={unit: told},
        identity=replace(harbour.live.agent.identity, classes={unit: hardware_class()}),
    )
    [model] = reporting.build(agent, told, 1, 0).models
    shown = status.describe(agent, 0, True)["units"][unit]["models"]["digits"]
    assert model.is_previous_loaded is shown["is_previous_loaded"] is is_loaded
