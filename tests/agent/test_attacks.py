"""One test per attack of the attack table, against the real core with a hostile broker, director
or both. To survive: the active bundle serves on, the refusal reaches `reported` or the event
topic with its code, nothing unverified is kept as a bundle."""

from dataclasses import replace
from hashlib import sha256

import pytest
from wherry_agent.core.clock import STALE_US
from wherry_protocol import cose
from wherry_protocol.bundle import Bundle
from wherry_protocol.codec import content_type, decode, encode
from wherry_protocol.errors import Code
from wherry_protocol.manifest import Manifest, Role
from wherry_protocol.messages.desired import Desired
from wherry_protocol.messages.observed import Ack
from wherry_protocol.messages.reported import Outcome, Phase
from wherry_protocol.messages.rpc import Verb
from wherry_protocol.messages.trust import TrustRole
from wherry_protocol.sealed import seal

from tests.agent.bundles import make_bundle, sign_bundle
from tests.agent.director import NOW_S, ORG, Director, hardware_class, key
from tests.agent.harbour import SETTINGS, Harbour, afloat


@pytest.fixture
def harbour() -> Harbour:
    """A device on which 1.0.0 was confirmed."""
    ready = afloat()
    ready.install(ready.director.made("1.0.0", seed=1))
    assert ready.model.outcome is Outcome.CONFIRMED
    return ready


def old_serves_on(harbour: Harbour) -> bool:
    active = harbour.model.active
    return (
        active is not None
        and active.version == "1.0.0"
        and (harbour.serving == active.manifest_digest)
    )


def assert_rejected(harbour: Harbour, code: Code) -> None:
    model = harbour.model
    assert (model.phase, model.outcome, model.code) == (Phase.IDLE, Outcome.REJECTED, code)
    assert old_serves_on(harbour)
    assert code in {event.code for event in harbour.events()}


def assert_refused(harbour: Harbour, code: Code) -> None:
    harbour.tick(1.1)
    assert harbour.reported.refusal_code is code
    assert code in {event.code for event in harbour.events()}
    assert old_serves_on(harbour)


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


def test_unapproved_update_by_release_keys_alone(harbour):
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
    harbour.wish([], revision=1 << 63)
    assert harbour.reported.revision == 1 << 63
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


def test_key_rotation_is_followed_over_several_roots_and_outlives_a_reboot(harbour):
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


# --- content


def test_mix_and_match_attack_joins_the_manifest_of_one_with_a_blob_of_another(harbour):
    one, other = make_bundle("1.1.0", seed=2), make_bundle("1.2.0", seed=3)
    signed = harbour.director.add(one)
    weights, theirs = _weights(one), _weights(other)
    assert len(one.blobs[weights]) == len(other.blobs[theirs])
    mixed = replace(signed, blobs={**one.blobs, weights: other.blobs[theirs]})
    for topic, segment in harbour.director.chunks(mixed).items():
        harbour.broker.retained[topic] = segment
    harbour.wish([harbour.director.assignment(signed)])
    assert_rejected(harbour, Code.DIGEST)


def _weights(bundle: Bundle) -> bytes:
    """The digest of the program's last piece."""
    return [blob.digest for blob in bundle.manifest.blobs if blob.role is Role.PROGRAM][-1]


def test_partial_bundle_attack_never_activates_and_names_what_is_missing(harbour):
    bundle = harbour.director.made("1.1.0", seed=2, ballast_rows=9000)
    withheld = harbour.director.topics.chunk(bundle.manifest.blobs[1].digest, 1)
    harbour.publish(bundle, without=(withheld,))
    harbour.wish([harbour.director.assignment(bundle)])
    harbour.tick(6)
    (missing,) = harbour.reported.missing
    assert (missing.digest, missing.chunks) == (bundle.manifest.blobs[1].digest, (1,))
    assert old_serves_on(harbour)
    harbour.tick(130)
    harbour.tick(130)
    assert harbour.model.code is Code.NO_PROGRESS
    assert old_serves_on(harbour)
    harbour.publish(bundle)
    harbour.tick(60)
    harbour.serve_well(bundle)
    assert harbour.serving == bundle.digest


@pytest.mark.parametrize("added", [1, 40_000])
def test_endless_data_attack_sends_more_than_was_announced(harbour, added):
    bundle = harbour.director.made("1.1.0", seed=2)
    before = harbour.disk.bytes_written
    for topic, segment in harbour.director.chunks(bundle).items():
        harbour.broker.retained[topic] = segment + bytes(added)
    harbour.wish([harbour.director.assignment(bundle)])
    for _ in range(50):
        for topic in list(harbour.broker.subscribed):
            harbour.broker.say(topic, bytes(added))
        harbour.settle()
    assert harbour.disk.bytes_written - before < 16_384
    assert old_serves_on(harbour)
    assert Code.DECRYPT in {event.code for event in harbour.events()}


def test_extra_data_attack_with_a_blob_that_grows_past_its_signed_size(harbour):
    bundle = make_bundle("1.1.0", seed=2)
    digest = _weights(bundle)
    grown = replace(bundle, blobs={**bundle.blobs, digest: bundle.blobs[digest] + b"x"})
    harbour.assign(harbour.director.add(grown))
    harbour.tick(6)
    assert digest in {one.digest for one in harbour.reported.missing}
    assert old_serves_on(harbour)


def test_check_then_replace_attack_is_seen_when_the_image_is_mapped(harbour):
    bundle = harbour.director.made("1.1.0", seed=2)
    name = f"images/{bundle.manifest.program_digest.hex()}"
    assemble = harbour.live.store.assemble

    def assemble_then_replace(manifest: Manifest) -> None:
        assemble(manifest)
        harbour.disk.files[name] = bytes(len(harbour.disk.files[name]))

    harbour.live.store = _Replacing(harbour.live.store, assemble_then_replace)  # type: ignore[assignment]
    harbour.assign(bundle)
    assert_rejected(harbour, Code.DIGEST)


class _Replacing:
    """A blob store whose file is swapped right after it was verified."""

    def __init__(self, store, assemble):
        self._store = store
        self.assemble = assemble

    def __getattr__(self, name):
        return getattr(self._store, name)


def test_check_then_replace_attack_on_disk_is_seen_at_the_next_boot(harbour):
    old = harbour.serving
    bundle = harbour.director.made("1.1.0", seed=2)
    harbour.install(bundle)
    name = f"images/{bundle.manifest.program_digest.hex()}"
    image = harbour.disk.files[name]
    harbour.disk.files[name] = image[:-1] + bytes([image[-1] ^ 1])
    harbour.cut().boot()
    assert harbour.serving == old
    harbour.connect().serve_well(bundle)
    assert harbour.serving == bundle.digest  # fetched again


def test_malformed_program_attack(harbour):
    image = bytearray(make_bundle("1.1.0", seed=2).pieces(Role.PROGRAM))
    image[32] ^= 0xFF  # the tensor count
    good = make_bundle("1.1.0", seed=2)
    digest = sha256(bytes(image)).digest()
    blob = replace(
        next(b for b in good.manifest.blobs if b.role is Role.PROGRAM),
        digest=digest, size_bytes=len(image),
    )  # fmt: skip
    others = tuple(b for b in good.manifest.blobs if b.role is not Role.PROGRAM)
    manifest = replace(good.manifest, blobs=(blob, *others), program_digest=digest)
    bundle = Bundle(encode(manifest), b"", (), {**good.blobs, digest: bytes(image)})
    harbour.assign(harbour.director.add(bundle))
    assert_rejected(harbour, Code.PROGRAM)


def test_floor_trap_attack_a_failed_trial_does_not_raise_the_floor(harbour):
    bundle = harbour.director.made("1.1.0", seed=2, security_floor="1.1.0")
    harbour.assign(bundle)
    harbour.serve_well(bundle, 10, error_count=10)
    assert harbour.model.outcome is Outcome.REVERTED
    assert old_serves_on(harbour)
    harbour.cut().boot().connect()
    assert old_serves_on(harbour)


def test_floor_holds_after_confirmation(harbour):
    old = next(iter(harbour.director.bundles.values()))
    harbour.install(harbour.director.made("1.1.0", seed=2, security_floor="1.1.0"))
    harbour.assign(old, attempt=1)
    model = harbour.model
    assert (model.outcome, model.code) == (Outcome.REJECTED, Code.FLOOR)
    assert model.active is not None
    assert model.active.version == "1.1.0"


# --- transfer


def test_slow_retrieval_attack_gives_up_reports_and_tries_again_later(harbour):
    bundle = harbour.director.made("1.1.0", seed=2, ballast_rows=40_000)
    harbour.wish([harbour.director.assignment(bundle)])
    chunks = harbour.director.chunks(bundle)
    harbour.tick(130)
    assert harbour.model.code is Code.NO_PROGRESS
    assert not any("/b/" in topic for topic in harbour.broker.subscribed)
    harbour.broker.retained.update(chunks)
    harbour.tick(30)
    harbour.serve_well(bundle)
    assert harbour.serving == bundle.digest


def test_redownload_loop_attack_is_slowed_by_growing_penalties_across_reboots(harbour):
    bundle = harbour.director.made("1.1.0", seed=2, golden_is_wrong=True)
    waits = []
    for attempt in range(4):
        harbour.assign(bundle, attempt=attempt)
        waited_s = 0
        while harbour.model.outcome is not Outcome.REJECTED:
            assert harbour.model.code is Code.PENALTY
            harbour.tick(10)
            waited_s += 12
        waits.append(waited_s)
        harbour.cut().boot().connect()
    assert waits[0] == 0
    assert waits[1] >= 20
    assert waits[1] < waits[2] < waits[3]
    assert old_serves_on(harbour)


def test_redownload_loop_attack_a_rejected_assignment_is_not_tried_again(harbour):
    bundle = harbour.director.made("1.1.0", seed=2, golden_is_wrong=True)
    harbour.assign(bundle)
    assert_rejected(harbour, Code.GOLDEN_MISMATCH)
    subscribed = len(harbour.broker.published)
    for _ in range(5):
        harbour.assign(bundle)
        harbour.tick(100)
    assert harbour.model.outcome is Outcome.REJECTED
    assert len(harbour.broker.published) - subscribed < 60


# --- commands and observations


def test_replayed_command_attack(harbour):
    request = harbour.director.request(harbour.ashore, Verb.STATUS)
    harbour.say("rpc", request)
    harbour.settle()
    harbour.answer()
    harbour.say("rpc", request)
    harbour.settle()
    assert not harbour.questions
    assert len(harbour.replies()) == 1
    assert Code.REPLAY in {event.code for event in harbour.events()}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"expires_s": NOW_S - 1}, Code.EXPIRED),
        ({"connection": "gw2"}, Code.WRONG_TARGET),
        ({"org": "emca"}, Code.WRONG_TARGET),
    ],
    ids=str,
)
def test_replayed_command_attack_of_another_time_or_device(harbour, changes, code):
    harbour.say("rpc", harbour.director.request(harbour.ashore, Verb.STATUS, **changes))
    harbour.settle()
    assert not harbour.questions
    assert code in {event.code for event in harbour.events()}


def test_forged_observation_attack_an_ack_by_a_stranger_empties_nothing(harbour):
    held = len(harbour.live.agent.reports.held)
    assert held > 0
    forged = seal(
        Ack(
            org=ORG,
            connection=harbour.ashore.name,
            boot_id=harbour.live.agent.boot_id,
            sequence=10_000,
        ),
        TrustRole.DIRECTOR,
        key(harbour.director.random),
    )
    harbour.broker.say(harbour.director.topics.ack(harbour.ashore.name), forged)
    harbour.settle()
    assert len(harbour.live.agent.reports.held) >= held
    real = harbour.director.ack(harbour.ashore, harbour.live.agent.boot_id, 10_000)
    harbour.broker.say(harbour.director.topics.ack(harbour.ashore.name), real)
    harbour.settle()
    assert not harbour.live.agent.reports.held


def test_eavesdropping_attack_chunks_are_ciphertext_and_keys_fit_one_device_only(harbour):
    bundle = harbour.director.made("1.1.0", seed=2)
    for content in bundle.blobs.values():
        if len(content) >= 32:
            assert not any(content[:32] in s for s in harbour.director.chunks(bundle).values())
    stranger = harbour.director.enrol_in_memory("gw2")
    assignment = harbour.director.assignment(bundle)
    keys = harbour.director.desired(stranger, [assignment]).blob_keys
    harbour.publish(bundle)
    harbour.wish([assignment], blob_keys=keys)
    assert_rejected(harbour, Code.DECRYPT)


def test_hostile_garbage_on_every_topic_changes_nothing(harbour):
    topics = sorted(harbour.broker.subscribed)
    for payload in (b"\0", b"\xff" * 100, bytes(300_000), b"\xd2\x84\x43\xa1\x01\x27"):
        for topic in topics:
            harbour.broker.say(topic, payload)
    harbour.settle()
    assert old_serves_on(harbour)
    assert len(harbour.events()) < 3 * SETTINGS.events_per_minute


def test_a_stolen_director_cannot_give_the_unit_another_class(harbour):
    other = hardware_class("huge", memory_budget_bytes=1 << 40)
    harbour.wish([], hardware_class=other)
    assert harbour.reported.hardware_class == "linux-test"


def test_a_desired_document_that_is_too_large_is_refused_unread(harbour):
    harbour.send(bytes(300 * 1024))
    assert_refused(harbour, Code.OUT_OF_BOUNDS)


def test_signatures_of_another_bundle_do_not_fit(harbour):
    one, other = harbour.director.made("1.1.0", seed=2), harbour.director.made("1.2.0", seed=3)
    harbour.publish(one)
    harbour.wish([harbour.director.assignment(one, signatures=other.signatures)])
    assert harbour.model.outcome is Outcome.REJECTED
    assert harbour.model.code in (Code.SIGNATURE, Code.THRESHOLD)
    assert old_serves_on(harbour)


def test_the_document_of_the_tests_is_really_the_wire_message(harbour):
    data = harbour.broker.retained[harbour.topic("desired")]
    assert decode(Desired, cose.unverified_payload(data)).connection == "gw1"
    assert sign_bundle(make_bundle(), harbour.director.release_keys).signatures
