"""The agent record: one format per number, damage is known, newer formats are refused by name."""

from dataclasses import replace

import pytest
from wherry_agent.core import reports
from wherry_agent.core.record import (
    AgentRecord,
    ModelRecord,
    Penalty,
    Slot,
    TrialRecord,
    UnitRecord,
    decode_record,
    encode_record,
)
from wherry_agent.shell.blob_store import sha256
from wherry_protocol.codec import dumps, loads
from wherry_protocol.errors import Code, DecodeError
from wherry_protocol.messages.desired import Mode
from wherry_protocol.messages.reported import Outcome

from tests.agent.director import TRIAL

WRITTEN_BY_0_1 = AgentRecord(
    format_version=1,
    boot_count=7,
    roots=(b"root one", b"root two"),
    stop_sequence=2,
    is_stopped=True,
    time_floor_s=1_790_000_000,
    units=(
        UnitRecord(
            unit="self",
            revision=12,
            desired_digest=bytes(range(32)),
            models=(
                ModelRecord(
                    model="digits",
                    active=Slot(
                        manifest_digest=b"a" * 32, version="1.1.0", deadline_us=500,
                        good_inferences=9,
                    ),
                    previous=Slot(manifest_digest=b"p" * 32, version="1.0.0"),
                    assignment_id=b"i" * 32,
                    outcome=Outcome.CONFIRMED,
                    trial=TrialRecord(limits=TRIAL, start_count=1),
                    floor="1.0.0",
                ),
            ),
            penalties=(Penalty(manifest_digest=b"b" * 32, failure_count=2, until_s=1_790_000_060),),
        ),
    ),
)  # fmt: skip

SAMPLE = replace(
    WRITTEN_BY_0_1,
    format_version=2,
    units=(
        replace(
            WRITTEN_BY_0_1.units[0],
            models=(
                replace(
                    WRITTEN_BY_0_1.units[0].models[0],
                    candidate=Slot(manifest_digest=b"c" * 32, version="1.2.0"),
                    mode=Mode.SHADOW,
                    is_previous_released=True,
                    shadow_sample_bp=500,
                    shadow_start_count=1,
                ),
            ),
            deferred_s=1_790_000_500,
        ),
    ),
)


def test_a_record_comes_back_as_it_was():
    assert decode_record(encode_record(SAMPLE)) == SAMPLE


@pytest.mark.parametrize("position", range(0, 330, 13))
def test_one_flipped_bit_is_known_as_damage(position):
    data = bytearray(encode_record(SAMPLE))
    data[position] ^= 4
    with pytest.raises(DecodeError):
        decode_record(bytes(data))


def test_a_newer_format_is_refused_by_its_number():
    raw = loads(encode_record(SAMPLE)[32:], what="record")
    body = dumps({**raw, 1: 3, 99: "new"})
    with pytest.raises(DecodeError, match="format 3") as caught:
        decode_record(sha256(body) + body)
    assert caught.value.code is Code.UNSUPPORTED_FORMAT


def test_the_record_of_release_0_1_opens(root):
    data = (root / "tests" / "vectors" / "agent-record-1.bin").read_bytes()
    assert decode_record(data) == WRITTEN_BY_0_1


def test_a_record_with_a_shadow_and_a_deferral_opens(root):
    data = (root / "tests" / "vectors" / "agent-record-2.bin").read_bytes()
    assert decode_record(data) == SAMPLE


def test_the_spool_segment_of_release_0_1_opens(root):
    data = (root / "tests" / "vectors" / "agent-spool-1.bin").read_bytes()
    (report,) = reports.decode_segment(data).reports
    assert (report.sequence, report.topic, report.payload) == (5, "wherry/1/acme/x", b"payload")
