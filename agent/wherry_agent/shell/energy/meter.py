"""The device's power sensor, read at a steady pace by whoever holds the clock."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wherry_protocol.hardware import EnergyModel

from wherry_agent.config import EnergyConfig
from wherry_agent.shell.energy import hwmon, rapl
from wherry_agent.telemetry.energy import (
    HWMON,
    RAPL,
    Basis,
    Integral,
    Snapshot,
    Work,
    add_counters,
    add_power,
    interrupt,
)

Advance = Callable[[Integral, int], Integral]  # (so far, now_us) -> next; OSError, ValueError

# A shunt of 1 % and the chip's gain error of at most 1 % (INA219 data sheet, SBOS448).
HWMON_UNCERTAINTY: Final = 0.02


@dataclass(frozen=True, slots=True)
class Sensor:
    """A source of measured energy. `uncertainty` is relative; RAPL's is not published: None."""

    source: str
    uncertainty: float | None
    advance: Advance


class Meter:
    """Reads one sensor and says on what basis energy is known. For one thread."""

    def __init__(self, config: EnergyConfig) -> None:
        self._sensor = find_sensor(config)
        self._may_model = config.source in ("auto", "model")
        self._missing = _why_missing(config)
        self._integral = Integral()

    def sample(self, now_us: int) -> None:
        """Reads the sensor once; call it every `energy.sample_s`, `now_us` monotonic."""
        if self._sensor is None:
            return
        try:
            self._integral = self._sensor.advance(self._integral, now_us)
        except (OSError, ValueError):
            self._integral = interrupt(self._integral)

    def snapshot(self, now_us: int, work: Mapping[str, Work]) -> Snapshot:
        """The rail and the models' work at this moment."""
        return Snapshot(now_us, self._integral, dict(work))

    def basis(self, model: EnergyModel | None) -> Basis:
        """How energy is known here, given the hardware class's energy model."""
        if self._sensor is not None:
            return Basis(self._sensor.source, self._sensor.uncertainty, model)
        if not self._may_model:
            return Basis(None, None, None, self._missing)
        return Basis(None, None, model)


def find_sensor(config: EnergyConfig) -> Sensor | None:
    """The sensor that `energy.source` asks for, or the best there is for `auto`."""
    if config.source in ("auto", "hwmon"):
        channels = hwmon.find_channels(config.hwmon_root)
        if config.rail is not None:
            channels = tuple(c for c in channels if c.name == config.rail)
        if channels:
            return _hwmon_sensor(channels, config.uncertainty)
    if config.source in ("auto", "rapl"):
        zones = rapl.find_zones(config.powercap_root)
        if zones:
            return _rapl_sensor(zones, config.uncertainty)
    return None


def _hwmon_sensor(channels: tuple[hwmon.Channel, ...], uncertainty: float | None) -> Sensor:
    def advance(integral: Integral, now_us: int) -> Integral:
        return add_power(integral, now_us, sum(hwmon.read_power_w(c) for c in channels))

    return Sensor(HWMON, HWMON_UNCERTAINTY if uncertainty is None else uncertainty, advance)


def _rapl_sensor(zones: tuple[rapl.Zone, ...], uncertainty: float | None) -> Sensor:
    ranges_uj = [zone.range_uj for zone in zones]

    def advance(integral: Integral, now_us: int) -> Integral:
        return add_counters(integral, now_us, rapl.read_counters_uj(zones), ranges_uj)

    return Sensor(RAPL, uncertainty, advance)


def _why_missing(config: EnergyConfig) -> str:
    def under(root: Path) -> str:
        return f" under {root}"[:180]

    return {
        "hwmon": "no INA2xx sensor" + under(config.hwmon_root),
        "rapl": "no readable RAPL counter" + under(config.powercap_root),
        "none": "energy is switched off in the device's configuration",
    }.get(config.source, "")
