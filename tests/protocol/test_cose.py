"""Signatures: every way in which one could stand for what its signer did not mean."""

import pytest
from wherry_protocol import cose, sealed
from wherry_protocol.codec import content_type, dumps, encode, loads
from wherry_protocol.errors import Code, DecodeError, TrustError
from wherry_protocol.keys import AgreementKey, SigningKey
from wherry_protocol.messages.observed import Ack
from wherry_protocol.messages.trust import FleetTime, TrustRole

KEY, OTHER, THIRD = (SigningKey.from_seed(bytes([n]) * 32) for n in (11, 12, 13))
ACK = Ack(org="acme", connection="d1", boot_id=bytes(16), sequence=5)
TYPE = content_type(Ack)


def signed(*keys: SigningKey, role: TrustRole = TrustRole.RELEASE) -> bytes:
    return cose.sign(b"payload", content_type=TYPE, role=role, keys=keys, is_detached=True)


def verify(data: bytes, threshold: int, payload: bytes = b"payload") -> bytes:
    return cose.verify(
        data,
        content_type=TYPE,
        role=TrustRole.RELEASE,
        keys=(KEY.public, OTHER.public),
        threshold=threshold,
        payload=payload,
    )


def test_a_sealed_message_opens_for_its_role_and_key() -> None:
    data = sealed.seal(ACK, TrustRole.DIRECTOR, KEY)
    assert sealed.open_sealed(Ack, data, TrustRole.DIRECTOR, [OTHER.public, KEY.public]) == ACK


def test_type_confusion_attack_a_message_signed_as_another_type_is_refused() -> None:
    data = cose.sign1(
        encode(ACK), content_type=content_type(FleetTime), role=TrustRole.DIRECTOR, key=KEY
    )
    with pytest.raises(TrustError, match="header 3 is") as caught:
        sealed.open_sealed(Ack, data, TrustRole.DIRECTOR, [KEY.public])
    assert caught.value.code is Code.WRONG_ROLE


def test_role_confusion_attack_a_device_signature_is_no_director_signature() -> None:
    data = sealed.seal(ACK, TrustRole.DEVICE, KEY)
    with pytest.raises(TrustError, match="header wherry-role is 'device'"):
        sealed.open_sealed(Ack, data, TrustRole.DIRECTOR, [KEY.public])


def test_a_stranger_s_signature_is_refused() -> None:
    data = sealed.seal(ACK, TrustRole.DIRECTOR, OTHER)
    with pytest.raises(TrustError, match="is no director key"):
        sealed.open_sealed(Ack, data, TrustRole.DIRECTOR, [KEY.public])


def test_every_flipped_byte_of_a_sealed_message_is_refused() -> None:
    data = sealed.seal(ACK, TrustRole.DIRECTOR, KEY)
    for place in range(len(data)):
        bad = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises((TrustError, DecodeError)):
            sealed.open_sealed(Ack, bad, TrustRole.DIRECTOR, [KEY.public])


def test_every_flipped_byte_of_a_maced_message_is_refused() -> None:
    data = sealed.seal_mac(ACK, bytes(32))
    assert sealed.open_mac(Ack, data, bytes(32)) == ACK
    for place in range(len(data)):
        bad = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises((TrustError, DecodeError)):
            sealed.open_mac(Ack, bad, bytes(32))


def test_key_loss_below_threshold_attack_one_key_of_two_is_refused() -> None:
    with pytest.raises(TrustError, match="1 valid release signatures, 2 are needed") as caught:
        verify(signed(KEY), 2)
    assert caught.value.code is Code.THRESHOLD


def test_a_key_that_signs_twice_counts_once() -> None:
    with pytest.raises(TrustError, match="1 valid"):
        verify(signed(KEY, KEY), 2)


def test_a_key_of_no_role_does_not_count() -> None:
    with pytest.raises(TrustError, match="1 valid"):
        verify(signed(KEY, THIRD), 2)


def test_two_distinct_keys_meet_a_threshold_of_two() -> None:
    assert verify(signed(KEY, OTHER), 2) == b"payload"
    added = cose.add_signature(signed(KEY), b"payload", role=TrustRole.RELEASE, key=OTHER)
    assert added == signed(KEY, OTHER)
    assert cose.merge_signatures(signed(KEY), signed(OTHER)) == added
    assert cose.signer_ids(added) == (KEY.id, OTHER.id)


def test_signing_again_with_the_same_key_changes_nothing() -> None:
    again = cose.add_signature(signed(KEY), b"payload", role=TrustRole.RELEASE, key=KEY)
    assert again == signed(KEY)


def test_a_wrong_signature_of_a_known_key_is_an_error_even_above_the_threshold() -> None:
    data = signed(KEY, OTHER)
    broken = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(TrustError, match="is wrong"):
        verify(broken, 1)


def test_a_detached_signature_does_not_fit_another_payload() -> None:
    with pytest.raises(TrustError, match="is wrong"):
        verify(signed(KEY), 1, b"another")


@pytest.mark.parametrize(
    "data",
    [
        dumps([1, 2]),
        dumps({}),
        loads(dumps(1), what="x").to_bytes(1, "big"),
        b"\xd2\x80",
        b"\xd2\x84\x40\xa0\x40\x01",
        b"\xd8\x62\x84\x40\xa0\xf6\x80",
    ],
)
def test_what_is_no_cose_message_is_refused(data: bytes) -> None:
    with pytest.raises((DecodeError, TrustError)):
        sealed.open_sealed(Ack, data, TrustRole.DIRECTOR, [KEY.public])
    with pytest.raises((DecodeError, TrustError)):
        verify(data, 1)


def test_private_keys_survive_pem_with_and_without_a_passphrase() -> None:
    assert SigningKey.from_pem(KEY.to_pem()).public == KEY.public
    locked = KEY.to_pem(b"pass")
    assert SigningKey.from_pem(locked, b"pass").public == KEY.public
    with pytest.raises(DecodeError, match="passphrase is wrong"):
        SigningKey.from_pem(locked, b"no")
    with pytest.raises(TrustError, match=r"[Pp]assword"):
        SigningKey.from_pem(locked)
    with pytest.raises(DecodeError, match="must be X25519"):
        AgreementKey.from_pem(KEY.to_pem())


def test_a_weak_agreement_key_is_refused() -> None:
    with pytest.raises(TrustError, match="agreement key is weak"):
        AgreementKey.generate().agree(bytes(32), "acme", "d1")


def test_connections_and_organizations_never_share_keys() -> None:
    ours, theirs = AgreementKey.generate(), AgreementKey.generate()
    keys = {
        key
        for org in ("acme", "bolt")
        for connection in ("d1", "d2")
        for key in (
            ours.agree(theirs.public, org, connection).mac_key,
            ours.agree(theirs.public, org, connection).wrap_key,
        )
    }
    assert len(keys) == 8
