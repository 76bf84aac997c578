"""Attacks with keys that were stolen, and on trust itself, over a real wire, one test per attack.

The thief speaks through the hostile broker. To survive: 1.0.0 serves all the while, what is
refused is told with its code in `reported` and as an event, and the owners' next root ends it.
"""

from collections.abc import Iterator

import pytest
from wherry_protocol import cose
from wherry_protocol.bundle import Bundle
from wherry_protocol.codec import content_type, dumps, encode, loads
from wherry_protocol.errors import Code
from wherry_protocol.keys import SigningKey
from wherry_protocol.messages.trust import TrustRole
from wherry_protocol.sealed import seal

from tests.agent.bundles import make_bundle
from tests.agent.director import YEAR_S, key
from tests.system.agents import wait_until
from tests.system.chaos.hostile import Strait, strait
from tests.system.chaos.mqtt import Publication
from tests.system.chaos.proxy import DOWN

REVISION_MAX = (1 << 63) - 1
YEAR_2100_S = 4_102_444_800


@pytest.fixture(scope="module")
def sea(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strait]:
    with strait(mosquitto, tmp_path_factory.mktemp("stolen")) as one:
        yield one


@pytest.fixture(autouse=True)
def _honest_at_first(sea: Strait) -> None:
    sea.begin()


def next_root(sea: Strait, **changes: object) -> None:
    """The owners publish it, and the device follows."""
    root = sea.director.rotate(**changes)  # type: ignore[arg-type]
    number = len(sea.director.roots)
    sea.ashore.say(sea.director.topics.root(number), root, is_retained=True)
    wait_until(
        lambda: sea.reported.root_number == number,
        lambda: f"root {number} is followed; {sea.agent.log[-2000:]}",
        60,
    )


def new_epoch(sea: Strait) -> SigningKey:
    """What the owners do after a theft; the key that was stolen."""
    stolen = sea.director.director_key
    sea.director.revision = sea.director.stop_sequence = 0
    next_root(sea, epoch=sea.director.epoch + 1)
    wait_until(lambda: sea.reported.epoch == sea.director.epoch, "the new epoch is reported", 60)
    return stolen


# --- fast-forward


def test_fast_forward_attack_on_the_revision_ends_with_a_new_epoch(sea: Strait):
    """Over a reboot, too. Afterwards the stolen key is nobody's."""
    far = sea.director.desired(sea.agent.device, [], revision=REVISION_MAX)
    sea.forge(sea.topic("desired"), sea.director.sealed(far))
    wait_until(lambda: sea.reported.revision == REVISION_MAX, "the thief's is the last one", 60)
    bundle = sea.made("1.1.0", seed=2)
    sea.assign(bundle)
    sea.refuses_document(Code.ROLLBACK)
    sea.reboot()
    sea.refuses_document(Code.ROLLBACK)
    stolen = new_epoch(sea)
    assert sea.serving() == "1.0.0"
    assert sea.reported.revision < REVISION_MAX
    sea.assign(bundle)
    sea.confirms(bundle)
    again = sea.director.desired(sea.agent.device, [], revision=REVISION_MAX)
    sea.forge(sea.topic("desired"), seal(again, TrustRole.DIRECTOR, stolen))
    wait_until(lambda: Code.SIGNATURE in sea.codes(), "the stolen key is refused", 60)
    assert sea.serving() == "1.1.0"
    sea.follows("1.2.0", seed=3)


def test_fast_forward_attack_above_what_a_store_can_count_is_refused(sea: Strait):
    before = sea.reported.revision
    far = encode_with_revision(sea, REVISION_MAX + 1)
    sea.forge(sea.topic("desired"), far)
    sea.refuses_document(Code.OUT_OF_BOUNDS)
    assert sea.reported.revision == before
    sea.follows("1.3.0", seed=4)


def encode_with_revision(sea: Strait, revision: int) -> bytes:
    """By a thief whose encoder knows no bounds."""
    desired = sea.director.desired(sea.agent.device, [])
    body = dumps(loads(encode(desired), what="desired document") | {5: revision})
    return cose.sign1(
        body,
        content_type=content_type(type(desired)),
        role=TrustRole.DIRECTOR,
        key=sea.director.director_key,
    )


def test_fast_forward_attack_on_the_time_ends_with_a_new_epoch(sea: Strait):
    """The year 2100: every honest document has expired, and after a reboot so has every answer."""
    sea.forge(sea.director.topics.time, sea.director.fleet_time(YEAR_2100_S))
    bundle = sea.made("2.0.0", seed=5)
    sea.assign(bundle)
    sea.refuses_document(Code.EXPIRED)
    sea.reboot()
    sea.refuses(Code.ROLLBACK)  # the true time is below its floor
    wait_until(lambda: sea.reported.refusal_code is Code.TIME_UNKNOWN, "why it waits is told", 60)
    new_epoch(sea)
    assert sea.serving() == "1.0.0"
    wait_until(
        lambda: (sea.reported.time_s or YEAR_2100_S) < sea.director.now_s + YEAR_S,
        "it knows the true time",
        60,
    )
    sea.assign(bundle)
    sea.confirms(bundle)


def test_fast_forward_attack_on_the_stop_ends_with_a_new_epoch(sea: Strait):
    """The last stop that can be numbered: nobody could release it, but for a new root."""
    sea.director.stop_sequence = REVISION_MAX - 1
    sea.forge(sea.director.topics.stop, sea.director.stop(True))
    wait_until(lambda: sea.reported.stop_sequence == REVISION_MAX, "it is stopped", 60)
    sea.director.stop_sequence = 0
    sea.forge(sea.director.topics.stop, sea.director.stop(False))
    sea.refuses(Code.REPLAY)
    bundle = sea.made("2.1.0", seed=6)
    sea.assign(bundle)
    wait_until(lambda: sea.model.code is Code.STOPPED, "why it waits is told", 60)
    assert sea.serving() == "1.0.0"
    new_epoch(sea)
    sea.assign(bundle)
    sea.confirms(bundle)


# --- who may sign what


def test_unapproved_update_attack_by_the_director_alone(sea: Strait):
    """It assigns what it has signed itself: no release key did, and no chunk of it is asked for."""
    bundle = signed_by(sea, [sea.director.director_key], "3.0.0", seed=7)
    before = sea.stored_bytes()
    sea.assign(bundle)
    sea.rejects(bundle, Code.THRESHOLD)
    assert fetched(sea, bundle) == []
    assert sea.stored_bytes() <= before


def signed_by(sea: Strait, keys: list[SigningKey], version: str, seed: int) -> Bundle:
    bundle = sea.director.add(make_bundle(version, seed=seed), keys)
    sea.ashore.publish(bundle)
    return bundle


def fetched(sea: Strait, bundle: Bundle) -> list[str]:
    """Chunks of its blobs that crossed the wire; the manifest itself is judged first."""
    manifest = sea.director.topics.chunk(bundle.digest, 0)
    topics = sea.new_chunks(bundle).keys() - {manifest}
    return [said.topic for way, said in sea.hostile.seen if way == DOWN and said.topic in topics]


def test_unapproved_update_attack_by_release_keys_alone(sea: Strait):
    """They sign a desired document as what they are; and as a director, which they are not."""
    bundle = sea.made("3.1.0", seed=8)
    mine = sea.director.release_keys[0]
    for role, code in ((TrustRole.RELEASE, Code.WRONG_ROLE), (TrustRole.DIRECTOR, Code.SIGNATURE)):
        desired = sea.director.desired(sea.agent.device, [sea.director.assignment(bundle)])
        sea.forge(sea.topic("desired"), seal(desired, role, mine))
        sea.refuses_document(code)
    sea.follows("3.2.0", seed=9)


def test_key_loss_below_threshold_attack_with_one_of_two_keys(sea: Strait):
    """Nor does the same key count twice; both together are believed."""
    sea.director.release_threshold = 2
    next_root(sea, with_new_director=False)
    one, other = sea.director.release_keys
    for number, keys in enumerate(([one], [one, one], [one, key(sea.director.random)])):
        bundle = signed_by(sea, keys, f"4.{number}.0", seed=10 + number)
        sea.ashore.heard["event"].clear()
        sea.assign(bundle)
        sea.rejects(bundle, Code.THRESHOLD)
    both = signed_by(sea, [one, other], "4.9.0", seed=19)
    sea.assign(both)
    sea.confirms(both)
    sea.director.release_threshold = 1
    next_root(sea, with_new_director=False)


def test_key_rotation_attack_with_the_director_that_a_root_has_replaced(sea: Strait):
    """Within the same epoch: numbers go on, the old key's documents do not."""
    stolen = sea.director.director_key
    next_root(sea)
    desired = sea.director.desired(sea.agent.device, [])
    sea.forge(sea.topic("desired"), seal(desired, TrustRole.DIRECTOR, stolen))
    sea.refuses_document(Code.SIGNATURE)
    sea.follows("5.0.0", seed=20)


# --- roots and time


def test_expired_metadata_attack_with_a_root_that_is_past_its_end(sea: Strait):
    """It is a link on the way, as ever; nothing is believed under it until there is a newer one."""
    now_s = sea.director.now_s
    sea.director.now_s -= YEAR_S + 60
    next_root(sea, with_new_director=False)
    sea.director.now_s = now_s
    bundle = sea.made("6.0.0", seed=21)
    sea.assign(bundle)
    sea.refuses_document(Code.EXPIRED)
    next_root(sea, with_new_director=False)
    sea.confirms(bundle)


def test_indefinite_freeze_attack_withholds_a_root(sea: Strait):
    """The time says that there is one: nothing is installed until it comes, and that is told."""
    number = len(sea.director.roots) + 1
    root = sea.director.rotate(with_new_director=False)
    held: list[Publication] = []

    def hold(said: Publication, way: str) -> list[Publication]:
        if way == DOWN and said.topic == sea.director.topics.root(number):
            held.append(said)
            return []
        return [said]

    sea.meddle(hold)
    sea.ashore.say(sea.director.topics.root(number), root, is_retained=True)
    later_s = sea.director.now_s + 60
    sea.ashore.say(sea.director.topics.time, sea.director.fleet_time(later_s), is_retained=True)
    bundle = sea.made("6.1.0", seed=22)
    sea.assign(bundle)
    sea.refuses_document(Code.STALE_TRUST)
    assert held
    sea.be_honest()
    sea.send(held[0].packet().encoded())
    sea.confirms(bundle)


def test_clock_tricks_attack_sets_nobody_back_with_an_old_time(sea: Strait):
    """The floor holds over a reboot: an answer from before it is none."""
    sea.director.now_s += 3 * 86_400
    sea.ashore.say(sea.director.topics.time, sea.director.fleet_time(), is_retained=True)
    bundle = sea.made("6.2.0", seed=23)
    sea.assign(bundle)
    sea.confirms(bundle)
    assert (sea.reported.time_s or 0) >= sea.director.now_s
    sea.director.now_s -= 3 * 86_400
    sea.forge(sea.director.topics.time, sea.director.fleet_time())
    short = sea.director.desired(
        sea.agent.device, [], expires_s=sea.director.now_s + 86_400
    )  # in time by the old clock only
    sea.forge(sea.topic("desired"), sea.director.sealed(short))
    wait_until(lambda: sea.reported.refusal_code is Code.EXPIRED, "it has not gone back", 60)
    sea.reboot()
    wait_until(lambda: Code.ROLLBACK in sea.codes(), "an old answer is refused", 60)
    wait_until(lambda: sea.reported.refusal_code is Code.TIME_UNKNOWN, "why it waits is told", 60)
    assert sea.serving() == "6.2.0"
    sea.director.now_s += 3 * 86_400
    sea.reboot()
    sea.follows("6.3.0", seed=24)
