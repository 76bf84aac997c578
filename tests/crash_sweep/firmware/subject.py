"""The firmware, as the runner sees it."""

from collections.abc import Sequence

from tests.crash_sweep.firmware.bench import WAYS, Bench
from tests.crash_sweep.firmware.scenarios import OLD, PORTS, SCENARIOS, blank
from tests.crash_sweep.sweep import Cut


class Boards:
    """A cut goes with one write unit, or a half of an erased sector."""

    name = "firmware"
    ways = WAYS
    second_ways = WAYS
    scenarios = SCENARIOS

    def launch(self, scenario: str, cuts: Sequence[Cut]) -> Bench:
        port = PORTS[scenario]
        return Bench(port(), list(cuts), confirmed=set() if port is blank else {OLD})

    def stop(self, ship: Bench) -> None:
        ship.close()


FIRMWARE = Boards()
