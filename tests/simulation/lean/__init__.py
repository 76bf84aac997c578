"""A hundred thousand devices through one canary, in virtual time, in one process or several.

Real: the agent's core of every device, from its boot over assignment, transfer and trial to
confirmation; the rollout core that opens stages, judges gates and counts members; the figures of
telemetry; the encryption of chunks. Everything around them is a twin that is as small as it can be
(`world.TWINS`), so that what is measured are the cores.

    outcome = sail_canary(100_000)

With `is_light` the devices are twins too (`light`, `LIGHT_TWINS`): what the agent's core does, and
what telemetry and chunks come to, is asked of the real ones once for every way in which it may go.
"""

from tests.simulation.lean.canary import Outcome, sail_canary
from tests.simulation.lean.light import LIGHT_TWINS
from tests.simulation.lean.world import TWINS

__all__ = ["LIGHT_TWINS", "TWINS", "Outcome", "sail_canary"]
