"""Intervals of a unit's figures: due in time, differences only, nothing lost at an unload."""

from dataclasses import replace

import pytest
from wherry_agent.telemetry import glance, sampling
from wherry_agent.telemetry.counters import Counters
from wherry_agent.telemetry.energy import (
    HWMON,
    Basis,
    EnergyFigure,
    Integral,
    Unavailable,
    add_power,
)
from wherry_agent.telemetry.sampling import Look
from wherry_agent.telemetry.shadow import ShadowCounts
from wherry_protocol.hardware import EnergyModel
from wherry_protocol.messages.desired import TelemetryConfig
from wherry_protocol.sketch import sketch_of

SECOND = 1_000_000
NO_ENERGY = Basis(None, None, None)
CONFIG = TelemetryConfig(performance_s=60, resources_s=30)


def look(key="1", inferences=0, slot="active", **more) -> Look:
    counters = Counters(
        inferences=inferences, cpu_ns=inferences * 10, cycles=inferences * 1000,
        latency=sketch_of([2_000_000] * inferences), **more,
    )  # fmt: skip
    return Look(key, "digits", "1.0.0", slot, bytes(32), counters)


def begun():
    return sampling.begin("acme/gw1/self/", CONFIG, 0, Integral())


def counts(pack, name="inferences"):
    return next(record.value for record in pack if record.name == name)


def test_performance_is_due_after_its_interval_and_resources_at_once():
    state = begun()
    assert not sampling.is_performance_due(state, 60 * SECOND - 1)
    assert sampling.is_performance_due(state, 60 * SECOND)
    assert sampling.is_resources_due(state, 0)
    state = sampling.resources_sent(state, 0)
    assert not sampling.is_resources_due(state, 30 * SECOND - 1)
    assert sampling.is_resources_due(state, 30 * SECOND)
    hasty = sampling.configure(state, TelemetryConfig(performance_s=1))
    assert sampling.is_performance_due(hasty, SECOND)


def test_each_pack_counts_its_own_interval():
    state = begun()
    state, (first,) = sampling.performance(
        state, 60 * SECOND, [look(inferences=5)], Integral(), NO_ENERGY
    )
    state, (second,) = sampling.performance(
        state, 90 * SECOND, [look(inferences=7)], Integral(), NO_ENERGY
    )
    assert (counts(first), counts(second)) == (5, 2)
    assert (counts(first, "interval"), counts(second, "interval")) == (60.0, 30.0)


def test_what_a_bundle_did_as_a_shadow_is_not_counted_for_it_as_active():
    """It was switched in within the interval."""
    counts_of_6 = ShadowCounts(compared=6, agreed=5)
    shadow = replace(
        look("2", 6, slot="shadow"), shadow=counts_of_6, shadow_key="2.9", disagreements=()
    )
    state = sampling.closing(begun(), shadow)
    looks = [look("1", 20, slot="previous"), look("2", 10)]
    state, packs = sampling.performance(state, 60 * SECOND, looks, Integral(), NO_ENERGY)
    told = {pack[0].base_name.split("/")[-2]: counts(pack) for pack in packs}
    assert told == {"shadow": 6, "previous": 20, "active": 4}
    (pack,) = [one for one in packs if "/shadow/" in one[0].base_name]
    assert (counts(pack, "shadow.compared"), counts(pack, "shadow.agreed")) == (6, 5)
    looks = [look("1", 20, slot="previous"), look("2", 13)]
    _, packs = sampling.performance(state, 120 * SECOND, looks, Integral(), NO_ENERGY)
    assert [counts(pack) for pack in packs] == [3]


def test_a_shadow_has_a_pack_with_its_counts_in_every_interval():
    def beside(compared: int) -> Look:
        shadow = ShadowCounts(compared=compared, agreed=compared, skipped_energy=2 * compared)
        return replace(look("2", compared, slot="shadow"), shadow=shadow, shadow_key="2.9")

    state, told = begun(), []
    for n, compared in enumerate((3, 3, 7)):
        looks = [look("1", 20 * n), beside(compared)]
        at_us = (n + 1) * 60 * SECOND
        state, packs = sampling.performance(state, at_us, looks, Integral(), NO_ENERGY)
        names = ("shadow.compared", "shadow.skipped.energy", "inferences")
        told.append(tuple(counts(packs[1], name) for name in names))
    assert told == [(3, 6, 3), (0, 0, 0), (4, 8, 4)]


def test_a_bundle_that_does_nothing_is_told_only_while_it_is_active():
    looks = [look("1"), look("2", slot="previous"), look("3", 4, slot="candidate")]
    _, packs = sampling.performance(begun(), SECOND, looks, Integral(), NO_ENERGY)
    assert [pack[0].base_name.split("/")[-2] for pack in packs] == ["active", "candidate"]


def test_the_last_counts_of_an_unloaded_bundle_arrive_once():
    state, _ = sampling.performance(begun(), SECOND, [look("1", 5)], Integral(), NO_ENERGY)
    state = sampling.closing(state, look("1", 8, errors=3, errors_engine=3))
    state, packs = sampling.performance(state, 2 * SECOND, [look("2", 1)], Integral(), NO_ENERGY)
    assert [counts(pack) for pack in packs] == [3, 1]
    assert counts(packs[0], "errors") == 3
    _, packs = sampling.performance(state, 3 * SECOND, [look("2", 1)], Integral(), NO_ENERGY)
    assert [counts(pack) for pack in packs] == [0]


def test_energy_of_the_interval_comes_from_the_rail():
    rail = add_power(Integral(), 0, 2.0)
    state = sampling.begin("b/", CONFIG, 0, rail)
    rail = add_power(rail, SECOND, 2.0)
    _, (pack,) = sampling.performance(
        state, SECOND, [look(inferences=100)], rail, Basis(HWMON, 0.02, None)
    )
    assert counts(pack, "energy.per_inference") == pytest.approx(0.02)


def test_a_trial_is_judged_by_everything_since_its_swap():
    before = look(inferences=10, errors=1).counters
    now = look(inferences=30, errors=3)
    cost = EnergyFigure(500.0, 1.0, 0.02, HWMON)
    found = sampling.trial_figures("self", now, before, cost)
    assert (found.good_count, found.error_count) == (18, 2)
    assert found.latency_us_mean == pytest.approx(2000.0)
    assert found.latency_us_p95 == pytest.approx(2000, rel=1 / 64)
    assert found.energy_uj_mean == 500.0


@pytest.mark.parametrize(
    "energy",
    [Unavailable("no sensor"), EnergyFigure(500.0, 1.0, 0.3, "modelled:datasheet")],
)
def test_energy_that_is_only_modelled_never_judges_a_trial(energy):
    assert (
        sampling.trial_figures("self", look(inferences=3), Counters(), energy).energy_uj_mean
        is None
    )


def test_modelled_energy_reaches_the_pack_with_its_label():
    model = EnergyModel(nj_per_cycle=1.0, uncertainty=0.4)
    basis = replace(NO_ENERGY, model=model)
    _, (pack,) = sampling.performance(begun(), SECOND, [look(inferences=10)], Integral(), basis)
    assert counts(pack, "energy.per_inference") == pytest.approx(1e-6)
    source = next(record for record in pack if record.name == "energy.source")
    assert source.string == "modelled:datasheet"


def test_a_glance_changes_nothing_and_tells_figures_or_reasons():
    model = EnergyModel(nj_per_cycle=1.0, uncertainty=0.4)
    basis = replace(NO_ENERGY, model=model)
    state, _ = sampling.performance(begun(), SECOND, [look(inferences=10)], Integral(), basis)
    now = [look(inferences=14, errors=1)]
    energy = sampling.energy_now(state, 2 * SECOND, now, Integral(), basis)
    told = glance.counted(now[0], energy["1"])
    assert (told["inferences"], told["errors"], told["slot"]) == (14, 1, "active")
    assert told["energy"]["per_inference_uj"] == pytest.approx(1.0)
    assert told["latency_us_p95"] == pytest.approx(2000, rel=1 / 64)
    idle = glance.counted(look(), Unavailable("no inference in the interval"))
    assert idle["energy"] == {"unavailable": "no inference in the interval"}
    assert idle["latency_us_p95"] is None
    resources = glance.plain({"cpu": 0.1, "temperature": Unavailable("no thermal zone")})
    assert resources == {"cpu": 0.1, "temperature": {"unavailable": "no thermal zone"}}
