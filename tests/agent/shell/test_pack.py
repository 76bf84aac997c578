"""SenML packs: names and units as documented, deltas, reasons where there is no figure."""

import pytest
from wherry_agent.telemetry.counters import Counters, counters_of, since
from wherry_agent.telemetry.energy import EnergyFigure, Unavailable
from wherry_agent.telemetry.pack import (
    RESOURCE_UNITS,
    Performance,
    performance_pack,
    resources_pack,
    unit_base,
)
from wherry_protocol.codec import decode, encode
from wherry_protocol.messages.observed import Origin, Telemetry
from wherry_protocol.sketch import from_bytes, sketch_of

from tests.agent.shell.serving import Device, contract, identity_image

BASE = unit_base("acme", "gw1", "self")
ENERGY = EnergyFigure(250.0, 12.5, 0.3, "modelled:calibrated")


def counted(durations_ns, **more) -> Counters:
    return Counters(inferences=len(durations_ns), latency=sketch_of(durations_ns), **more)


def seen(done, energy=ENERGY) -> Performance:
    return Performance("digits", "1.0.0", "active", bytes(32), 60.0, done, energy)


def values(pack):
    return {record.name: record for record in pack}


def test_a_models_pack_has_the_documented_names_and_units():
    done = counted(
        [1_000_000] * 90 + [4_000_000] * 10, errors=2, errors_engine=1, errors_deadline=2, refused=3
    )
    pack = performance_pack(BASE, seen(done))
    assert pack[0].base_name == "acme/gw1/self/digits/1.0.0/active/"
    assert all(record.base_name is None for record in pack[1:])
    found = {record.name: (record.unit, record.value) for record in pack}
    assert found == {
        "digest": (None, None),
        "interval": ("s", 60.0),
        "inferences": ("1", 100.0),
        "errors": ("1", 2.0),
        "errors.engine": ("1", 1.0),
        "errors.deadline": ("1", 2.0),
        "errors.range": ("1", 0.0),
        "refused": ("1", 3.0),
        "latency.count": ("1", 100.0),
        "latency.sum": ("s", pytest.approx(0.13)),
        "latency.p50": ("s", pytest.approx(0.001, rel=1 / 64)),
        "latency.p95": ("s", pytest.approx(0.004, rel=1 / 64)),
        "latency.p99": ("s", pytest.approx(0.004, rel=1 / 64)),
        "latency.sketch": (None, None),
        "energy.per_inference": ("J", pytest.approx(250e-6)),
        "power.mean": ("W", pytest.approx(0.0125)),
        "energy.uncertainty": ("/", 0.3),
        "energy.source": (None, None),
    }
    assert values(pack)["energy.source"].string == "modelled:calibrated"
    assert from_bytes(values(pack)["latency.sketch"].data) == done.latency


def test_figures_that_cannot_be_had_carry_the_reason():
    pack = values(performance_pack(BASE, seen(counted([]), Unavailable("no energy model"))))
    assert pack["energy.per_inference.unavailable"].string == "no energy model"
    assert pack["power.mean.unavailable"].string == "no energy model"
    assert pack["latency.p95.unavailable"].string == "no inference in the interval"
    assert "energy.source" not in pack
    unknown = values(performance_pack(BASE, seen(counted([5]), EnergyFigure(1, 1, None, "x"))))
    assert "energy.uncertainty.unavailable" in unknown


def test_the_units_pack_has_the_documented_names_and_units():
    figures = {**dict.fromkeys(RESOURCE_UNITS, 1.0), "temperature": Unavailable("no thermal zone")}
    pack = values(resources_pack(BASE, figures))
    assert pack["temperature.unavailable"].string == "no thermal zone"
    assert {name: record.unit for name, record in pack.items() if record.unit} == {
        name: unit for name, unit in RESOURCE_UNITS.items() if name != "temperature"
    }
    with pytest.raises(KeyError):
        resources_pack(BASE, {"memory.rrs": 1.0})


def test_packs_travel_in_a_telemetry_message():
    origin = Origin(
        org="acme", connection="gw1", unit="self", boot_id=bytes(16), sequence=1, oldest=1,
        monotonic_us=5,
    )  # fmt: skip
    durations = [7**i for i in range(11)]
    message = Telemetry(origin=origin, pack=performance_pack(BASE, seen(counted(durations))))
    assert decode(Telemetry, encode(message)) == message


def test_counters_of_a_real_loop_come_out_as_differences():
    device = Device()
    instance = device.swap("1.0.0", identity_image(), contract(), valid_min=-10, valid_max=10)
    for data in (bytes(4), bytes(4), bytes([99] * 4)):
        device.infer("echo", data, 5.0)
    first = counters_of(instance.stats())
    for data in (bytes(4), bytes(3)):
        device.infer("echo", data, 5.0)
    second = counters_of(instance.stats())
    device.loop.stop()
    assert (first.inferences, first.errors, first.errors_range, first.refused) == (3, 1, 1, 0)
    done = since(second, first)
    assert (done.inferences, done.errors, done.refused) == (1, 0, 1)
    assert done.latency.count == 1
    assert done.cycles > 0
    assert done.work.inferences == 1


def test_a_count_that_went_back_is_a_programmers_mistake():
    with pytest.raises(ValueError, match="0 inferences after 1"):
        since(Counters(), Counters(inferences=1))
