"""Attacks on what is installed, over a real wire, one test per attack.

Whoever plays them has the broker, or enough keys to have bad content signed. To survive: 1.0.0
serves all the while, the bundle is rejected with its reason in `reported` and as an event, and an
honest broker later finds a device that follows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import pytest
from wherry_protocol.bundle import Bundle
from wherry_protocol.codec import dumps, encode, loads
from wherry_protocol.errors import Code
from wherry_protocol.manifest import Manifest, Role
from wherry_protocol.messages.desired import TrialLimits
from wherry_protocol.messages.reported import Outcome, Phase

from tests.agent.bundles import make_bundle, sign_bundle
from tests.system.agents import wait_until
from tests.system.chaos.hostile import NAME, Ear, Strait, in_clear, is_chunk, strait
from tests.system.chaos.proxy import DOWN, Passage, Rate

PROGRESS_S = 4.0


@pytest.fixture(scope="module")
def sea(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strait]:
    with strait(mosquitto, tmp_path_factory.mktemp("content"), progress_s=PROGRESS_S) as one:
        yield one


@pytest.fixture(autouse=True)
def _honest_at_first(sea: Strait) -> None:
    sea.proxy.trouble(NAME)
    sea.begin()


def signed(sea: Strait, manifest: Manifest, blobs: dict[bytes, bytes]) -> Bundle:
    """By the release keys, whatever it says; its chunks are on the broker."""
    bundle = sea.director.add(Bundle(encode(manifest), b"", (), blobs))
    sea.ashore.publish(bundle)
    return bundle


# --- what does not fit


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"budgets": {}}, Code.NO_BUDGET), ({"engine_abi": 999}, Code.WRONG_ABI)],
    ids=["class", "abi"],
)
def test_incompatible_device_attack(sea: Strait, changes: dict[str, Any], code: Code):
    bundle = sea.made("2.0.0", seed=2, **changes)
    sea.assign(bundle)
    sea.rejects(bundle, code)


def test_incompatible_device_attack_with_another_models_bundle(sea: Strait):
    bundle = sea.made("2.1.0", seed=3, model="other")
    sea.assign(bundle, model="digits")
    sea.rejects(bundle, Code.CONTRACT)


def test_slot_confusion_attack_passes_an_asset_as_the_program(sea: Strait):
    made = make_bundle("2.2.0", seed=4)
    blobs = tuple(
        replace(blob, role=Role.ASSET) if blob.role is Role.PROGRAM else blob
        for blob in made.manifest.blobs
    )
    asset = next(blob for blob in blobs if blob.role is Role.GOLDEN_INPUTS)
    program = replace(asset, role=Role.PROGRAM, name="p.bin")
    bundle = signed(sea, replace(made.manifest, blobs=(*blobs, program)), made.blobs)
    sea.assign(bundle)
    sea.rejects(bundle, Code.DIGEST)


def test_malformed_program_attack(sea: Strait):
    made = make_bundle("2.3.0", seed=5)
    image = bytearray(made.pieces(Role.PROGRAM))
    image[32] ^= 0xFF  # the tensor count
    digest = sha256(bytes(image)).digest()
    program = next(blob for blob in made.manifest.blobs if blob.role is Role.PROGRAM)
    blob = replace(program, digest=digest, size_bytes=len(image))
    rest = tuple(one for one in made.manifest.blobs if one.role is not Role.PROGRAM)
    manifest = replace(made.manifest, blobs=(blob, *rest), program_digest=digest)
    bundle = signed(sea, manifest, {**made.blobs, digest: bytes(image)})
    sea.assign(bundle)
    sea.rejects(bundle, Code.PROGRAM)


def test_wrong_precursor_attack_with_a_manifest_that_names_a_delta(sea: Strait):
    """Signed like any other: there is no field for it, so it is not read as a whole bundle."""
    made = make_bundle("2.4.0", seed=6)
    delta = dumps(loads(made.manifest_bytes, what="manifest") | {20: bytes(32)})
    bundle = sign_bundle(replace(made, manifest_bytes=delta), sea.director.release_keys[:1])
    sea.director.bundles[bundle.digest] = bundle
    for topic, segment in sea.director.chunks(bundle).items():
        sea.ashore.say(topic, segment, is_retained=True)
    assigned = replace(
        sea.director.assignment(replace(bundle, manifest_bytes=made.manifest_bytes)),
        manifest_digest=bundle.digest,
        manifest_bytes=len(delta),
        signatures=bundle.signatures,
    )
    desired = sea.director.desired(sea.agent.device, [assigned])
    sea.ashore.say(sea.topic("desired"), sea.director.sealed(desired), is_retained=True)
    sea.rejects(bundle, Code.UNKNOWN_FIELD)
    del sea.director.bundles[bundle.digest]  # nobody can read it


def test_floor_trap_attack_with_a_trial_that_cannot_end_well(sea: Strait):
    """The floor of what failed is none; the way back stays one."""
    hopeless = TrialLimits(
        good_inferences_min=1 << 40,
        trial_s_min=0.0,
        trial_s_max=1.0,
        error_rate_max=1.0,
        error_samples_min=5,
    )
    bundle = sea.made("2.5.0", seed=7, security_floor="2.5.0")
    sea.assign(bundle, trial=hopeless)
    wait_until(lambda: sea.model.outcome is Outcome.REVERTED, lambda: f"sent back; {sea.model}", 60)
    assert sea.serving() == "1.0.0"
    sea.follows("1.9.0", seed=8)  # below the floor that never was


# --- how it comes


@dataclass(frozen=True)
class Trickle(Rate):
    """To the device only."""

    async def carry(self, data: bytes, passage: Passage, way: str) -> bytes:
        return await super().carry(data, passage, way) if way == DOWN else data


def test_slow_retrieval_attack_a_few_bytes_at_a_time(sea: Strait):
    """Bytes come all the time; too few of them are no progress, and that is told."""
    bundle = sea.made("3.0.0", seed=9, ballast_rows=4000)
    sea.proxy.trouble(NAME, Trickle(2000.0))  # before it begins: else it may be over at once
    sea.assign(bundle)
    wait_until(lambda: sea.model.phase is Phase.FETCHING, "it begins", 60)
    wait_until(lambda: sea.model.code is Code.NO_PROGRESS, lambda: f"given up; {sea.model}", 60)
    assert sea.serving() == "1.0.0"
    sea.proxy.trouble(NAME)
    sea.proxy.cut(NAME)
    sea.follows("3.1.0", seed=10)


def test_redownload_loop_attack_fetches_nothing_before_its_penalty_ends(sea: Strait):
    """It is offered again and again, and the device forgets nothing in a reboot."""
    bundle = sea.made("3.2.0", seed=11, golden_is_wrong=True)
    sea.assign(bundle)
    sea.rejects(bundle, Code.GOLDEN_MISMATCH)
    seen_count, before = len(sea.hostile.seen), sea.stored_bytes()
    for attempt in (1, 2, 3):
        sea.assign(bundle, attempt=attempt)
    penalized(sea)
    sea.reboot()
    penalized(sea)
    later = sea.hostile.seen[seen_count:]
    assert not [said.topic for way, said in later if is_chunk(said, way)]
    assert sea.stored_bytes() <= before
    assert sea.serving() == "1.0.0"


def penalized(sea: Strait) -> None:
    wait_until(lambda: sea.model.code is Code.PENALTY, lambda: f"it waits; {sea.model}", 60)


def test_check_then_replace_attack_on_a_stored_image_is_seen_at_the_next_boot(sea: Strait):
    """The SD card in another reader; the broker then has the real one again."""
    bundle = sea.follows("3.3.0", seed=12)
    path = sea.agent.state_dir / "data" / "images" / bundle.manifest.program_digest.hex()
    image = path.read_bytes()
    path.unlink()  # what serves has it mapped
    path.write_bytes(image[:-1] + bytes([image[-1] ^ 1]))
    sea.meddle(lambda said, way: [] if is_chunk(said, way) else [said])
    sea.reboot()
    assert sea.serving() == "1.0.0"
    wait_until(lambda: sea.reported.time_s is not None, "it knows the time", 60)
    sea.be_honest()
    sea.proxy.cut(NAME)
    sea.confirms(bundle)


# --- who listens


def test_eavesdropping_attack_finds_nothing_of_the_model_on_the_wire(sea: Strait):
    """Whoever has all that passes in an update has digests, sizes and ciphertext."""
    ear = Ear()
    sea.proxy.trouble(NAME, ear)
    bundle = sea.made("4.0.0", seed=13, ballast_rows=200)
    sea.assign(bundle)
    sea.confirms(bundle)
    heard = bytes(ear.heard)
    sent = sea.new_chunks(bundle).values()
    assert sent
    assert all(segment in heard for segment in sent), "the ear hears what the device is sent"
    manifest = bundle.manifest_bytes
    for blob in bundle.manifest.blobs:
        manifest = manifest.replace(blob.digest, bytes(32))
    for secret in (*bundle.blobs.values(), manifest):
        assert in_clear(secret, heard) == []
    keys = [sea.director.content_key(digest) for digest in sea.director.blobs_of(bundle)]
    mine = sea.agent.device.keys
    for key in (*keys, mine.mac_key, mine.wrap_key):
        assert key not in heard


def test_an_ear_would_hear_a_model_that_crosses_in_clear():
    image = make_bundle("4.1.0", seed=14).pieces(Role.PROGRAM)
    assert in_clear(image, b"so " + image + b" it goes")
