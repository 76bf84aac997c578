"""Every message: one encoding, told by golden vectors, CDDL, and its own table."""

import json
from collections.abc import Iterator
from dataclasses import MISSING
from functools import cache
from pathlib import Path
from typing import Any

import pycddl
import pytest
import wherry_protocol
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wherry_protocol.codec import decode, dumps, encode, from_plain, loads, to_plain
from wherry_protocol.codec.fields import Unknown
from wherry_protocol.codec.table import columns
from wherry_protocol.errors import Code, DecodeError
from wherry_protocol.messages.reported import Reported

from tests.protocol import examples
from tests.protocol.strategies import of_class

CDDL = (Path(wherry_protocol.__file__).parent / "wherry.cddl").read_text()
MESSAGES = {type(m).__name__: m for m in examples.messages()}
GOLDEN = json.loads(examples.VECTORS.read_text())


def rule_name(cls_name: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in cls_name).lstrip("-")


@cache
def schema_of(cls_name: str) -> pycddl.Schema:
    return pycddl.Schema(f"start = {rule_name(cls_name)}\n{CDDL}")


def test_golden_vectors_name_every_message_and_no_other() -> None:
    assert GOLDEN.keys() == MESSAGES.keys()


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_has_the_bytes_of_its_golden_vector(name: str) -> None:
    message = MESSAGES[name]
    assert encode(message).hex() == GOLDEN[name]["cbor"]
    assert decode(type(message), bytes.fromhex(GOLDEN[name]["cbor"])) == message
    wire = examples.on_the_wire(message)
    assert (None if wire is None else wire.hex()) == GOLDEN[name].get("cose")


@pytest.mark.parametrize("name", MESSAGES)
def test_a_golden_vector_satisfies_the_cddl(name: str) -> None:
    schema_of(name).validate_cbor(bytes.fromhex(GOLDEN[name]["cbor"]))


@pytest.mark.parametrize("name", MESSAGES)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_message_survives_the_wire_and_satisfies_the_cddl(name: str, data: Any) -> None:
    cls = type(MESSAGES[name])
    message = data.draw(of_class(cls))
    wire = encode(message)
    assert decode(cls, wire) == message
    schema_of(name).validate_cbor(wire)


def without_each_required_field(message: Any) -> Iterator[bytes]:
    whole = loads(encode(message), what="example")
    for column in columns(type(message)):
        if column.default is MISSING:
            yield dumps({k: v for k, v in whole.items() if k != column.key})


@pytest.mark.parametrize("name", MESSAGES)
def test_codec_and_cddl_refuse_a_message_without_a_required_field(name: str) -> None:
    schema = schema_of(name)
    for wire in without_each_required_field(MESSAGES[name]):
        with pytest.raises(DecodeError, match="missing"):
            decode(type(MESSAGES[name]), wire)
        with pytest.raises(pycddl.ValidationError):
            schema.validate_cbor(wire)


@pytest.mark.parametrize(
    "message", [*examples.INSTRUCTIONS, examples.ACK], ids=lambda m: type(m).__name__
)
def test_an_instruction_with_an_unknown_key_is_refused(message: Any) -> None:
    wire = dumps(loads(encode(message), what="example") | {99: 1})
    with pytest.raises(DecodeError, match="unknown keys 99") as caught:
        decode(type(message), wire)
    assert caught.value.code is Code.UNKNOWN_FIELD


def test_wrong_precursor_attack_a_manifest_cannot_name_a_delta() -> None:
    """Layers travel whole: until deltas exist, a field that could name one is refused."""
    wire = dumps(loads(encode(examples.MANIFEST), what="example") | {20: bytes(32)})
    with pytest.raises(DecodeError, match="unknown keys 20") as caught:
        decode(type(examples.MANIFEST), wire)
    assert caught.value.code is Code.UNKNOWN_FIELD


@pytest.mark.parametrize(
    "message", [examples.REPORTED, *examples.MACED], ids=lambda m: type(m).__name__
)
def test_an_observation_with_an_unknown_key_is_read_without_it(message: Any) -> None:
    wire = dumps(loads(encode(message), what="example") | {99: 1})
    assert decode(type(message), wire) == message


def test_an_unknown_phase_is_kept_as_a_number_in_an_observation() -> None:
    whole = loads(encode(examples.REPORTED), what="example")
    whole[12][0][2] = 77
    reported = decode(Reported, dumps(whole))
    phase: object = reported.models[0].phase
    assert phase == Unknown(77)
    assert encode(reported) == dumps(whole)


def test_an_unknown_mode_is_refused_in_an_instruction() -> None:
    desired = examples.INSTRUCTIONS[3]
    whole = loads(encode(desired), what="example")
    whole[8][0][5] = 77
    with pytest.raises(DecodeError, match=r"Desired.assignments\[0\].mode: 77 is not a known Mode"):
        decode(type(desired), dumps(whole))


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_survives_as_plain_json(name: str) -> None:
    message = MESSAGES[name]
    plain = json.loads(json.dumps(to_plain(message)))
    assert from_plain(type(message), plain, name) == message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"revison": 3}, "Desired: unknown key 'revison', known are assignments, blob_keys"),
        ({"revision": -1}, r"Desired.revision: -1, must be in 0\.\."),
        ({"org": None}, "Desired.org: missing"),
        ({"blob_keys": {"zz": "00"}}, "Desired.blob_keys: must be hexadecimal text"),
        ({"assignments": 3}, "Desired.assignments: must be a list of at most 32"),
    ],
)
def test_a_mistake_in_plain_text_is_named(change: dict[str, Any], says: str) -> None:
    desired = examples.INSTRUCTIONS[3]
    with pytest.raises(DecodeError, match=says):
        from_plain(type(desired), to_plain(desired) | change, "Desired")
