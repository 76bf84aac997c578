"""The host's figures: from trees of the kernel's format, from this host, and reasons where none."""

import os
from pathlib import Path

import pytest
from wherry_agent.config import ResourcesConfig
from wherry_agent.shell.resources import (
    CpuMark,
    read_cpu_s,
    read_network,
    read_resources,
    read_rss_bytes,
    read_storage,
    read_temperature_c,
)
from wherry_agent.telemetry.energy import Unavailable


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def test_the_hottest_believable_zone_is_the_temperature(tmp_path):
    write(tmp_path / "thermal_zone0" / "temp", 41_250)
    write(tmp_path / "thermal_zone1" / "temp", 47_500)
    write(tmp_path / "thermal_zone2" / "temp", -274_000)
    write(tmp_path / "thermal_zone3" / "temp", "no")
    write(tmp_path / "cooling_device0" / "temp", 99_000)
    assert read_temperature_c(tmp_path) == 47.5


def test_a_host_without_zones_gives_a_reason(tmp_path):
    assert read_temperature_c(tmp_path) == Unavailable("no thermal zone")
    (tmp_path / "thermal_zone0").mkdir()
    assert read_temperature_c(tmp_path) == Unavailable("no thermal zone can be read")


def test_cpu_time_is_read_past_a_hostile_process_name(tmp_path):
    name = "(a) b (c))"
    numbers = " ".join(["S"] + ["0"] * 10 + ["250", "150"] + ["0"] * 30)
    write(tmp_path / "self" / "stat", f"1 ({name}) {numbers}")
    assert read_cpu_s(tmp_path) == pytest.approx(400 / os.sysconf("SC_CLK_TCK"))


def test_resident_memory_counts_pages(tmp_path):
    write(tmp_path / "self" / "statm", "5000 1200 900 1 0 800 0")
    assert read_rss_bytes(tmp_path) == 1200 * os.sysconf("SC_PAGE_SIZE")


def test_network_bytes_leave_the_loopback_out(tmp_path):
    for name, sent, received in [("lo", 10**9, 10**9), ("eth0", 100, 2000), ("wlan0", 7, 3)]:
        write(tmp_path / name / "statistics" / "tx_bytes", sent)
        write(tmp_path / name / "statistics" / "rx_bytes", received)
    assert read_network(tmp_path) == (107.0, 2003.0)


def test_storage_counts_what_lies_in_the_folder(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "a").write_bytes(os.urandom(40_000))
    used, free = read_storage(tmp_path)
    assert 40_000 <= used < 80_000
    assert free > 0


def test_this_host_answers_and_the_second_look_has_a_cpu_share(tmp_path):
    config = ResourcesConfig()
    first, mark = read_resources(config, tmp_path, None, 0)
    assert first.rss_bytes > 1e6
    assert first.cpu_ratio == Unavailable("the first look has nothing to compare with")
    second, _ = read_resources(config, tmp_path, CpuMark(mark.at_us, mark.cpu_s - 0.5), 1_000_000)
    assert second.cpu_ratio == pytest.approx(0.5, abs=0.3)


def test_every_figure_that_cannot_be_had_says_why(tmp_path):
    nowhere = tmp_path / "nowhere"
    config = ResourcesConfig(proc_root=nowhere, thermal_root=nowhere, network_root=nowhere)
    found, mark = read_resources(config, Path(nowhere), None, 0)
    assert mark is None
    for name in found.__slots__:
        figure = getattr(found, name)
        assert isinstance(figure, Unavailable), name
        assert figure.reason
