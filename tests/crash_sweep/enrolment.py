"""The files that make a device: its keys, its enrolment, what its link needs.

`wherry-agent enroll` is stopped before each change to a file. Then: keys that were made stay, a
device that was enrolled stays so, with the old answer or the new one, and TLS is never left out
for an answer that needs it. Beginning again always leads to the end.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wherry_agent.shell import identity_files, transport
from wherry_protocol.errors import WherryError
from wherry_protocol.messages.enrolment import BrokerLogin, UnitRequest

from tests.agent.director import Director
from tests.crash_sweep.controller.port import new_place
from tests.crash_sweep.controller.stops import Stops
from tests.crash_sweep.sweep import Broken, Cut, Leg, Scenario

UNITS = (UnitRequest(unit="self", hardware_class="linux-test"),)
PLAIN = BrokerLogin(host="127.0.0.1", port=1883, username="gw1", password="first")
SECURE = BrokerLogin(
    host="127.0.0.1", port=8883, username="gw1", password="second", is_tls=True, ca_pem="PEM"
)


@dataclass
class Desk:
    """A device's state folder, and the director who answers."""

    folder: Path
    stops: Stops
    director: Director = field(default_factory=Director)
    keys: dict[str, bytes] = field(default_factory=dict)
    is_enrolled: bool = False

    def wake(self) -> None:
        self.stops.is_armed = False
        self._check_keys()
        if self.is_enrolled:
            try:
                answer, _ = identity_files.read_enrolment(self.folder)
            except WherryError as error:
                raise Broken(f"a device that was enrolled is not any more: {error}") from error
            kept = (self.folder / transport.FILE).read_text().strip()
            if answer.broker.is_tls and kept != transport.TLS:
                raise Broken("TLS is left out, and the enrolment needs it")
        self.stops.is_armed = True

    def _check_keys(self) -> None:
        for name in (identity_files.SIGNING, identity_files.AGREEMENT):
            path = self.folder / name
            if path.exists() and self.keys.setdefault(name, path.read_bytes()) != path.read_bytes():
                raise Broken(f"{name} has changed")
            if name in self.keys and not path.exists():
                raise Broken(f"{name} is gone")

    def darken(self) -> None:
        """Files stay as they are."""

    def counts(self) -> tuple[int, ...]:
        return tuple(self.stops.counts)

    def end(self) -> object:
        self.wake()
        answer, identity = identity_files.read_enrolment(self.folder)
        left = sorted(path.name for path in self.folder.iterdir())
        return answer.broker, len(answer.roots), identity.connection, left


def enrolled(login: BrokerLogin) -> Leg:
    def leg(desk: Desk) -> None:
        request = identity_files.make_request(desk.folder, "gw1", UNITS, {}, "test")
        _, answer = desk.director.enrol(request, login)
        identity_files.keep_answer(desk.folder, answer)
        desk.is_enrolled = True

    return leg


def first(desk: Desk) -> Iterator[Leg]:  # noqa: ARG001  (as every scenario)
    yield enrolled(PLAIN)


def again(former: BrokerLogin, login: BrokerLogin) -> Callable[[Desk], Iterator[Leg]]:
    def scenario(desk: Desk) -> Iterator[Leg]:
        """Under a new root, for another broker."""
        yield enrolled(former)
        desk.director.rotate(epoch=1)
        yield enrolled(login)

    return scenario


class Enrolments:
    """A cut ends the process before a change to a file."""

    name = "enrolment"
    ways = ("stop",)
    second_ways = ("stop",)
    scenarios: dict[str, Scenario] = {  # noqa: RUF012  (a subject's table)
        "first": first,
        "again-with-tls": again(PLAIN, SECURE),
        "again-without-tls": again(SECURE, PLAIN),
    }

    def launch(self, scenario: str, cuts: Sequence[Cut]) -> Desk:  # noqa: ARG002
        place = new_place()
        desk = Desk(place, Stops(place, cuts))
        Stops.watching = desk.stops
        return desk

    def stop(self, ship: Desk) -> None:
        Stops.watching = None
        shutil.rmtree(ship.folder, ignore_errors=True)


ENROLMENT = Enrolments()
