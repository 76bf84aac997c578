"""The agent, as the runner sees it."""

from collections.abc import Sequence

from tests.crash_sweep.agent.disk import ENDS, FAILS
from tests.crash_sweep.agent.scenarios import PORTS, SCENARIOS
from tests.crash_sweep.agent.ship import Bay, ready
from tests.crash_sweep.sweep import Cut


class Agents:
    """A cut is a power cut, in four ways, or an operation that fails once."""

    name = "agent"
    ways = (*ENDS, *FAILS)
    second_ways = ENDS
    scenarios = SCENARIOS

    def launch(self, scenario: str, cuts: Sequence[Cut]) -> Bay:
        return ready(PORTS[scenario](), cuts)

    def stop(self, ship: Bay) -> None:
        """Nothing is held."""


AGENT = Agents()
