"""One test per attack of the attack table, against the real core with a hostile broker, director
or both. To survive: the active bundle serves on, the refusal reaches `reported` or the event
topic with its code, nothing unverified is kept as a bundle."""

from dataclasses import replace

import pytest
from wherry_agent.core.clock import STALE_US
from wherry_protocol import cose
from wherry_protocol.bundle import Bundle
from wherry_protocol.codec import content_type, encode
from wherry_protocol.errors import Code
from wherry_protocol.manifest import Manifest, Role
from wherry_protocol.messages.reported import Outcome, Phase
from wherry_protocol.messages.rpc import Verb
from wherry_protocol.messages.trust import TrustRole
from wherry_protocol.sealed import seal

from tests.agent.bundles import make_bundle
from tests.agent.director import NOW_S, Director, key
from tests.agent.harbour import Harbour, afloat
from tests.agent.verdicts import assert_refused, assert_rejected, old_serves_on

# --- arbitrary software, unapproved update, key loss


@pytest.mark.parametrize(
    ("signers", "code"),
    [("a stranger", Code.THRESHOLD), ("the director", Code.THRESHOLD)],
)
def test_arbitrary_software_attack(harbour, signers, code):
    director = harbour.director
    keys = {"a stranger": [key(director.random)], "the director": [director.director_key]}
    bundle = director.add(make_bundle("1.1.0", seed=2), keys[signers])
    harbour.assign(bundle)
    assert_rejected(harbour, code)
    assert not [n for n in harbour.disk.files if bundle.digest.hex() in n]


def test_arbitrary_software_attack_keeps_no_byte_of_an_unsigned_blob(harbour):
    bundle = harbour.director.add(make_bundle("1.1.0", seed=2), [key(harbour.director.random)])
    before = harbour.disk.bytes_written
    harbour.assign(bundle)
    old = next(iter(harbour.director.bundles.values()))
    new = bundle.blobs.keys() - old.blobs.keys()
    assert new
    assert not [name for name in harbour.disk.files if any(d.hex() in name for d in new)]
    assert harbour.disk.bytes_written - before < 8192  # records only


def test_unapproved_update_attack_by_release_keys_alone(harbour):
    """Release keys sign a desired document: the role does not fit."""
    desired = harbour.director.desired(harbour.ashore)
    forged = seal(desired, TrustRole.RELEASE, harbour.director.release_keys[0])
    harbour.send(forged)
    assert_refused(harbour, Code.WRONG_ROLE)


def test_key_loss_below_threshold_one_of_two_keys_signs_alone():
    harbour = afloat(director=Director(release_threshold=2))
    both = harbour.director.release_keys
    harbour.install(harbour.director.add(make_bundle("1.0.0"), both))
    assert harbour.model.outcome is Outcome.CONFIRMED
    bundle = harbour.director.add(make_bundle("1.1.0", seed=2), both[:1])
    harbour.assign(bundle)
    assert_rejected(harbour, Code.THRESHOLD)


def test_key_loss_below_threshold_the_same_key_counts_once():
    harbour = afloat(director=Director(release_threshold=2))
    one = harbour.director.release_keys[0]
    harbour.assign(harbour.director.add(make_bundle("1.0.0"), [one, one]))
    assert harbour.model.code is Code.THRESHOLD
    assert harbour.serving is None


# --- rollback, fast-forward, expiry, time


def test_rollback_attack_replays_an_old_desired_document(harbour):
    old = harbour.broker.retained[harbour.topic("desired")]
    harbour.install(harbour.director.made("1.1.0", seed=2))
    serving = harbour.serving
    harbour.send(old)
    harbour.tick(1.1)
    assert harbour.reported.refusal_code is Code.ROLLBACK
    assert harbour.serving == serving
    harbour.cut().boot().connect().send(old)
    harbour.tick(1.1)
    assert harbour.reported.refusal_code is Code.ROLLBACK
    assert harbour.serving == serving


def test_rollback_attack_with_other_content_under_the_same_revision(harbour):
    revision = harbour.reported.revision
    harbour.wish([], revision=revision)
    assert_refused(harbour, Code.ROLLBACK)


def test_rollback_attack_with_an_old_root(harbour):
    first = harbour.director.roots[0]
    second = harbour.director.rotate()
    topics = harbour.director.topics
    harbour.broker.say(topics.root(2), second, is_retained=True)
    harbour.settle()
    assert harbour.reported.root_number == 2
    forked = Director(seed=harbour.director.seed)
    forged = forked.rotate(epoch=7)
    harbour.broker.subscribed.add(topics.root(2))
    for root in (first, forged):
        harbour.broker.say(topics.root(2), root)
        harbour.settle()
    assert harbour.reported.root_number == 2
    assert Code.ROLLBACK in {event.code for event in harbour.events()}


def test_offline_rollback_attack_installs_nothing_before_the_nonce_is_answered(harbour):
    bundle = harbour.director.made("1.1.0", seed=2)
    harbour.cut()
    harbour.answers_time = False
    harbour.boot().connect().assign(bundle)
    harbour.broker.say(harbour.director.topics.time, harbour.director.fleet_time())
    harbour.settle()
    harbour.tick(1.1)
    assert harbour.reported.refusal_code is Code.TIME_UNKNOWN
    assert old_serves_on(harbour)
    answer = harbour.director.time_answer(harbour.ashore, harbour.reported.nonce)
    harbour.say("rpc", answer)
    harbour.settle()
    harbour.serve_well(bundle)
    assert harbour.serving == bundle.digest
    assert harbour.reported.refusal_code is Code.OK


def test_offline_rollback_attack_with_an_older_boot_answer(harbour):
    stale = harbour.director.time_answer(harbour.ashore, harbour.live.agent.clock.nonce)
    harbour.cut()
    harbour.answers_time = False
    harbour.boot().connect()
    harbour.say("rpc", stale)
    harbour.settle()
    assert harbour.live.agent.clock.base_s is None
    assert Code.REPLAY in {event.code for event in harbour.events()}


def test_fast_forward_attack_is_recovered_from_by_a_root_with_a_new_epoch(harbour):
    harbour.wish([], revision=(1 << 63) - 1)
    assert harbour.reported.revision == (1 << 63) - 1
    assert old_serves_on(harbour)
    harbour.say("rpc", harbour.director.request(harbour.ashore, Verb.STATUS, expires_s=1 << 33))
    bundle = harbour.director.made("1.1.0", seed=2)
    harbour.assign(bundle)
    assert harbour.reported.refusal_code is Code.ROLLBACK
    root = harbour.director.rotate(epoch=1)
    harbour.broker.say(harbour.director.topics.root(2), root, is_retained=True)
    harbour.settle()
    assert harbour.reported.epoch == 1
    harbour.install(bundle)
    assert harbour.serving == bundle.digest


def test_fast_forward_attack_on_time_is_recovered_from_by_a_new_epoch(harbour):
    far = NOW_S + 50 * 365 * 86_400
    harbour.broker.say(harbour.director.topics.time, harbour.director.fleet_time(far))
    harbour.settle()
    harbour.wish([])
    assert harbour.reported.refusal_code is Code.EXPIRED
    assert old_serves_on(harbour)
    root = harbour.director.rotate(epoch=1)
    harbour.broker.say(harbour.director.topics.root(2), root, is_retained=True)
    harbour.settle()
    harbour.tick(1.1)
    bundle = harbour.director.made("1.1.0", seed=2)
    harbour.install(bundle)
    assert harbour.serving == bundle.digest


def test_fast_forward_attack_on_the_stop_is_recovered_from_by_a_new_epoch(harbour):
    """What waited for the stop waits for the new director's word, and no longer than that."""
    harbour.director.stop_sequence = (1 << 63) - 2
    harbour.broker.say(harbour.director.topics.stop, harbour.director.stop(True))
    harbour.settle()
    bundle = harbour.director.made("1.1.0", seed=2)
    harbour.assign(bundle)
    assert harbour.model.code is Code.STOPPED
    assert old_serves_on(harbour)
    root = harbour.director.rotate(epoch=1)
    harbour.broker.say(harbour.director.topics.root(2), root, is_retained=True)
    harbour.settle()
    harbour.assign(bundle)
    harbour.tick(1.1)
    harbour.serve_well(bundle)
    assert harbour.serving == bundle.digest


def test_a_bundle_that_was_on_its_way_is_not_to_blame_for_a_new_epoch(harbour):
    """Its content keys go with the old document. It was rejected for want of them, and the new
    document did not bring it back, since it was answered."""
    bundle = harbour.director.made("1.1.0", seed=2)
    manifest = harbour.director.topics.chunk(bundle.digest, 0)
    harbour.publish(bundle, without=(manifest,))
    harbour.wish([harbour.director.assignment(bundle)])
    assert harbour.model.phase is Phase.FETCHING
    root = harbour.director.rotate(epoch=1)
    harbour.broker.say(harbour.director.topics.root(2), root, is_retained=True)
    harbour.settle()
    harbour.publish(bundle)
    harbour.tick(1.1)
    assert harbour.model.outcome is not Outcome.REJECTED
    harbour.wish([harbour.director.assignment(bundle)]).serve_well(bundle)
    assert harbour.serving == bundle.digest


def test_expired_metadata_attack_with_a_desired_document(harbour):
    harbour.wish([], expires_s=NOW_S - 1)
    assert_refused(harbour, Code.EXPIRED)


def test_expired_metadata_attack_with_a_root(harbour):
    later = NOW_S + 366 * 86_400
    harbour.broker.say(harbour.director.topics.time, harbour.director.fleet_time(later))
    harbour.settle()
    harbour.wish([], expires_s=later + 86_400)
    assert_refused(harbour, Code.EXPIRED)


def test_clock_tricks_attack_cannot_set_the_fleet_time_back(harbour):
    later = NOW_S + 3 * 86_400
    harbour.broker.say(harbour.director.topics.time, harbour.director.fleet_time(later))
    harbour.settle()
    harbour.tick(1.1)
    harbour.broker.say(harbour.director.topics.time, harbour.director.fleet_time(NOW_S))
    harbour.settle()
    assert (harbour.live.agent.clock.now_s(harbour.now_us) or 0) >= later
    harbour.cut()
    harbour.answers_time = False
    harbour.boot().connect()
    old = harbour.director.time_answer(harbour.ashore, harbour.reported.nonce or b"", time_s=NOW_S)
    harbour.say("rpc", old)
    harbour.settle()
    assert harbour.live.agent.clock.base_s is None


def test_indefinite_freeze_attack_is_told(harbour):
    assert not harbour.reported.is_trust_stale
    harbour.tick(STALE_US / 1e6 + 1)
    assert harbour.reported.is_trust_stale
    assert Code.STALE_TRUST in {event.code for event in harbour.events()}
    now_s = harbour.live.agent.clock.now_s(harbour.now_us) or 0
    harbour.broker.say(harbour.director.topics.time, harbour.director.fleet_time(now_s + 1))
    harbour.settle()
    harbour.tick(1.1)
    assert not harbour.reported.is_trust_stale


def test_indefinite_freeze_attack_that_withholds_a_root_stops_installs(harbour):
    harbour.broker.say(
        harbour.director.topics.time, harbour.director.fleet_time(NOW_S + 60, root_number=2)
    )
    harbour.settle()
    harbour.assign(harbour.director.made("1.1.0", seed=2))
    assert_refused(harbour, Code.STALE_TRUST)
    root = harbour.director.rotate(with_new_director=False)
    harbour.broker.say(harbour.director.topics.root(2), root, is_retained=True)
    harbour.settle()
    assert harbour.model.phase is Phase.TRIAL


# --- key rotation


def test_key_rotation_attack_with_a_root_signed_only_by_the_new_keys(harbour):
    stranger = Director(seed=99)
    harbour.broker.say(harbour.director.topics.root(2), stranger.rotate(), is_retained=True)
    harbour.settle()
    assert harbour.reported.root_number == 1
    assert Code.THRESHOLD in {event.code for event in harbour.events()}


def test_key_rotation_attack_that_skips_a_number(harbour):
    harbour.director.rotate()
    third = harbour.director.rotate()
    harbour.broker.say(harbour.director.topics.root(2), third)
    harbour.settle()
    assert harbour.reported.root_number == 1
    assert Code.ROOT_CHAIN in {event.code for event in harbour.events()}


def test_key_rotation_attack_is_followed_over_several_roots_and_outlives_a_reboot(harbour):
    for number in (2, 3, 4):
        root = harbour.director.rotate()
        harbour.broker.retained[harbour.director.topics.root(number)] = root
    harbour.cut().connect()
    assert harbour.reported.root_number == 4
    harbour.cut().boot().connect()
    assert harbour.reported.root_number == 4
    bundle = harbour.director.made("1.1.0", seed=2)
    assert harbour.install(bundle).serving == bundle.digest


# --- wrong targets and confusion


@pytest.mark.parametrize(
    "changes", [{"connection": "gw2"}, {"unit": "mcu"}, {"org": "emca"}], ids=str
)
def test_wrong_device_attack(harbour, changes):
    harbour.wish([], **changes)
    assert_refused(harbour, Code.WRONG_TARGET)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"budgets": {}}, Code.NO_BUDGET),
        ({"engine_abi": 999}, Code.WRONG_ABI),
        ({"model": "other"}, Code.CONTRACT),
    ],
)
def test_incompatible_device_attack(harbour, changes, code):
    bundle = harbour.director.made("1.1.0", seed=2, **changes)
    harbour.assign(bundle) if "model" not in changes else harbour.publish(bundle)
    if "model" in changes:
        harbour.wish([harbour.director.assignment(bundle, model="digits")])
    assert_rejected(harbour, code)


def test_type_confusion_attack_passes_a_manifest_as_a_desired_document(harbour):
    bundle = make_bundle("1.1.0")
    signed = cose.sign1(
        bundle.manifest_bytes,
        content_type=content_type(Manifest),
        role=TrustRole.DIRECTOR,
        key=harbour.director.director_key,
    )
    harbour.send(signed)
    assert_refused(harbour, Code.WRONG_ROLE)


def test_slot_confusion_attack_passes_an_asset_as_the_program(harbour):
    """The golden outputs are declared as the program: they do not add up to its digest."""
    bundle = make_bundle("1.1.0", seed=2)
    manifest = bundle.manifest
    blobs = tuple(
        replace(blob, role=Role.ASSET) if blob.role is Role.PROGRAM else blob
        for blob in manifest.blobs
    )
    asset = next(blob for blob in blobs if blob.role is Role.GOLDEN_INPUTS)
    confused = replace(manifest, blobs=(*blobs, replace(asset, role=Role.PROGRAM, name="p.bin")))
    harbour.assign(_signed(harbour, confused, bundle))
    assert_rejected(harbour, Code.DIGEST)


def _signed(harbour: Harbour, manifest: Manifest, bundle: Bundle) -> Bundle:
    return harbour.director.add(Bundle(encode(manifest), b"", (), bundle.blobs))
