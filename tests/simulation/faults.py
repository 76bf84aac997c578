"""Faults: each is a function of (world, source), registered by `fault`; `source` is its own
randomness. A fault that lasts ends itself, and `calm` ends all of them.
"""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from wherry_agent.core.effects import Survey, WatchTrial
from wherry_controller.fleet import desires
from wherry_controller.store import devices as rows
from wherry_protocol.messages.desired import Desired
from wherry_protocol.messages.trust import FleetTime, TrustRole
from wherry_protocol.replacing import replace
from wherry_protocol.sealed import seal

from tests.simulation.broker import Memory
from tests.simulation.device import Ambush
from tests.simulation.engine import UNIT
from tests.simulation.network import CALM, SECOND_US, WEATHERS
from tests.simulation.operator import AFTER_A_THEFT, rotate
from tests.simulation.twins.codec import real_bytes

if TYPE_CHECKING:
    from tests.simulation.device import SimDevice
    from tests.simulation.world import World

Fault = Callable[["World", Random], None]
FAULTS: dict[str, Fault] = {}
REPORTS = ("/telemetry", "/event")
LAST_REVISION = (1 << 63) - 1
FAR_AHEAD_S = 50 * 365 * 86_400


def fault(act: Fault) -> Fault:
    FAULTS[act.__name__] = act
    return act


def _some_device(world: "World", source: Random) -> "SimDevice":
    return world.devices[source.choice(list(world.devices))]


def _after(world: "World", source: Random, seconds: tuple[int, int], what: str,
           act: Callable[[], None]) -> None:  # fmt: skip
    world.at(source.randint(*seconds) * SECOND_US, "fault", what, act)


# --- devices


@fault
def kill_device(world: "World", source: Random) -> None:
    """kill -9 at one of its next effects."""
    device = _some_device(world, source)
    device.is_power_lost = False
    device.die_at_effect = source.randint(0, 12)


@fault
def cut_power(world: "World", source: Random) -> None:
    """Power goes at one of its next effects."""
    device = _some_device(world, source)
    device.is_power_lost = True
    device.die_at_effect = source.randint(0, 12)


@fault
def cut_power_in_a_write(world: "World", source: Random) -> None:
    """Power goes at one of the next disk operations."""
    device = _some_device(world, source)
    device.disk.cut_at = device.disk.operation_count + source.randint(0, 12)


@fault
def cut_power_in_the_record(world: "World", source: Random) -> None:
    """Power goes while the record is written next: at once, by a restart, or whenever it is."""
    device = _some_device(world, source)
    device.cut_in_record = source.randint(0, 3)
    if source.random() < 0.5 and device.is_running:
        device.die(is_power_lost=False)


def _some_devices(world: "World", source: Random) -> "list[SimDevice]":
    return [one for one in world.devices.values() if source.random() < 0.5]


@fault
def cut_power_in_every_trial(world: "World", source: Random) -> None:
    """As often as a trial begins or goes on, up to five times."""
    for device in _some_devices(world, source):
        delay_us = source.randint(0, SECOND_US)

        def cut(device: "SimDevice" = device, delay_us: int = delay_us) -> None:
            device.later(delay_us, "fails in its trial", lambda: device.die(is_power_lost=True))

        device.ambush = Ambush(WatchTrial, cut, source.randint(1, 5))


@fault
def cut_power_in_an_install(world: "World", source: Random) -> None:
    """Between the first look at the disk and the swap."""
    for device in _some_devices(world, source):
        effects = source.randint(1, 25)

        def cut(device: "SimDevice" = device, effects: int = effects) -> None:
            device.is_power_lost, device.die_at_effect = True, effects

        device.ambush = Ambush(Survey, cut)


@fault
def fill_disk_in_a_trial(world: "World", source: Random) -> None:
    for device in _some_devices(world, source):
        seed = source.getrandbits(32)

        def fill(device: "SimDevice" = device, seed: int = seed) -> None:
            _fill(world, Random(seed), device, (40, 150))

        device.ambush = Ambush(WatchTrial, fill)


@fault
def long_absence(world: "World", source: Random) -> None:
    """Nearly to the end of the voyage, and it talks much."""
    device = _some_device(world, source)
    device.is_partitioned = True
    device.is_chatty = True
    device.cut()

    def heal() -> None:
        device.is_partitioned = device.is_chatty = False

    _after(world, source, (200, 400), f"{device.name} is back", heal)


@fault
def cut_power_every_night(world: "World", source: Random) -> None:
    """Every few seconds, several times."""
    device = _some_device(world, source)

    def cut() -> None:
        if device.is_running:
            device.die(is_power_lost=True)

    at_s = 0
    for _ in range(source.randint(2, 5)):
        at_s += source.randint(5, 40)
        world.at(at_s * SECOND_US, "fault", f"cuts the power of {device.name}", cut)


@fault
def fill_disk(world: "World", source: Random) -> None:
    _fill(world, source, _some_device(world, source))


def _fill(
    world: "World", source: Random, device: "SimDevice", seconds: tuple[int, int] = (5, 90)
) -> None:
    device.disk.is_full = True

    def free() -> None:
        device.disk.is_full = False

    _after(world, source, seconds, f"frees the disk of {device.name}", free)


@fault
def fail_writes(world: "World", source: Random) -> None:
    """EIO, a few times, at once or some operations later."""
    disk = _some_device(world, source).disk
    disk.good_left, disk.failures_left = source.choice((0, 0, *range(1, 12))), source.randint(1, 4)


@fault
def freeze_device(world: "World", source: Random) -> None:
    """Its process stands still (SIGSTOP, a machine that sleeps), for longer than a keepalive."""
    device = _some_device(world, source)
    device.frozen_until_us = world.now_us + source.randint(20, 200) * SECOND_US
    _break_silently(world, source, device)


# --- the network


@fault
def cut_device(world: "World", source: Random) -> None:
    _some_device(world, source).cut()


@fault
def partition(world: "World", source: Random) -> None:
    """Some devices cannot reach the broker for a while."""
    names = source.sample(list(world.devices), source.randint(1, max(1, len(world.devices) // 2)))
    for name in names:
        world.devices[name].is_partitioned = True
        world.devices[name].cut()

    def heal() -> None:
        for name in names:
            world.devices[name].is_partitioned = False

    _after(world, source, (5, 240), "heals the partition", heal)


@fault
def half_open(world: "World", source: Random) -> None:
    """A connection that carries nothing, until the keepalive notices."""
    _break_silently(world, source, _some_device(world, source))


def _break_silently(world: "World", source: Random, device: "SimDevice") -> None:
    device.wire.is_half_open = True
    epoch = device.wire.epoch

    def notice() -> None:
        if device.wire.epoch == epoch:
            device.cut()

    _after(world, source, (30, 90), f"the keepalive of {device.name} ends", notice)


@fault
def change_weather(world: "World", source: Random) -> None:
    world.weather = source.choice(WEATHERS)


# --- the broker


@fault
def restart_broker(world: "World", source: Random) -> None:
    """With everything."""
    _restart(world, Memory.ALL, source.randint(1, 30))


@fault
def broker_forgets_sessions(world: "World", source: Random) -> None:
    """It comes back with its retained messages."""
    _restart(world, Memory.RETAINED, source.randint(1, 30))


@fault
def broker_forgets_messages(world: "World", source: Random) -> None:
    """It comes back with its sessions."""
    _restart(world, Memory.SESSIONS, source.randint(1, 30))


@fault
def broker_forgets(world: "World", source: Random) -> None:
    """It comes back with nothing."""
    _restart(world, Memory.NOTHING, source.randint(1, 30))


@fault
def broker_returns_to_its_save(world: "World", source: Random) -> None:
    """It was killed, and comes back with what it had saved in the last minute."""
    _restart(world, Memory.SAVED, source.randint(1, 30))


def _restart(world: "World", memory: Memory, after_s: int) -> None:
    world.broker.stop()
    for device in world.devices.values():
        device.cut()
    world.controller.cut()
    what = f"starts with {memory.value}"
    world.at(after_s * SECOND_US, "broker", what, lambda: _start(world, memory))


def _start(world: "World", memory: Memory) -> None:
    if not world.broker.is_up:
        world.broker.start(memory)


@fault
def replay_old_messages(world: "World", source: Random) -> None:
    """A hostile broker sends again what it once carried, wherever it was retained or not."""
    topics = sorted(topic for topic, past in world.broker.history.items() if past)
    for topic in source.sample(topics, min(len(topics), 20)):
        payload = source.choice(world.broker.history[topic])
        _inject(world, topic, payload)


@fault
def forge_messages(world: "World", source: Random) -> None:
    """A hostile broker changes a byte of what it carries."""
    topics = sorted(topic for topic, payload in world.broker.retained.items() if payload)
    for topic in source.sample(topics, min(len(topics), 10)):
        payload = bytearray(real_bytes(world.broker.retained[topic]))
        payload[source.randrange(len(payload))] ^= 1 << source.randrange(8)
        _inject(world, topic, bytes(payload))


def _inject(world: "World", topic: str, payload: bytes) -> None:
    """To whoever listens, past what is retained."""
    kept = list(world.broker.history.get(topic, []))
    world.broker.publish(topic, payload, is_retained=False)
    world.broker.history[topic] = kept


@fault
def withhold(world: "World", source: Random) -> None:
    """A hostile broker swallows some topics for a while."""
    leaf = source.choice(("/desired", "/ack", "/rpc", "trust/time", "/reported", "/telemetry"))
    world.broker.lossy_topics = (leaf,)

    def stop() -> None:
        """The operators move to an honest broker, which knows nothing."""
        _honest(world)
        _restart(world, Memory.NOTHING, 1)

    _after(world, source, (10, 120), f"no longer withholds {leaf}", stop)


def _honest(world: "World") -> None:
    world.broker.lossy_topics, world.broker.honest_since_us = (), world.now_us


@fault
def drop_reports(world: "World", source: Random) -> None:
    """A broker whose queues are full loses what it has acknowledged, and nobody is cut off."""
    if world.broker.lossy_topics:
        return
    world.broker.lossy_topics = REPORTS

    def stop() -> None:
        if world.broker.lossy_topics == REPORTS:
            _honest(world)

    _after(world, source, (5, 40), "loses no reports any more", stop)


@fault
def steal_the_directors_key(world: "World", source: Random) -> None:
    """A thief takes a device to the last revision there is, or the fleet to a time far ahead, and
    the owners end it with another key and a new epoch."""
    org = world.controller.org
    if source.random() < 0.5:
        name = _some_device(world, source).name
        _steal(world, org.topics.desired(name, UNIT), _last_document(world, name))
    else:
        world.truth.is_clock_wrong = True
        time_s = int(world.wall_s) + FAR_AHEAD_S
        number = org.trust.root.number
        told = FleetTime(org=org.name, epoch=org.epoch, time_s=time_s, root_number=number)
        _steal(world, org.topics.time, told)
    _after(world, source, (1, 40), "the theft shows", lambda: rotate(world, AFTER_A_THEFT))


def _steal(world: "World", topic: str, message: Desired | FleetTime) -> None:
    payload = seal(message, TrustRole.DIRECTOR, world.authority.director)
    world.broker.publish(topic, payload, is_retained=True)


def _last_document(world: "World", name: str) -> Desired:
    """What the device is to run, under a revision that nobody can follow up."""
    org = world.controller.org
    unit = rows.unit(org.db, name, UNIT)
    return replace(desires.build(org, unit, world.wall_s), revision=LAST_REVISION)


# --- the controller


@fault
def kill_controller(world: "World", source: Random) -> None:
    """kill -9 after one of its next commits or publications."""
    controller = world.controller
    controller.die_at_step = controller.step_count + source.randint(1, 20)


@fault
def cut_controller(world: "World", source: Random) -> None:
    _deafen(world, source, (2, 240))


@fault
def deafen_controller(world: "World", source: Random) -> None:
    """For longer than a device may be silent."""
    _deafen(world, source, (190, 300))


def _deafen(world: "World", source: Random, seconds: tuple[int, int]) -> None:
    world.controller.is_partitioned = True
    world.controller.cut()

    def heal() -> None:
        world.controller.is_partitioned = False

    _after(world, source, seconds, "heals the controller's link", heal)


@fault
def fill_store(world: "World", source: Random) -> None:
    world.controller.fill_disk(True)
    _after(world, source, (5, 60), "frees the store", lambda: world.controller.fill_disk(False))


@fault
def jump_clock(world: "World", source: Random) -> None:
    """The controller's clock is wrong for a while; once in a while it is in 1970."""
    world.truth.is_clock_wrong = True
    offset_s = source.choice((-600.0, -30.0, 45.0, 300.0, 60.0 - world.wall_s))
    world.note("fault", f"sets the controller's clock by {offset_s:.0f} s")
    world.controller.clock_offset_s = offset_s

    def right() -> None:
        world.controller.clock_offset_s = 0.0

    _after(world, source, (5, 60), "sets the controller's clock right", right)


# --- the end


def calm(world: "World") -> None:
    """No fault any more; whoever is away comes back by itself."""
    world.is_calm = True
    world.weather = CALM
    world.controller.is_partitioned = False
    world.controller.clock_offset_s = 0.0
    world.controller.die_at_step = None
    world.controller.fill_disk(False)
    if world.broker.lossy_topics:
        _honest(world)
        _restart(world, Memory.NOTHING, 1)
    elif not world.broker.is_up:
        world.broker.start(Memory.ALL)
    for device in world.devices.values():
        device.is_partitioned = False
        device.die_at_effect = device.cut_in_record = None
        device.ambush = None
        device.is_chatty = False
        device.disk.cut_at = None
        device.disk.is_full = False
        device.disk.failures_left = 0
        device.frozen_until_us = 0
        if device.wire.is_half_open:
            device.cut()
