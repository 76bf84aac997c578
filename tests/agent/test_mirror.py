"""The JSON mirror: the same pack for readers of JSON, only where it is wanted, never kept."""

import json
from base64 import urlsafe_b64decode

import pytest
from wherry_agent.core.inputs import Sampled
from wherry_agent.core.mirror import LABELS, senml_json
from wherry_protocol.codec.table import columns
from wherry_protocol.messages.desired import TelemetryConfig
from wherry_protocol.senml import Record

from tests.agent.director import NOW_S

PACK = (
    Record(base_name="acme/gw1/self/digits/1.0.0/active/", name="inferences", unit="1", value=3.0),
    Record(name="latency.sketch", data=b"\xfb\xff\xfe\x01"),
    Record(name="power.mean.unavailable", string="no sensor: „kaputt“"),
    Record(name="on", boolean=False, time_s=-1.5),
)


def mirrored(harbour) -> list[list[dict]]:
    topic = harbour.topic("telemetry-json")
    return [json.loads(data) for name, data in harbour.broker.published if name == topic]


def sample(harbour) -> None:
    harbour.live.post(Sampled("self", PACK))
    harbour.settle()


def test_every_label_of_a_record_has_its_json_label():
    assert set(LABELS) == {column.attribute for column in columns(Record)}
    assert len(set(LABELS.values())) == len(LABELS)


def test_a_pack_is_the_same_in_json_with_base64url_and_the_time():
    first, sketch, reason, flag = json.loads(senml_json(PACK, NOW_S))
    assert first == {"bn": PACK[0].base_name, "bt": NOW_S, "n": "inferences", "u": "1", "v": 3.0}
    assert sketch == {"n": "latency.sketch", "vd": "-__-AQ"}
    assert urlsafe_b64decode(sketch["vd"] + "==") == PACK[1].data
    assert reason["vs"] == PACK[2].string
    assert flag == {"n": "on", "vb": False, "t": -1.5}


def test_without_the_fleets_time_the_records_are_relative_to_now():
    assert "bt" not in json.loads(senml_json(PACK, None))[0]
    assert senml_json((), NOW_S) == b"[]"


def test_a_base_time_of_its_own_stays():
    (one,) = json.loads(senml_json((Record(name="cpu", base_time_s=5.0, value=1.0),), NOW_S))
    assert one["bt"] == 5.0


def test_a_figure_that_json_has_no_number_for_is_never_written():
    with pytest.raises(ValueError, match="JSON"):
        senml_json((Record(name="cpu", value=float("nan")),), None)


def test_nothing_is_mirrored_unless_the_director_wants_it(harbour):
    sample(harbour)
    assert mirrored(harbour) == []
    harbour.wish([], telemetry=TelemetryConfig(json_mirror=True))
    sample(harbour)
    (pack,) = mirrored(harbour)
    assert [record.get("n") for record in pack] == [record.name for record in PACK]
    assert abs(pack[0]["bt"] - NOW_S) < 3600
    assert [one.pack for one in harbour.telemetry()] == [PACK, PACK]
    harbour.wish([], telemetry=TelemetryConfig(json_mirror=False))
    sample(harbour)
    assert len(mirrored(harbour)) == 1


def test_what_nobody_could_receive_is_not_mirrored_later(harbour):
    harbour.wish([], telemetry=TelemetryConfig(json_mirror=True))
    harbour.cut()
    sample(harbour)
    harbour.connect()
    assert mirrored(harbour) == []
    assert PACK in [one.pack for one in harbour.telemetry()]
