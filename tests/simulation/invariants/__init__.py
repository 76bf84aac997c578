"""What must hold whatever went wrong (DESIGN, "Invariants"): before each effect of a device, after
each of its events and each of the controller's, while nothing disturbs a device, and in the end."""

from tests.simulation.invariants.broken import Violation, broken
from tests.simulation.invariants.controller import check_controller
from tests.simulation.invariants.convergence import check_end, unsettled
from tests.simulation.invariants.devices import check_device
from tests.simulation.invariants.effects import check_boot, check_effect
from tests.simulation.invariants.quiet import check_quiet

__all__ = [
    "Violation",
    "broken",
    "check_boot",
    "check_controller",
    "check_device",
    "check_effect",
    "check_end",
    "check_quiet",
    "unsettled",
]
