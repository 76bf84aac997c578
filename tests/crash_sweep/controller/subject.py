"""The controller, as the runner sees it: its process stops, or its disk is full."""

from collections.abc import Sequence

from tests.crash_sweep.controller.port import Port, fork
from tests.crash_sweep.controller.scenarios import PORTS, SCENARIOS
from tests.crash_sweep.sweep import Cut


class Controllers:
    """A cut ends the process before a commit, a publication or a change to a file."""

    name = "controller"
    ways = ("stop",)
    second_ways = ("stop",)
    scenarios = SCENARIOS

    def launch(self, scenario: str, cuts: Sequence[Cut]) -> Port:
        return fork(PORTS[scenario](), cuts)

    def stop(self, ship: Port) -> None:
        ship.close()


class Stores:
    """A cut is one commit, or one change to a file, that a full disk refuses; the next one goes."""

    name = "store"
    ways = ("full",)
    second_ways = ("stop",)
    scenarios = SCENARIOS

    def launch(self, scenario: str, cuts: Sequence[Cut]) -> Port:
        port = fork(PORTS[scenario](), cuts)
        port.stops.is_disk_only = True
        return port

    def stop(self, ship: Port) -> None:
        ship.close()


class PortOfPages(Port):
    """Its operations are the pages by which the database grows."""

    def counts(self) -> tuple[int, ...]:
        if self.pages_more is None:
            return (self.pages - self.first_pages,)
        return (self.pages_more + 1, 0) if self.refusals else (0,)


class Pages:
    """A cut is a database that has no room for page `at`, until somebody makes some."""

    name = "pages"
    ways = ("full",)
    second_ways = ()
    scenarios = SCENARIOS

    def launch(self, scenario: str, cuts: Sequence[Cut]) -> Port:
        port = fork(PORTS[scenario](), (), PortOfPages)
        port.pages_more = cuts[0].at - 1 if cuts else None
        return port

    def stop(self, ship: Port) -> None:
        ship.close()


CONTROLLER = Controllers()
STORE = Stores()
PAGES = Pages()
