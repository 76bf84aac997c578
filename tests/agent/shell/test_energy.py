"""Energy: integrals, wraparound, gaps, sharing; sensors read from trees of the kernel's format."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_agent.config import EnergyConfig
from wherry_agent.shell.energy import Meter, find_sensor
from wherry_agent.shell.energy.hwmon import find_channels, read_power_w
from wherry_agent.shell.energy.rapl import find_zones
from wherry_agent.telemetry.energy import (
    CALIBRATED,
    DATASHEET,
    GAP_US_MAX,
    HWMON,
    RAPL,
    Basis,
    EnergyFigure,
    Integral,
    Snapshot,
    Unavailable,
    Work,
    add_counters,
    add_power,
    figures,
    interrupt,
)
from wherry_protocol.hardware import EnergyModel

SECOND = 1_000_000


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def ina226(root, power_uw, hwmon="hwmon2"):
    """The tree that Linux shows for one INA226."""
    chip = root / hwmon
    for name, text in {
        "name": "ina226",
        "in0_input": "12",
        "in1_input": "5012",
        "curr1_input": "400",
        "power1_input": str(power_uw),
        "shunt_resistor": "10000",
        "update_interval": "2",
    }.items():
        write(chip / name, text)
    return chip


def rapl_zone(folder, name, energy_uj, range_uj):
    write(folder / "name", name)
    write(folder / "energy_uj", energy_uj)
    write(folder / "max_energy_range_uj", range_uj)


# --- arithmetic


def test_power_is_integrated_by_trapezoids_over_monotonic_time():
    rail = Integral()
    for at_us, power_w in [(0, 1.0), (2 * SECOND, 3.0), (3 * SECOND, 3.0)]:
        rail = add_power(rail, at_us, power_w)
    assert rail.total_uj == pytest.approx(4.0e6 + 3.0e6)
    assert rail.covered_us == 3 * SECOND


def test_a_gap_is_not_bridged():
    rail = add_power(add_power(Integral(), 0, 2.0), GAP_US_MAX + 1, 2.0)
    assert rail.total_uj == 0.0
    assert rail.covered_us == 0
    rail = add_power(rail, GAP_US_MAX + 1 + SECOND, 2.0)
    assert rail.total_uj == pytest.approx(2.0e6)


def test_a_failed_reading_is_a_gap():
    rail = interrupt(add_power(Integral(), 0, 5.0))
    rail = add_power(rail, SECOND, 5.0)
    assert rail.total_uj == 0.0


def test_a_clock_that_goes_back_is_a_programmers_mistake():
    with pytest.raises(ValueError, match="after one at"):
        add_power(add_power(Integral(), 10, 1.0), 9, 1.0)


def test_counters_wrap_at_their_range():
    rail = add_counters(Integral(), 0, (900, 50), (1000, 1000))
    rail = add_counters(rail, SECOND, (99, 60), (1000, 1000))
    assert rail.total_uj == 200 + 10


@given(st.lists(st.integers(0, 400), min_size=2, max_size=50), st.integers(400, 5000))
def test_a_wrapping_counter_counts_what_a_wide_one_would(steps, range_uj):
    wide = 0
    rail = Integral()
    for i, step in enumerate(steps):
        wide += step
        rail = add_counters(rail, i * SECOND, (wide % (range_uj + 1),), (range_uj,))
    assert rail.total_uj == wide - steps[0]


def snapshots(power_w, seconds, work):
    rail = Integral()
    start = Snapshot(0, add_power(rail, 0, power_w), {})
    rail = start.rail
    for i in range(1, seconds + 1):
        rail = add_power(rail, i * SECOND, power_w)
    return start, Snapshot(seconds * SECOND, rail, work)


def test_measured_energy_is_shared_by_cpu_time_and_divided_by_inferences():
    work = {"a": Work(100, 3_000, 0), "b": Work(50, 1_000, 0), "idle": Work(0, 0, 0)}
    before, after = snapshots(2.0, 10, work)
    found = figures(before, after, Basis(HWMON, 0.02, None))
    assert found["a"] == EnergyFigure(pytest.approx(150_000.0), pytest.approx(1500.0), 0.02, HWMON)
    assert found["b"].per_inference_uj == pytest.approx(100_000.0)
    assert found["idle"] == Unavailable("no inference in the interval")
    assert found["a"].may_revert


def test_the_idle_power_that_a_class_states_is_not_charged_to_inferences():
    model = EnergyModel(nj_per_cycle=1.0, uncertainty=0.3, idle_mw=1500.0)
    before, after = snapshots(2.0, 10, {"a": Work(100, 1, 0)})
    found = figures(before, after, Basis(HWMON, None, model))
    assert found["a"].per_inference_uj == pytest.approx(0.5 * 10 * 1e6 / 100)
    assert found["a"].uncertainty is None


def test_an_interval_that_the_sensor_missed_has_a_reason_and_no_figure():
    rail = add_power(add_power(Integral(), 0, 2.0), SECOND, 2.0)
    before = Snapshot(0, Integral(), {})
    after = Snapshot(10 * SECOND, rail, {"a": Work(10, 10, 10)})
    found = figures(before, after, Basis(HWMON, 0.02, None))
    assert found["a"] == Unavailable("the power sensor was read for 10 % of the interval only")


@pytest.mark.parametrize(
    ("calibrated_s", "source", "may_revert"),
    [(None, DATASHEET, False), (1_700_000_000, CALIBRATED, True)],
)
def test_a_modelled_figure_is_cycles_times_the_class_and_says_so(calibrated_s, source, may_revert):
    model = EnergyModel(nj_per_cycle=0.5, uncertainty=0.3, calibrated_s=calibrated_s)
    before = Snapshot(0, Integral(), {"a": Work(10, 0, 1_000)})
    after = Snapshot(SECOND, Integral(), {"a": Work(20, 0, 2_001_000)})
    found = figures(before, after, Basis(None, None, model))["a"]
    assert found == EnergyFigure(pytest.approx(100.0), pytest.approx(1.0), 0.3, source)
    assert found.may_revert is may_revert


def test_waiting_longer_does_not_make_a_modelled_inference_dearer():
    model = EnergyModel(nj_per_cycle=0.5, uncertainty=0.3, idle_mw=900.0)
    work = {"a": Work(10, 0, 1_000)}
    start = Snapshot(0, Integral(), {})
    basis = Basis(None, None, model)
    short = figures(start, Snapshot(SECOND, Integral(), work), basis)["a"]
    long = figures(start, Snapshot(60 * SECOND, Integral(), work), basis)["a"]
    assert short.per_inference_uj == long.per_inference_uj


def test_without_sensor_and_model_there_is_a_reason():
    found = figures(
        Snapshot(0, Integral(), {}),
        Snapshot(SECOND, Integral(), {"a": Work(1, 1, 1)}),
        Basis(None, None, None),
    )
    assert "no energy model" in found["a"].reason


# --- sensors


def test_hwmon_reads_the_power_register_of_an_ina226(tmp_path):
    ina226(tmp_path, 2_004_800)
    write(tmp_path / "hwmon0" / "name", "coretemp")
    write(tmp_path / "hwmon0" / "power1_input", 99)
    (channel,) = find_channels(tmp_path)
    assert read_power_w(channel) == pytest.approx(2.0048)


def test_hwmon_multiplies_voltage_and_current_where_there_is_no_power_file(tmp_path):
    chip = tmp_path / "hwmon1"
    for name, text in {"name": "ina3221", "in1_label": "VDD_IN", "in1_input": "5000",
                       "curr1_input": "1200", "in2_label": "VDD_CPU", "in2_input": "5000",
                       "curr2_input": "-100", "in3_input": "5000"}.items():  # fmt: skip
        write(chip / name, text)
    total, cpu = find_channels(tmp_path)
    assert (total.name, read_power_w(total)) == ("VDD_IN", pytest.approx(6.0))
    assert read_power_w(cpu) == pytest.approx(-0.5)


def test_one_rail_can_be_chosen_by_its_label(tmp_path):
    ina226(tmp_path, 1_000_000, "hwmon1")
    chip = ina226(tmp_path, 3_000_000, "hwmon2")
    write(chip / "in1_label", "VDD_IN")
    config = EnergyConfig(hwmon_root=tmp_path, rail="VDD_IN")
    sensor = find_sensor(config)
    assert sensor.advance(Integral(), 0).power_w == pytest.approx(3.0)
    assert find_sensor(EnergyConfig(hwmon_root=tmp_path)).advance(Integral(), 0).power_w == 4.0


def test_a_meter_follows_the_tree_and_survives_a_sensor_that_vanishes(tmp_path):
    chip = ina226(tmp_path, 2_000_000)
    meter = Meter(EnergyConfig(hwmon_root=tmp_path, uncertainty=0.01))
    before = meter.snapshot(0, {})
    for i in range(11):
        meter.sample(i * SECOND)
    work = {"a": Work(1000, 5, 5)}
    after = meter.snapshot(10 * SECOND, work)
    basis = meter.basis(None)
    found = figures(before, after, basis)["a"]
    assert found == EnergyFigure(pytest.approx(20_000.0), pytest.approx(2000.0), 0.01, HWMON)

    (chip / "power1_input").unlink()
    for i in range(11, 30):
        meter.sample(i * SECOND)
    later = meter.snapshot(29 * SECOND, {"a": Work(2000, 9, 9)})
    assert isinstance(figures(after, later, basis)["a"], Unavailable)


def test_rapl_adds_packages_and_their_memory_but_nothing_twice(tmp_path):
    package = tmp_path / "intel-rapl:0"
    rapl_zone(package, "package-0", 10, 262_143_328_850)
    rapl_zone(package / "intel-rapl:0:0", "core", 5, 262_143_328_850)
    rapl_zone(package / "intel-rapl:0:1", "dram", 3, 65_712_999_613)
    rapl_zone(tmp_path / "intel-rapl:0:1", "dram", 3, 65_712_999_613)  # sysfs shows it here too
    rapl_zone(tmp_path / "intel-rapl:1", "psys", 90, 262_143_328_850)
    rapl_zone(tmp_path / "intel-rapl-mmio:0", "package-0", 10, 262_143_328_850)
    assert [zone.name for zone in find_zones(tmp_path)] == ["package-0", "dram"]


def test_rapl_wraps_in_the_meter(tmp_path):
    zone = tmp_path / "intel-rapl:0"
    rapl_zone(zone, "package-0", 999_000, 999_999)
    config = EnergyConfig(hwmon_root=tmp_path / "none", powercap_root=tmp_path)
    meter = Meter(config)
    assert meter.basis(None).source == RAPL
    meter.sample(0)
    before = meter.snapshot(0, {})
    write(zone / "energy_uj", 1_000)
    meter.sample(SECOND)
    after = meter.snapshot(SECOND, {"a": Work(10, 1, 1)})
    assert figures(before, after, meter.basis(None))["a"].per_inference_uj == pytest.approx(200.0)


def test_a_sensor_that_was_asked_for_and_is_absent_is_not_replaced_by_a_model(tmp_path):
    model = EnergyModel(nj_per_cycle=1.0, uncertainty=0.3)
    basis = Meter(EnergyConfig(source="hwmon", hwmon_root=tmp_path)).basis(model)
    assert (basis.source, basis.model) == (None, None)
    assert str(tmp_path) in basis.reason


def test_auto_falls_back_to_the_model_of_the_class(tmp_path):
    model = EnergyModel(nj_per_cycle=1.0, uncertainty=0.3)
    config = EnergyConfig(hwmon_root=tmp_path, powercap_root=tmp_path)
    assert Meter(config).basis(model) == Basis(None, None, model)
