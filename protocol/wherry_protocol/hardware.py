"""Hardware classes: what a kind of device has, may use, and how its energy is modelled."""

from wherry_protocol.codec import Nested, Real, Text, Uint, field, instruction, part
from wherry_protocol.messages.limits import Ratio, UnixSeconds
from wherry_protocol.names import ClassName


@part
class EnergyModel:
    """Joules from cycles: `cycles * nj_per_cycle`, with the relative uncertainty of that factor.

    `calibrated_s` is the Unix time of the calibration against a meter; None means a figure from
    a data sheet, which may alert and never reverts a model.
    """

    nj_per_cycle: float = field(1, Real(0.0, 1e6))
    uncertainty: float = field(2, Ratio)
    idle_mw: float = field(3, Real(0.0, 1e6), default=0.0)
    calibrated_s: int | None = field(4, UnixSeconds, default=None)


@instruction("wherry-class")
class HardwareClass:
    """A named device profile. A limit that is None is not limited by the class."""

    name: str = field(1, ClassName)
    architecture: str = field(2, Text(32))
    ram_bytes: int = field(3, Uint())
    flash_bytes: int = field(4, Uint())
    memory_budget_bytes: int = field(5, Uint())
    storage_budget_bytes: int = field(6, Uint())
    latency_us_max: int | None = field(7, Uint(), default=None)
    power_mw_max: float | None = field(8, Real(0.0, 1e9), default=None)
    energy_uj_max: float | None = field(9, Real(0.0, 1e12), default=None)
    temperature_c_min: float | None = field(10, Real(-273.15, 1000.0), default=None)
    temperature_c_max: float | None = field(11, Real(-273.15, 1000.0), default=None)
    energy_model: EnergyModel | None = field(12, Nested(EnergyModel), default=None)
