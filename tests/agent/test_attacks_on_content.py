"""One test per attack on content, transfer, commands and observations (the first half of the
attack table is in test_attacks.py)."""

from dataclasses import replace
from hashlib import sha256

import pytest
from wherry_protocol import cose
from wherry_protocol.bundle import Bundle
from wherry_protocol.codec import decode, encode
from wherry_protocol.errors import Code
from wherry_protocol.manifest import Manifest, Role
from wherry_protocol.messages.desired import Desired
from wherry_protocol.messages.observed import Ack
from wherry_protocol.messages.reported import Outcome
from wherry_protocol.messages.rpc import Verb
from wherry_protocol.messages.trust import TrustRole
from wherry_protocol.sealed import seal, seal_mac

from tests.agent.bundles import make_bundle, sign_bundle
from tests.agent.director import NOW_S, ORG, hardware_class, key
from tests.agent.harbour import SETTINGS
from tests.agent.verdicts import assert_refused, assert_rejected, old_serves_on

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


def reflected(harbour):
    """What the device itself has authenticated with the key that acks are made with."""
    topic = harbour.director.topics.event(harbour.ashore.name, "self")
    return next(payload for name, payload in harbour.broker.published if name == topic)


def test_forged_observation_attack_an_ack_by_a_stranger_empties_nothing(harbour):
    held = len(harbour.live.agent.reports.held)
    assert held > 0
    boot_id = harbour.live.agent.boot_id
    ack = Ack(org=ORG, connection=harbour.ashore.name, boot_id=boot_id, sequence=10_000)
    other = harbour.director.enrol_in_memory("gw2")
    topic = harbour.director.topics.ack(harbour.ashore.name)
    for forged in (
        seal(ack, TrustRole.DIRECTOR, key(harbour.director.random)),
        seal_mac(ack, harbour.director.random.randbytes(32)),
        seal_mac(ack, other.keys.mac_key),
        harbour.director.ack(other, boot_id, 10_000),
        reflected(harbour),
    ):
        harbour.broker.say(topic, forged)
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
