"""The whole way of bundles, in the glass: assigned, fetched, tested, swapped, confirmed."""

import pytest
from wherry_agent.core.effects import Wanted
from wherry_protocol.errors import Code, WherryError
from wherry_protocol.manifest import Policy
from wherry_protocol.messages.desired import Mode, TelemetryConfig
from wherry_protocol.messages.reported import Outcome, Phase
from wherry_protocol.messages.rpc import Verb
from wherry_protocol.messages.trust import ReportRequest

from tests.agent.bundles import layer_image
from tests.agent.director import NOW_S, ORG, hardware_class
from tests.agent.harbour import SimHost, afloat


@pytest.fixture
def at_sea():
    """A device on which 1.0.0 was confirmed, and that bundle."""
    harbour = afloat()
    bundle = harbour.director.made("1.0.0", seed=1)
    return harbour.install(bundle), bundle


def test_a_bundle_is_fetched_tested_swapped_and_confirmed():
    harbour = afloat()
    bundle = harbour.director.made("1.0.0")
    harbour.assign(bundle)
    assert harbour.model.phase is Phase.TRIAL
    assert harbour.serving == bundle.digest
    harbour.serve_well(bundle)
    model = harbour.model
    assert (model.phase, model.outcome, model.code) == (Phase.IDLE, Outcome.CONFIRMED, Code.OK)
    assert model.active is not None
    assert model.active.version == "1.0.0"


def test_a_repeated_document_and_a_refreshed_one_do_nothing(at_sea):
    harbour, bundle = at_sea
    swaps = list(harbour.loops.history)
    again = harbour.broker.retained[harbour.topic("desired")]
    harbour.send(again)
    harbour.wish([harbour.director.assignment(bundle)])
    harbour.tick(60)
    assert harbour.loops.history == swaps
    assert harbour.model.outcome is Outcome.CONFIRMED
    assert harbour.reported.revision == harbour.director.revision


def test_the_way_back_to_the_previous_bundle_needs_no_network(at_sea):
    harbour, old = at_sea
    new = harbour.director.made("1.1.0", seed=2)
    harbour.install(new)
    for topic in [t for t in harbour.broker.retained if "/b/" in t]:
        del harbour.broker.retained[topic]
    harbour.wish([harbour.director.assignment(old, attempt=1)])
    harbour.serve_well(old)
    assert harbour.serving == old.digest
    assert harbour.model.outcome is Outcome.CONFIRMED
    assert harbour.broker.subscribed_count_max <= 8


def test_layers_that_the_device_has_are_not_sent_again(at_sea):
    harbour, _ = at_sea
    first = harbour.director.made("1.1.0", seed=2, ballast_rows=3000)
    harbour.install(first)
    backbone = max(first.manifest.blobs, key=lambda blob: blob.size_bytes)
    retrained = harbour.director.made("1.1.1", seed=2, ballast_rows=3000, author="again")
    topic = harbour.director.topics.chunk(backbone.digest, 0)
    asked: list[str] = []
    subscribe = harbour.broker.subscribe
    harbour.broker.subscribe = lambda topics: (asked.extend(topics), subscribe(topics))[1]  # type: ignore[method-assign]
    harbour.install(retrained)
    assert harbour.serving == retrained.digest
    assert topic not in asked


def test_a_transfer_resumes_after_a_cut_with_what_is_on_disk(at_sea):
    harbour, _ = at_sea
    bundle = harbour.director.made("1.1.0", seed=2, ballast_rows=40_000)
    chunks = harbour.director.chunks(bundle)
    keep = [t for t in chunks if "/b/" in t]
    withheld = keep[len(keep) // 2 :]
    harbour.publish(bundle, without=tuple(withheld))
    harbour.wish([harbour.director.assignment(bundle)])
    assert harbour.model.phase is Phase.FETCHING
    progress = harbour.model.progress_permille
    assert 0 < progress < 1000
    blobs = [Wanted(blob.digest, blob.size_bytes) for blob in bundle.manifest.blobs]
    found = harbour.live.store.survey(blobs, is_content_wanted=False)
    topics = harbour.director.topics
    have = {topics.chunk(digest, n) for digest, chunks in found.chunks.items() for n in chunks}
    assert have
    asked: list[str] = []
    subscribe = harbour.broker.subscribe
    harbour.broker.subscribe = lambda topics: (asked.extend(topics), subscribe(topics))[1]  # type: ignore[method-assign]
    harbour.cut().boot().connect()
    harbour.publish(bundle)
    harbour.serve_well(bundle)
    assert harbour.serving == bundle.digest
    assert not set(asked) & have
    assert harbour.broker.subscribed_count_max <= 8


def test_several_models_are_updated_and_revert_each_on_its_own(at_sea):
    harbour, digits = at_sea
    words = harbour.director.made("2.0.0", model="words", seed=7)
    better = harbour.director.made("1.1.0", seed=2)
    harbour.publish(words)
    harbour.publish(better)
    harbour.wish([harbour.director.assignment(one) for one in (words, better)])
    harbour.loops.doing[words.digest] = {"good_count": 50}
    harbour.loops.doing[better.digest] = {"error_count": 50}
    harbour.tick(0.1)
    assert harbour.loops.serving == {"digits": digits.digest, "words": words.digest}
    harbour.cut().boot()
    assert harbour.loops.serving == {"digits": digits.digest, "words": words.digest}


def test_stop_holds_installs_leaves_trials_alone_and_lets_go_on(at_sea):
    harbour, _ = at_sea
    bundle = harbour.director.made("1.1.0", seed=2)
    harbour.broker.say(harbour.director.topics.stop, harbour.director.stop(True), is_retained=True)
    harbour.assign(bundle)
    assert harbour.model.code is Code.STOPPED
    harbour.cut().boot().connect()
    assert harbour.reported.stop_sequence == 1
    assert harbour.serving != bundle.digest
    old = harbour.broker.retained[harbour.director.topics.stop]
    go_on = harbour.director.stop(False)
    harbour.broker.say(harbour.director.topics.stop, go_on, is_retained=True)
    harbour.settle()
    harbour.broker.say(harbour.director.topics.stop, old)
    harbour.settle()
    harbour.serve_well(bundle)
    assert harbour.serving == bundle.digest


def test_an_isolated_unit_serves_no_inference_and_installs_nothing_until_it_is_free(at_sea):
    harbour, _ = at_sea
    bundle = harbour.director.made("1.1.0", seed=2)
    harbour.publish(bundle)
    harbour.wish([harbour.director.assignment(bundle)], is_isolated=True)
    assert harbour.loops.is_isolated
    assert harbour.reported.is_isolated
    assert harbour.model.phase is Phase.IDLE
    harbour.cut().boot().connect()
    assert harbour.loops.is_isolated
    harbour.wish([harbour.director.assignment(bundle)])
    assert not harbour.loops.is_isolated
    harbour.serve_well(bundle)
    assert harbour.serving == bundle.digest


def test_a_full_disk_keeps_the_old_bundle_and_the_install_goes_on_when_there_is_room(at_sea):
    harbour, old = at_sea
    bundle = harbour.director.made("1.1.0", seed=2)
    harbour.disk.is_full = True
    harbour.assign(bundle)
    harbour.tick(5)
    assert harbour.serving == old.digest
    assert Code.STORAGE in {event.code for event in harbour.events()}
    harbour.disk.is_full = False
    for _ in range(4):
        harbour.tick(40)
    harbour.serve_well(bundle)
    assert harbour.serving == bundle.digest
    assert harbour.model.outcome is Outcome.CONFIRMED


def test_a_revision_that_cannot_be_remembered_is_not_followed(at_sea):
    harbour, old = at_sea
    before = harbour.reported.revision
    harbour.disk.is_full = True
    harbour.assign(harbour.director.made("1.1.0", seed=2))
    harbour.tick(1.1)
    assert harbour.reported.revision == before
    assert harbour.serving == old.digest


def test_an_active_bundle_that_cannot_be_loaded_any_more_gives_way_to_the_previous(at_sea):
    harbour, old = at_sea
    new = harbour.director.made("1.1.0", seed=2)
    harbour.install(new)
    unloadable = new.digest
    harbour.cut()
    real = SimHost._load

    def load(host, effect):
        if effect.slot.manifest_digest == unloadable:
            raise WherryError("engine ABI 1 is not spoken here any more", Code.PROGRAM)
        real(host, effect)

    SimHost._load = load  # type: ignore[method-assign]
    try:
        harbour.boot()
    finally:
        SimHost._load = real  # type: ignore[method-assign]
    assert harbour.serving == old.digest


def test_a_warm_candidate_stands_ready_and_is_swapped_in_without_another_byte(at_sea):
    harbour, old = at_sea
    bundle = harbour.director.made("1.1.0", seed=2)
    harbour.assign(bundle, mode=Mode.WARM)
    model = harbour.model
    assert (model.outcome, model.candidate and model.candidate.version) == (Outcome.READY, "1.1.0")
    assert harbour.serving == old.digest
    for topic in [t for t in harbour.broker.retained if "/b/" in t]:
        del harbour.broker.retained[topic]
    harbour.wish([harbour.director.assignment(bundle)])
    harbour.serve_well(bundle)
    assert harbour.serving == bundle.digest


def test_a_self_test_over_the_class_budget_rejects(at_sea):
    harbour, old = at_sea
    harbour.loops.latency_us_p95 = 1_000_001
    harbour.assign(harbour.director.made("1.1.0", seed=2))
    assert harbour.model.code is Code.OVER_LATENCY
    assert harbour.serving == old.digest


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"memory_budget_bytes": 10}, Code.OVER_MEMORY),
        ({"storage_budget_bytes": 300_000}, Code.OVER_STORAGE),
        ({"latency_us_max": 99}, Code.OVER_LATENCY),
    ],
    ids=str,
)
def test_a_class_that_is_too_small_rejects_and_says_which_limit(at_sea, changes, code):
    harbour, old = at_sea
    bundle = harbour.director.made("1.1.0", seed=2, ballast_rows=3000)
    harbour.publish(bundle)
    harbour.wish([harbour.director.assignment(bundle)], hardware_class=hardware_class(**changes))
    assert harbour.model.code is code
    assert harbour.model.reason
    assert harbour.serving == old.digest


def test_a_changed_contract_needs_a_new_major_version(at_sea):
    harbour, _ = at_sea
    wider = layer_image(3, outputs=5)
    harbour.assign(harbour.director.made("1.1.0", image=wider))
    assert harbour.model.code is Code.CONTRACT
    bundle = harbour.director.made("2.0.0", image=wider)
    harbour.install(bundle)
    assert harbour.serving == bundle.digest


def test_a_device_has_a_limit_of_models_and_makes_room_for_new_ones(at_sea):
    harbour, _ = at_sea
    base = harbour.director.made("1.0.0", seed=9)
    for number in range(40):
        harbour.wish([harbour.director.assignment(base, model=f"m{number}")])
    assert len(harbour.live.agent.units["self"].models) <= 32
    assert harbour.loops.serving["digits"] is not None


def test_reported_is_sent_at_most_once_a_second_while_a_transfer_goes_on(at_sea):
    harbour, _ = at_sea
    bundle = harbour.director.made("1.1.0", seed=2, ballast_rows=60_000)
    topic = harbour.topic("reported")
    before = sum(name == topic for name, _ in harbour.broker.published)
    harbour.assign(bundle)
    sent = sum(name == topic for name, _ in harbour.broker.published) - before
    assert len(harbour.director.chunks(bundle)) > 25
    assert sent < 10


def test_everybody_reports_again_when_asked_each_after_its_own_part_of_the_time(at_sea):
    harbour, _ = at_sea
    topic = harbour.topic("reported")
    before = sum(name == topic for name, _ in harbour.broker.published)
    request = ReportRequest(org=ORG, epoch=0, issued_s=NOW_S, nonce=bytes(16), spread_s=10)
    harbour.broker.say(harbour.director.topics.report, harbour.director.sealed(request))
    harbour.settle()
    for _ in range(11):
        harbour.tick(1)
    assert sum(name == topic for name, _ in harbour.broker.published) == before + 1


def test_a_policy_forbids_a_verb_and_a_bound_interval(at_sea):
    harbour, _ = at_sea
    bundle = harbour.director.made(
        "1.1.0", seed=2, policy=Policy(rpc_verbs=(Verb.STATUS,), telemetry_s_min=120)
    )
    harbour.install(bundle)
    harbour.say("rpc", harbour.director.request(harbour.ashore, Verb.INFER))
    harbour.settle()
    assert [reply.code for reply in harbour.replies()] == [Code.POLICY]
    harbour.wish([], telemetry=TelemetryConfig(performance_s=1, resources_s=600))
    assert harbour.configured[-1].telemetry == TelemetryConfig(performance_s=120, resources_s=600)
