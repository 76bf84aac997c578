"""What an inference will take on a class of hardware, before anything is deployed: modelled.

Rules:
1. cycles = multiply-accumulates · a + values written · b + nodes · c, with a, b, c of the class's
   architecture (COSTS, which say where they come from and how far off they may be).
2. Latency is cycles over the clock. Energy is cycles times the class's nJ per cycle; without an
   energy model there is none.
3. These are estimates to choose by, never figures for a gate: gates want what was measured.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from wherry_native.program import ProgramDescription
from wherry_protocol.hardware import HardwareClass


@dataclass(frozen=True, slots=True)
class Cost:
    """Cycles of the engine's kernels on one architecture. The truth is expected between the
    estimate divided by `factor` and the estimate times `factor`."""

    cycles_per_mac: float
    cycles_per_value: float
    cycles_per_node: float
    cycles_per_us: float
    factor: float
    source: str


COSTS: Final = {
    "x86_64": Cost(
        0.034, 3.6, 150, 2450, 2.0,
        "fitted to three MLPerf Tiny models with the AVX2 kernels on an AMD EPYC at 2.45 GHz",
    ),
    "aarch64": Cost(
        0.25, 12, 150, 1500, 3.0,
        "assumed, not measured: NEON kernels on a Cortex-A72 at 1.5 GHz",
    ),
    "cortex-m": Cost(
        4.0, 30, 200, 480, 3.0,
        "assumed from instructions, not measured: 25 per requantized value under QEMU, about 4 per "
        "multiply-accumulate of the portable kernels, a Cortex-M7 at 480 MHz",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Estimate:
    """Modelled figures of one inference on one class; None where the class lacks what it needs."""

    hardware_class: str
    latency_us: float | None
    energy_uj: float | None
    factor: float | None
    source: str

    def as_plain(self) -> dict[str, Any]:
        return {
            "class": self.hardware_class,
            "is_modelled": True,
            "latency_us": self.latency_us,
            "energy_uj": self.energy_uj,
            "factor": self.factor,
            "source": self.source,
        }


def estimates(program: ProgramDescription, classes: Sequence[HardwareClass]) -> list[Estimate]:
    """One estimate per class."""
    return [_estimate(program, profile) for profile in classes]


def _estimate(program: ProgramDescription, profile: HardwareClass) -> Estimate:
    cost = COSTS.get(profile.architecture)
    if cost is None:
        known = ", ".join(COSTS)
        told = f"no costs are known for architecture {profile.architecture!r}, only for {known}"
        return Estimate(profile.name, None, None, None, told)
    values = sum(math.prod(program.tensors[node.output].shape) for node in program.nodes)
    cycles = (
        program.macs * cost.cycles_per_mac
        + values * cost.cycles_per_value
        + len(program.nodes) * cost.cycles_per_node
    )
    model = profile.energy_model
    energy = None if model is None else cycles * model.nj_per_cycle / 1000
    source = cost.source
    if model is not None:
        origin = "a data sheet" if model.calibrated_s is None else "a calibration"
        source += (
            f"; energy by {model.nj_per_cycle:g} nJ per cycle, from {origin}, "
            f"±{model.uncertainty:.0%}"
        )
    return Estimate(profile.name, cycles / cost.cycles_per_us, energy, cost.factor, source)
