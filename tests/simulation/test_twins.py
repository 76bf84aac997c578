"""A twin plays what the real part plays: the same trace, the same sizes, the same refusals."""

import os

import pytest
from wherry_agent.core.record import AgentRecord, decode_record, encode_record, first_record
from wherry_protocol import cose, sealed
from wherry_protocol.codec import encode
from wherry_protocol.errors import TrustError, WherryError
from wherry_protocol.keys import SigningKey
from wherry_protocol.messages.observed import Ack, Presence
from wherry_protocol.messages.trust import TrustRole

from tests.protocol.examples import messages
from tests.simulation.twins import TWINS, played_by_twins
from tests.simulation.twins.codec import real_bytes
from tests.simulation.twins.sizes import of_real, size_of
from tests.simulation.voyage import sail

DEVICES = 3
ALL = tuple(TWINS)
SEEDS = {"hostile_broker": 2, "full_disks": 10, "old_backup": 6}  # a seed of each
MESSAGE = Presence(org="acme", connection="d1", connection_number=300, is_online=True)
ACK = Ack(org="acme", connection="d1", boot_id=bytes(16), sequence=70_000)


@pytest.mark.parametrize("scenario", SEEDS)
def test_all_twins_together_give_the_trace_of_the_real_parts(scenario: str) -> None:
    real = sail(SEEDS[scenario], DEVICES, scenario=scenario)
    assert sail(SEEDS[scenario], DEVICES, scenario=scenario, twins=ALL).digest == real.digest


@pytest.mark.parametrize("part", TWINS)
def test_each_twin_gives_the_trace_of_the_real_part(part: str) -> None:
    real, twin = sail(2, DEVICES), sail(2, DEVICES, twins=[part])
    assert (twin.digest, twin.events) == (real.digest, real.events)


def test_nothing_of_a_twin_is_left_behind() -> None:
    before = sealed.seal, cose.Ed25519PublicKey
    with played_by_twins(ALL):
        assert sealed.seal is not before[0]
    assert (sealed.seal, cose.Ed25519PublicKey) == before


# --- sizes


@pytest.mark.parametrize("message", messages(), ids=lambda one: type(one).__name__)
def test_the_size_of_a_message_is_that_of_its_encoding(message: object) -> None:
    assert size_of(message) == len(encode(message))


@pytest.mark.parametrize(
    ("value", "size_bytes"), [(0.5, 3), (0.1, 9), (65504.0, 3), (1e5, 5), (1e300, 9), (-0.0, 3)]
)
def test_a_float_takes_its_shortest_form(value: float, size_bytes: int) -> None:
    assert of_real(value) == size_bytes


@pytest.mark.parametrize("parts", [[], ["signatures"], ["codec"], ALL], ids=str)
def test_what_is_sealed_has_the_size_of_the_real_one(parts: list[str]) -> None:
    key = SigningKey.from_seed(bytes(32))
    sizes = len(sealed.seal(ACK, TrustRole.DIRECTOR, key)), len(sealed.seal_mac(MESSAGE, bytes(32)))
    with played_by_twins(parts):
        twin = SigningKey.from_seed(bytes(32))
        assert len(sealed.seal(ACK, TrustRole.DIRECTOR, twin)) == sizes[0]
        assert len(sealed.seal_mac(MESSAGE, bytes(32))) == sizes[1]


# --- refusals


@pytest.mark.parametrize("parts", [[], ["signatures"], ["codec"], ALL], ids=str)
def test_another_key_role_or_kind_is_refused(parts: list[str]) -> None:
    with played_by_twins(parts):
        key, other = SigningKey.from_seed(bytes(32)), SigningKey.from_seed(b"o" * 32)
        data = sealed.seal(ACK, TrustRole.DIRECTOR, key)
        assert sealed.open_sealed(Ack, data, TrustRole.DIRECTOR, [other.public, key.public]) == ACK
        for wrong in ((Ack, TrustRole.DIRECTOR, other), (Ack, TrustRole.DEVICE, key),
                      (Presence, TrustRole.DIRECTOR, key)):  # fmt: skip
            with pytest.raises(TrustError):
                sealed.open_sealed(wrong[0], data, wrong[1], [wrong[2].public])
        data = sealed.seal_mac(MESSAGE, bytes(32))
        assert sealed.open_mac(Presence, data, bytes(32)) == MESSAGE
        for cls, mac_key in ((Presence, b"o" * 32), (Ack, bytes(32))):
            with pytest.raises(TrustError):
                sealed.open_mac(cls, data, mac_key)


@pytest.mark.parametrize("parts", [[], ["signatures"], ["codec"], ALL], ids=str)
def test_every_flipped_byte_is_refused_in_the_same_words(parts: list[str]) -> None:
    assert _refusals(parts) == _refusals([])


def _refusals(parts: list[str]) -> list[tuple[str, int]]:
    found = []
    with played_by_twins(parts):
        key = SigningKey.from_seed(bytes(32))
        data = sealed.seal(ACK, TrustRole.DIRECTOR, key)
        for place in range(len(data)):
            forged = bytearray(real_bytes(data))
            forged[place] ^= 1
            with pytest.raises(WherryError) as refusal:
                sealed.open_sealed(Ack, bytes(forged), TrustRole.DIRECTOR, [key.public])
            found.append((type(refusal.value).__name__, int(refusal.value.code)))
    return found


@pytest.mark.parametrize("parts", [[], ["codec"]], ids=str)
def test_a_torn_record_is_refused(parts: list[str]) -> None:
    record: AgentRecord = first_record((os.urandom(100),))
    with played_by_twins(parts):
        data = encode_record(record)
        assert decode_record(data) == record
        for torn in (data[: len(data) // 2], data[:-1], b""):
            with pytest.raises(WherryError):
                decode_record(torn)
