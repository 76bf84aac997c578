"""What a controller goes through under the stops. A new scenario is one function here.

A leg looks first whether what it orders was done already: an operator whose answer was lost does.
"""

# ruff: noqa: ARG001  (every scenario takes the same parameter)

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from wherry_controller import backup
from wherry_controller.core.rollouts import events as told
from wherry_controller.fleet import (
    bundles,
    configuring,
    deploying,
    enrolment,
    rollouts,
    trustees,
)
from wherry_controller.layout import DataDir
from wherry_controller.settings import BrokerSettings
from wherry_controller.store import audit, devices, registry
from wherry_controller.store import rollouts as kept
from wherry_protocol import cose
from wherry_protocol.codec import content_type, encode
from wherry_protocol.errors import StateError, WherryError
from wherry_protocol.keys import SigningKey
from wherry_protocol.messages.trust import Root, TrustRole

from tests.controller.device import FakeDevice
from tests.controller.made import bundle_file
from tests.controller.world import DIRECT
from tests.crash_sweep.controller.port import Port, founded
from tests.crash_sweep.sweep import Broken, Leg, Scenario

SCENARIOS: dict[str, Scenario] = {}
PORTS: dict[str, Callable[[], Port]] = {}
DEVICES = 4
TRIAL = {"good_inferences_min": 1, "trial_s_min": 0.0}
NO_GATE = {"is_gated": False}
HALVES = {
    "stages": [{"share": "50%", "soak_s": 2.0, **NO_GATE}, {"share": "100%", **NO_GATE}],
    "trial": TRIAL,
}
CANARY = {
    "stages": [{"share": "25%", "soak_s": 2.0}, {"share": "100%", **NO_GATE}],
    "trial": TRIAL,
    "gate": {"requests_min": 500, "interval_s": 2.0, "require": ["errors", "latency"],
             "error_rate_max": 0.01},
}  # fmt: skip


def scenario(port: Callable[[], Port]) -> Callable[[Scenario], Scenario]:
    def register(act: Scenario) -> Scenario:
        name = act.__name__.replace("_", "-")
        SCENARIOS[name], PORTS[name] = act, port
        return act

    return register


# --- legs


def enrolled(name: str) -> Leg:
    device = FakeDevice(name)

    def leg(port: Port) -> None:
        if device.answer is None:
            port.devices.pop(name, None)
            _, answer = port.do(
                lambda org: enrolment.enroll(
                    org, device.request(), BrokerSettings(), "", "ada", port.now_s
                )
            )
            device.take_answer(answer)
            port.devices[name] = device
            port.hear(device.presence(), device.reported())
        port.until(lambda now: devices.connection(now.org.db, name).is_online == 1, "it is here")

    return leg


def pushed(version: str, model: str = "digits", **options: Any) -> Leg:
    def leg(port: Port) -> None:
        if registry.find_version(port.org.db, model, version) is None:
            data = bundle_file(port.release, version, model=model, program_bytes=640, **options)
            port.do(lambda org: bundles.push(org, data, "ada", port.now_s))

    return leg


def ordered(version: str, plan: dict[str, Any], model: str = "digits", *, nth: int = 1) -> Leg:
    """The model's `nth` rollout is there."""

    def leg(port: Port) -> None:
        if sum(row.model == model for row in kept.everyone(port.org.db)) < nth:
            order = deploying.Order(model, version, "all", plan, "test", True)
            port.do(lambda org: deploying.create(org, order, "ada", port.now_s))

    return leg


def newest(port: Port, model: str = "digits") -> kept.RolloutRow:
    rows = [row for row in kept.everyone(port.org.db) if row.model == model]
    return max(rows, key=lambda row: int(row.id.rpartition("-")[2]))


def comes_to(state: str, model: str = "digits") -> Leg:
    def leg(port: Port) -> None:
        port.until(lambda now: newest(now, model).state == state, f"the rollout is {state}")

    return leg


def verified(port: Port) -> None:
    """What went back is looked at, and proves that it is what was there before."""
    port.until(said("verification.end"), "the way back is verified")


def all_serve(version: str, model: str = "digits") -> Leg:
    def leg(port: Port) -> None:
        port.until(
            lambda now: list(now.versions(model).values()) == [version] * len(now.devices),
            f"all serve {version}",
        )

    return leg


def spoken(event: Callable[[], Any], state: str) -> Leg:
    """An operator tells the newest rollout something, unless it is in that state already."""

    def leg(port: Port) -> None:
        row = newest(port)
        if row.state != state:
            port.do(lambda org: rollouts.tell(org, row.id, event(), port.now_s) and None)

    return leg


def seconds(count: int) -> Leg:
    left = [count]

    def leg(port: Port) -> None:
        while left[0] > 0:
            left[0] -= 1
            port.second()

    return leg


def said(action: str) -> Callable[[Port], bool]:
    """Is there an audit row of this action?"""
    return lambda port: any(row.action == action for row in audit.everything(port.org.db))


def once(is_done: Callable[[Port], bool], command: Callable[[Port], Any]) -> Leg:
    def leg(port: Port) -> None:
        if not is_done(port):
            port.do(lambda _: command(port) and None)

    return leg


# --- ports of departure


def _sail(port: Port, *legs: Leg) -> Port:
    for leg in legs:
        port.wake()
        leg(port)
    port.darken()
    return port


@cache
def empty() -> Port:
    return founded()


@cache
def with_devices() -> Port:
    return _sail(founded(), *(enrolled(f"gw{n}") for n in range(DEVICES)), pushed("1.0.0"))


@cache
def at_sea() -> Port:
    """All serve 1.0.0, and 1.1.0 is in the registry."""
    port = founded()
    legs = [enrolled(f"gw{n}") for n in range(DEVICES)]
    legs += [pushed("1.0.0"), ordered("1.0.0", DIRECT), comes_to("succeeded"), pushed("1.1.0")]
    return _sail(port, *legs)


# --- registry and enrolment


@scenario(empty)
def enrol(port: Port) -> Iterator[Leg]:
    yield enrolled("gw0")
    yield enrolled("gw1")


@scenario(empty)
def push(port: Port) -> Iterator[Leg]:
    """Two bundles that share a blob."""
    yield pushed("1.0.0", backbone="shared")
    yield pushed("1.1.0", backbone="shared")


@scenario(with_devices)
def push_the_next(port: Port) -> Iterator[Leg]:
    yield pushed("1.1.0")
    yield pushed("1.0.0", model="words")


# --- rollouts


@scenario(with_devices)
def direct(port: Port) -> Iterator[Leg]:
    yield ordered("1.0.0", DIRECT)
    yield comes_to("succeeded")


@scenario(at_sea)
def rolling(port: Port) -> Iterator[Leg]:
    yield ordered("1.1.0", HALVES, nth=2)
    yield comes_to("succeeded")


def good(device: FakeDevice) -> dict[str, Any]:
    return {"inferences": 1000, "errors": 1}


def bad_if_new(device: FakeDevice) -> dict[str, Any]:
    return {"inferences": 1000, "errors": 900 if device.active["digits"].version > "1.0.0" else 1}


@scenario(at_sea)
def canary_that_succeeds(port: Port) -> Iterator[Leg]:
    port.figures = good
    yield ordered("1.1.0", CANARY, nth=2)
    yield comes_to("succeeded")


@scenario(at_sea)
def canary_that_reverts(port: Port) -> Iterator[Leg]:
    port.figures = bad_if_new
    yield ordered("1.1.0", CANARY, nth=2)
    yield comes_to("reverted")
    yield all_serve("1.0.0")
    yield verified


@scenario(at_sea)
def paused_and_resumed(port: Port) -> Iterator[Leg]:
    yield ordered("1.1.0", HALVES, nth=2)
    yield seconds(1)
    yield once(said("rollout.pause"), _tell(told.Pause("ada", "lunch")))
    yield seconds(3)
    yield once(said("rollout.resume"), _tell(told.Resume("ada", "back")))
    yield comes_to("succeeded")


@scenario(at_sea)
def aborted(port: Port) -> Iterator[Leg]:
    yield ordered("1.1.0", HALVES, nth=2)
    yield lambda now: now.until(lambda p: "1.1.0" in p.versions().values(), "some have it")
    yield spoken(lambda: told.Abort("ada", "wrong one"), "aborted")
    yield seconds(4)


@scenario(at_sea)
def taken_back(port: Port) -> Iterator[Leg]:
    """Reverted by an operator after half of the fleet has it."""
    yield ordered("1.1.0", HALVES, nth=2)
    yield lambda now: now.until(lambda p: "1.1.0" in p.versions().values(), "some have it")
    yield once(said("rollout.revert"), _tell(told.Revert("ada", "odd")))
    yield comes_to("reverted")
    yield all_serve("1.0.0")
    yield verified


def _tell(event: Any) -> Callable[[Port], Any]:
    return lambda port: rollouts.tell(port.org, newest(port).id, event, port.now_s)


@scenario(at_sea)
def rollback(port: Port) -> Iterator[Leg]:
    yield ordered("1.1.0", DIRECT, nth=2)
    yield comes_to("succeeded")
    way = deploying.WayBack("digits", "all", None, "bad", {"trial": TRIAL})
    yield once(said("rollback"), lambda now: deploying.roll_back(now.org, way, "ada", now.now_s))
    yield all_serve("1.0.0")
    yield verified


@scenario(at_sea)
def two_rollouts(port: Port) -> Iterator[Leg]:
    """Of two models, at the same time."""
    yield pushed("1.0.0", model="words")
    yield ordered("1.1.0", HALVES, nth=2)
    yield ordered("1.0.0", DIRECT, "words")
    yield comes_to("succeeded", "words")
    yield comes_to("succeeded")


@scenario(at_sea)
def a_device_comes_later(port: Port) -> Iterator[Leg]:
    yield ordered("1.1.0", DIRECT, nth=2)
    yield enrolled("late")
    yield comes_to("succeeded")


# --- the guard


@scenario(at_sea)
def guard(port: Port) -> Iterator[Leg]:
    """Errors for two minutes put the former version back."""
    yield ordered("1.1.0", DIRECT, nth=2)
    yield comes_to("succeeded")
    minutes = [0]

    def leg(now: Port) -> None:
        while minutes[0] < 4:
            minutes[0] += 1
            now.now_s += 60
            for device in now.devices.values():
                now.report(device, "digits", inferences=1000, errors=200)
            now.second()

    yield leg
    yield all_serve("1.0.0")


# --- trust


@scenario(at_sea)
def next_root(port: Port) -> Iterator[Leg]:
    yield _advanced(port, epoch=1)
    yield ordered("1.1.0", DIRECT, nth=2)
    yield comes_to("succeeded")


@scenario(at_sea)
def new_epoch(port: Port) -> Iterator[Leg]:
    """Every device gets its first revision anew."""
    yield once(said("stop"), lambda now: trustees.stop(now.org, True, "ada", "theft", now.now_s))
    yield _advanced(port, epoch=2)
    yield once(
        said("stop.release"), lambda now: trustees.stop(now.org, False, "ada", "over", now.now_s)
    )
    yield ordered("1.1.0", DIRECT, nth=2)
    yield comes_to("succeeded")


def _advanced(port: Port, epoch: int) -> Leg:
    key = SigningKey.from_pem((port.folder / "offline" / "root-1.pem").read_bytes())

    def leg(now: Port) -> None:
        known = now.org.trust.root
        if known.number == 2:
            return
        root = Root(org="acme", number=2, issued_s=int(now.now_s), epoch=epoch,
                    expires_s=int(now.now_s) + 86_400, roles=known.roles)  # fmt: skip
        signed = cose.sign(
            encode(root), content_type=content_type(Root), role=TrustRole.ROOT, keys=[key]
        )
        now.do(lambda org: trustees.advance_root(org, signed, "ada", now.now_s))

    return leg


@scenario(at_sea)
def stopped_and_released(port: Port) -> Iterator[Leg]:
    yield ordered("1.1.0", HALVES, nth=2)

    def stop(now: Port) -> None:
        trustees.stop(now.org, True, "ada", "smoke", now.now_s)
        rollouts.pause_all(now.org, "ada", "stop: smoke", now.now_s)

    yield once(said("stop"), stop)
    yield seconds(2)
    yield once(
        said("stop.release"), lambda now: trustees.stop(now.org, False, "ada", "over", now.now_s)
    )
    yield once(said("rollout.resume"), _tell(told.Resume("ada", "back")))
    yield comes_to("succeeded")


@scenario(at_sea)
def isolated(port: Port) -> Iterator[Leg]:
    def isolate(is_isolated: bool) -> Callable[[Port], Any]:
        return lambda now: configuring.isolate(now.org, "gw0", is_isolated, "ada", "odd", now.now_s)

    yield once(said("device.isolate"), isolate(True))
    yield ordered("1.1.0", DIRECT, nth=2)
    yield comes_to("succeeded")
    yield once(said("device.release"), isolate(False))
    yield seconds(3)


@scenario(at_sea)
def revoked(port: Port) -> Iterator[Leg]:
    yield once(
        said("device.revoke"),
        lambda now: enrolment.revoke(now.org, "gw1", "ada", "stolen", now.now_s),
    )
    yield lambda now: now.devices.pop("gw1", None) and None
    yield ordered("1.1.0", DIRECT, nth=2)
    yield comes_to("succeeded")


# --- time


@scenario(at_sea)
def a_year_passes(port: Port) -> Iterator[Leg]:
    """Documents are renewed, chunks are cleared, observations are pruned."""
    port.figures = good
    yield seconds(2)
    for _ in range(3):
        yield _later(4 * 86_400)
        yield seconds(2)
        yield lambda now: now.kept(now.live.prune)
    yield seconds(2)


def _later(span_s: float) -> Leg:
    left = [span_s]

    def leg(port: Port) -> None:
        port.now_s += left[0]
        left[0] = 0.0

    return leg


# --- backups


@scenario(at_sea)
def backed_up_and_restored(port: Port) -> Iterator[Leg]:
    """The machine burns after the next rollout; another one goes on from the backup."""
    saved: list[Any] = []

    def save(now: Port) -> None:
        if not saved:
            saved.append(now.kept(lambda: _saved(now)))

    yield save
    yield ordered("1.1.0", DIRECT, nth=2)
    yield comes_to("succeeded")

    def restore(now: Port) -> None:
        if now.home != "data":
            return
        new = now.kept(lambda: _restored(now, saved[0]))
        now.darken()
        now.home = new
        now.wake()

    yield restore
    yield ordered("1.1.0", DIRECT, nth=2)
    yield comes_to("succeeded")


def _saved(port: Port) -> Any:
    """What was broken off is no backup; the next one lies in another second."""
    for path in (port.place / "backups").glob("*"):
        try:
            backup.check(path)
        except WherryError:
            continue
        return path
    port.now_s += 1
    return backup.make(DataDir(port.folder), port.place / "backups", port.now_s)


def _restored(port: Port, saved: Any) -> str:
    """Into a folder of its own; one in which it was broken off is not used."""
    for attempt in range(4):
        name = f"restored-{attempt}"
        data = DataDir(port.place / name)
        try:
            backup.restore(saved, data, port.now_s, "ada")
        except StateError:
            continue
        return name
    raise Broken("it cannot be restored")
