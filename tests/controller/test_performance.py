"""Telemetry packs: what is believed of an authentic device, and what is refused whole."""

import math

import pytest
from wherry_controller.core.performance import energy_is_proof, read
from wherry_controller.core.windows import Window
from wherry_protocol.codec import encode
from wherry_protocol.errors import DecodeError
from wherry_protocol.messages.observed import Origin, Telemetry
from wherry_protocol.senml import Record
from wherry_protocol.sketch import sketch_of

BASE = "acme/gw1/self/digits/1.0.0/active/"
DIGEST = Record(base_name=BASE, name="digest", string="ab" * 32)


def pack(*records: Record) -> Telemetry:
    origin = Origin(
        org="acme", connection="gw1", unit="self", boot_id=bytes(16), sequence=1, oldest=1,
        monotonic_us=0,
    )  # fmt: skip
    return Telemetry(origin=origin, pack=records)


def test_performance_and_resources_are_told_apart() -> None:
    told = pack(
        DIGEST,
        Record(name="inferences", value=10.0),
        Record(name="errors.deadline", value=2.0),
        Record(name="latency.sketch", data=sketch_of([1000] * 10).to_bytes()),
        Record(name="energy.per_inference", value=0.002),
        Record(name="energy.source", string="measured:rapl"),
        Record(base_name="acme/gw1/self/", name="memory.rss", value=1e6),
        Record(name="temperature.unavailable", string="no sensor"),
    )
    figures = read(told)
    [one] = figures.performances
    assert (one.model, one.version, one.slot) == ("digits", "1.0.0", "active")
    assert (one.inferences, one.errors_deadline, one.latency.count) == (10, 2, 10)
    assert (one.energy_j, one.energy_source) == (0.002, "measured:rapl")
    assert figures.resources == {"memory.rss": 1e6, "temperature.unavailable": "no sensor"}


def test_energy_that_cannot_be_had_is_none_and_not_zero() -> None:
    told = pack(DIGEST, Record(name="energy.per_inference.unavailable", string="no sensor"))
    [one] = read(told).performances
    assert one.energy_j is None


@pytest.mark.parametrize(
    "record",
    [
        Record(name="inferences", value=-1.0),
        Record(name="inferences", value=1.5),
        Record(name="inferences", value=2.0**60),
        Record(name="errors"),
        Record(name="energy.per_inference", value=-0.1),
        Record(name="energy.per_inference", value=1e9),
        Record(name="latency.sketch", data=b"\x01\xff"),
        Record(name="digest", string="ab" * 32),
        Record(base_name="acme/gw2/self/digits/1.0.0/active/", name="errors", value=1.0),
        Record(base_name="other/gw1/self/digits/1.0.0/active/", name="errors", value=1.0),
        Record(base_name="acme/gw1/self/digits/1.0.0/", name="errors", value=1.0),
        Record(base_name="acme/gw1/self/DIGITS/1.0.0/active/", name="errors", value=1.0),
        Record(base_name="acme/gw1/self/digits/1/active/", name="errors", value=1.0),
        Record(base_name="acme/gw1/self/digits/1.0.0/nowhere/", name="errors", value=1.0),
        Record(base_name="acme/gw1/self/", name="spool.dropped", value=-3.0),
    ],
)
def test_hostile_telemetry_attack_is_refused_as_a_whole(record: Record) -> None:
    with pytest.raises(DecodeError):
        read(pack(DIGEST, Record(name="inferences.x", value=1.0), record))


def test_hostile_telemetry_attack_cannot_carry_what_is_not_a_number() -> None:
    told = pack(Record(name="x", value=math.nan))
    with pytest.raises(ValueError, match="finite"):
        encode(told)


def test_hostile_telemetry_attack_cannot_grow_the_set_of_figures_without_end() -> None:
    many = [Record(name=f"x{n}", value=1.0) for n in range(100)]
    with pytest.raises(DecodeError, match="more than 64"):
        read(pack(DIGEST, *many))


def test_a_model_without_its_digest_is_refused() -> None:
    with pytest.raises(DecodeError, match="digest"):
        read(pack(Record(base_name=BASE, name="inferences", value=1.0)))


def test_windows_add_counts_and_sketches_and_weigh_energy_by_inferences() -> None:
    def told(count: int, energy: float) -> Telemetry:
        return pack(
            DIGEST,
            Record(name="inferences", value=float(count)),
            Record(name="latency.sketch", data=sketch_of([1000] * count).to_bytes()),
            Record(name="energy.per_inference", value=energy),
            Record(name="energy.source", string="measured:hwmon"),
        )

    key = ("gw1", "self", "digits", b"\xab" * 32, "active")
    window = Window(*key, 60, "1.0.0")
    for count, energy in ((10, 1e-6), (30, 3e-6)):
        window.add(read(told(count, energy)).performances[0])
    assert window.sketch == sketch_of([1000] * 40).to_bytes()
    assert (window.inferences, window.latency_count, window.reports) == (40, 40, 2)
    assert window.energy_sum_uj / window.energy_count == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("source", "proves"),
    [
        ("measured:rapl", True),
        ("measured:hwmon", True),
        ("modelled:calibrated", True),
        ("modelled:datasheet", False),
        ("", False),
    ],
)
def test_only_measured_or_calibrated_energy_may_revert(source: str, proves: bool) -> None:
    assert energy_is_proof(source) is proves
