"""The hardware classes that every organization starts with.

Their energy models are figures from data sheets (`calibrated_s` is None): good for comparing
and alerting, never enough to revert a model. Calibrate your own class against a power meter.
"""

from typing import Final

from wherry_protocol.hardware import EnergyModel, HardwareClass

MIB: Final = 1 << 20
KIB: Final = 1 << 10

# Watts per busy core over cycles per second: 65 W TDP over 8 cores at 3.6 GHz; 7.6 W under load
# over 4 cores at 1.5 GHz (Raspberry Pi 4 data sheet); 33 uW/MHz (a Cortex-M7 at 40 nm).
DEFAULT_CLASSES: Final = (
    HardwareClass(
        name="linux-x86_64",
        architecture="x86_64",
        ram_bytes=4096 * MIB,
        flash_bytes=16384 * MIB,
        memory_budget_bytes=512 * MIB,
        storage_budget_bytes=1024 * MIB,
        temperature_c_min=0.0,
        temperature_c_max=95.0,
        energy_model=EnergyModel(nj_per_cycle=2.26, uncertainty=0.5, idle_mw=5000.0),
    ),
    HardwareClass(
        name="linux-arm64",
        architecture="aarch64",
        ram_bytes=1024 * MIB,
        flash_bytes=8192 * MIB,
        memory_budget_bytes=256 * MIB,
        storage_budget_bytes=512 * MIB,
        temperature_c_min=-20.0,
        temperature_c_max=85.0,
        energy_model=EnergyModel(nj_per_cycle=1.27, uncertainty=0.5, idle_mw=2700.0),
    ),
    HardwareClass(
        name="cortex-m-sim",
        architecture="cortex-m",
        ram_bytes=512 * KIB,
        flash_bytes=2 * MIB,
        memory_budget_bytes=256 * KIB,
        storage_budget_bytes=2 * MIB,
        temperature_c_min=-40.0,
        temperature_c_max=85.0,
        energy_model=EnergyModel(nj_per_cycle=0.033, uncertainty=0.5, idle_mw=1.0),
    ),
)
