"""The root chain and what hangs on it, under the attacks of TUF and Uptane."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from wherry_protocol import sealed, trust
from wherry_protocol.codec import encode
from wherry_protocol.errors import Code, TrustError
from wherry_protocol.keys import SigningKey
from wherry_protocol.messages.trust import FleetTime, RoleKeys, Root, TrustRole

from tests.protocol.examples import (
    DIRECTOR_KEY,
    MANIFEST,
    MANIFEST_DIGEST,
    MANIFEST_SIGNATURES,
    NOW_S,
    ROOT,
    ROOT_KEY,
    signed_root,
)

NEXT_KEY = SigningKey.from_seed(bytes([21]) * 32)
STATE = trust.start("acme", (signed_root(ROOT, ROOT_KEY),), NOW_S)


def root(number: int, holder: SigningKey, **changes: Any) -> Root:
    roles = ROOT.roles | {TrustRole.ROOT: RoleKeys(threshold=1, keys=(holder.public,))}
    return replace(ROOT, number=number, roles=roles, **changes)


def test_a_root_signed_by_old_and_new_keys_is_the_next() -> None:
    after = trust.advance(STATE, signed_root(root(2, NEXT_KEY), ROOT_KEY, NEXT_KEY), NOW_S)
    assert after.root.number == 2
    assert trust.start("acme", after.roots, NOW_S) == after


def test_a_root_that_is_already_there_changes_nothing() -> None:
    assert trust.advance(STATE, STATE.roots[0], NOW_S) is STATE


@pytest.mark.parametrize(
    ("signed", "code"),
    [
        pytest.param(
            signed_root(root(2, NEXT_KEY), NEXT_KEY), Code.THRESHOLD, id="only the new keys"
        ),
        pytest.param(
            signed_root(root(2, NEXT_KEY), ROOT_KEY), Code.THRESHOLD, id="only the old keys"
        ),
        pytest.param(
            signed_root(root(3, ROOT_KEY), ROOT_KEY), Code.ROOT_CHAIN, id="a number skipped"
        ),
        pytest.param(
            signed_root(root(1, ROOT_KEY, issued_s=1), ROOT_KEY), Code.ROLLBACK, id="an old number"
        ),
        pytest.param(
            signed_root(root(2, ROOT_KEY, epoch=0), ROOT_KEY), Code.ROLLBACK, id="an old epoch"
        ),
        pytest.param(
            signed_root(root(2, ROOT_KEY, org="bolt"), ROOT_KEY),
            Code.WRONG_TARGET,
            id="another organization",
        ),
        pytest.param(
            signed_root(root(2, ROOT_KEY, expires_s=NOW_S), ROOT_KEY), Code.EXPIRED, id="expired"
        ),
    ],
)
def test_key_rotation_attack(signed: bytes, code: Code) -> None:
    with pytest.raises(TrustError) as caught:
        trust.advance(STATE, signed, NOW_S)
    assert caught.value.code is code


def test_a_chain_may_lead_through_an_expired_root_but_not_end_there() -> None:
    old = signed_root(replace(ROOT, expires_s=NOW_S - 1), ROOT_KEY)
    new = signed_root(root(2, ROOT_KEY), ROOT_KEY)
    assert trust.start("acme", (old, new), NOW_S).root.number == 2
    with pytest.raises(TrustError, match="expired"):
        trust.start("acme", (old,), NOW_S)


def test_an_empty_chain_or_one_of_another_organization_is_refused() -> None:
    with pytest.raises(TrustError, match="empty"):
        trust.start("acme", ())
    with pytest.raises(TrustError, match="must be root 1 of bolt"):
        trust.start("bolt", STATE.roots)


def fleet_time(**changes: Any) -> bytes:
    message = replace(FleetTime(org="acme", epoch=1, time_s=NOW_S, root_number=1), **changes)
    return sealed.seal(message, TrustRole.DIRECTOR, DIRECTOR_KEY)


def test_fast_forward_attack_a_new_epoch_ends_the_stolen_key_s_messages() -> None:
    assert trust.open_director(STATE, FleetTime, fleet_time()).time_s == NOW_S
    recovered = trust.advance(STATE, signed_root(root(2, ROOT_KEY, epoch=2), ROOT_KEY), NOW_S)
    with pytest.raises(TrustError, match="of director epoch 1"):
        trust.open_director(recovered, FleetTime, fleet_time(time_s=4_000_000_000))


def test_wrong_device_attack_a_message_for_another_organization_is_refused() -> None:
    with pytest.raises(TrustError) as caught:
        trust.open_director(STATE, FleetTime, fleet_time(org="bolt"))
    assert caught.value.code is Code.WRONG_TARGET


def test_arbitrary_software_attack_a_manifest_needs_its_digest_and_its_signers() -> None:
    manifest = encode(MANIFEST)
    opened = trust.open_manifest(STATE, MANIFEST_DIGEST, manifest, MANIFEST_SIGNATURES)
    assert opened == MANIFEST
    with pytest.raises(TrustError) as caught:
        trust.open_manifest(STATE, bytes(32), manifest, MANIFEST_SIGNATURES)
    assert caught.value.code is Code.DIGEST
    other = encode(replace(MANIFEST, version="1.0.1"))
    with pytest.raises(TrustError) as caught:
        trust.open_manifest(STATE, sha256(other).digest(), other, MANIFEST_SIGNATURES)
    assert caught.value.code is Code.SIGNATURE
