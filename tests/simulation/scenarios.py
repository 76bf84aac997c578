"""Scenarios: what happens to a fleet, as a list of disturbances drawn by seed.

A new scenario is a function from a source of randomness to disturbances, in SCENARIOS.
"""

from collections.abc import Callable, Sequence
from random import Random

from tests.simulation.faults import FAULTS
from tests.simulation.network import SECOND_US
from tests.simulation.operator import OPERATIONS
from tests.simulation.world import Disturbance

Plan = list[Disturbance]
Scenario = Callable[[Random], Plan]
BEGIN_S = 5  # the first version goes out
SPAN_S = (40, 500)  # the rest happens between these

DEVICE_FAULTS = (
    "kill_device", "cut_power", "cut_power_in_a_write", "cut_power_in_the_record",
    "cut_power_every_night", "cut_power_in_every_trial", "cut_power_in_an_install", "fill_disk",
    "fail_writes", "freeze_device",
)  # fmt: skip
NETWORK_FAULTS = ("cut_device", "partition", "half_open", "change_weather", "restart_broker",
                  "broker_returns_to_its_save", "broker_forgets_sessions",
                  "broker_forgets_messages")  # fmt: skip
HOSTILE = ("replay_old_messages", "forge_messages", "withhold")
CONTROLLER_FAULTS = ("kill_controller", "cut_controller", "fill_store", "jump_clock")
DEPLOYS = ("deploy_good", "deploy_bad", "canary_good", "canary_bad", "two_at_once", "insist")
WHIMS = ("pause", "resume", "abort", "revert", "advance", "roll_back", "stop_everything", "isolate",
         "configure", "ask_for_reports")  # fmt: skip


def some(
    source: Random, names: Sequence[str], count: int, span_s: tuple[int, int] = SPAN_S
) -> Plan:
    """`count` of these, at any time of the span."""
    return [one(source, source.choice(names), span_s) for _ in range(count)]


def one(source: Random, name: str, span_s: tuple[int, int]) -> Disturbance:
    at_us = source.randint(span_s[0] * SECOND_US, span_s[1] * SECOND_US)
    return Disturbance(at_us, name, source.getrandbits(32))


def at_these(source: Random, begin_s: int, steps: Sequence[tuple[str, int]]) -> Plan:
    """Each of these so many seconds after the beginning."""
    return [
        Disturbance((begin_s + wait_s) * SECOND_US, name, source.getrandbits(32))
        for name, wait_s in steps
    ]


def first(source: Random) -> Plan:
    """Every voyage begins with a good version for everybody."""
    return [Disturbance(BEGIN_S * SECOND_US, "deploy_good", source.getrandbits(32))]


def power_cuts(source: Random) -> Plan:
    """Devices die at every effect while versions come and go."""
    return [*first(source), *some(source, DEPLOYS, 3), *some(source, DEVICE_FAULTS, 25)]


def bad_weather(source: Random) -> Plan:
    """The network and the broker do what they like."""
    return [*first(source), *some(source, DEPLOYS, 3), *some(source, NETWORK_FAULTS, 12)]


def hostile_broker(source: Random) -> Plan:
    return [
        *first(source), *some(source, DEPLOYS, 3), *some(source, HOSTILE, 12),
        *some(source, DEVICE_FAULTS, 4),
    ]  # fmt: skip


def shaky_controller(source: Random) -> Plan:
    return [*first(source), *some(source, DEPLOYS, 3), *some(source, CONTROLLER_FAULTS, 10)]


def indecision(source: Random) -> Plan:
    """Operators change their minds."""
    return [*first(source), *some(source, DEPLOYS, 4), *some(source, WHIMS, 12)]


def new_keys(source: Random) -> Plan:
    """Roots are rotated, and directors recover from a fast-forward, in the middle of it."""
    return [
        *first(source), *some(source, DEPLOYS, 2), *some(source, ("rotate_root",), 3),
        *some(source, (*DEVICE_FAULTS, *NETWORK_FAULTS, *HOSTILE), 6),
    ]  # fmt: skip


def old_backup(source: Random) -> Plan:
    """The controller comes back from a backup that is older than what devices know."""
    return [
        *first(source), *some(source, ("back_up",), 2, (30, 150)), *some(source, DEPLOYS, 3),
        *some(source, ("restore",), 1, (200, 400)), *some(source, NETWORK_FAULTS, 3),
    ]  # fmt: skip


def deaf_controller(source: Random) -> Plan:
    """The controller loses its link just after it has offered a version."""
    at_us = source.randint(60, 120) * SECOND_US
    deaf_us = at_us + source.randint(0, 3 * SECOND_US)
    return [
        *first(source), Disturbance(at_us, "deploy_good", source.getrandbits(32)),
        Disturbance(deaf_us, "deafen_controller", source.getrandbits(32)),
        *some(source, (*DEVICE_FAULTS, *NETWORK_FAULTS), 6),
    ]  # fmt: skip


def forgetful_broker(source: Random) -> Plan:
    """A version goes out while some are away, and the broker forgets it before they are back."""
    plan, at_us = first(source), source.randint(60, 120) * SECOND_US
    for name, wait_s in (("partition", 5), ("deploy_good", 15), ("broker_forgets", 0)):
        plan.append(Disturbance(at_us, name, source.getrandbits(32)))
        at_us += wait_s * SECOND_US
    return plan


def stubborn(source: Random) -> Plan:
    """A bad version for everybody, again and again."""
    plan, at_s = first(source), source.randint(60, 90)
    for name in ("deploy_bad", "abort", "insist", "abort", "insist", "abort", "offer_again"):
        plan.append(Disturbance(at_s * SECOND_US, name, source.getrandbits(32)))
        at_s += source.randint(8, 14)
    return [*plan, *some(source, DEVICE_FAULTS, 4)]


def full_disks(source: Random) -> Plan:
    """Disks are full or fail while versions are tried."""
    faults = ("fill_disk", "fail_writes", "fill_disk_in_a_trial")
    deploys = ("deploy_good", "canary_good", "deploy_bad")
    return [*first(source), *some(source, deploys, 4), *some(source, faults, 15)]


def long_night(source: Random) -> Plan:
    """Devices are away for long, and come back with full spools."""
    faults = ("long_absence", "partition", "cut_power", "kill_device")
    return [*first(source), *some(source, DEPLOYS, 2), *some(source, faults, 8)]


def leaky_broker(source: Random) -> Plan:
    """Reports get lost on the way, and no connection breaks."""
    faults = ("drop_reports", "kill_device", "change_weather")
    deploys = ("deploy_good", "canary_good")
    return [*first(source), *some(source, deploys, 2), *some(source, faults, 8)]


def stopped(source: Random) -> Plan:
    """Everything is stopped, or a unit isolated, while a version goes out and devices restart."""
    plan, at_s = first(source), source.randint(60, 300)
    who_stops = source.choice(("stop_everything", "isolate"))
    steps = [("deploy_good", 0), (who_stops, source.randint(1, 3)), ("isolate", 3)]
    steps += [("kill_device", source.randint(4, 15)) for _ in range(8)]
    return [*plan, *at_these(source, at_s, steps)]


def wrong_clock(source: Random) -> Plan:
    """The controller's clock jumps, and devices that restart ask it for the time."""
    plan = [*first(source), *some(source, DEPLOYS, 2)]
    for one_jump in some(source, ("jump_clock",), 4):
        plan.append(one_jump)
        for _ in range(4):
            at_us = one_jump.at_us + source.randint(0, 5) * SECOND_US
            plan.append(Disturbance(at_us, "kill_device", source.getrandbits(32)))
    return plan


def restored_in_a_rotation(source: Random) -> Plan:
    """A backup of before the new keys comes back in the middle of their rotation."""
    at_s = source.randint(100, 300)
    return [
        *first(source), *some(source, DEPLOYS, 2), *some(source, ("back_up",), 1, (30, at_s)),
        *some(source, ("rotate_root",), 2, (at_s, at_s + 20)),
        *some(source, ("restore",), 1, (at_s, at_s + 40)),
        *some(source, ("rotate_root",), 1, (at_s + 40, at_s + 100)),
        *some(source, (*DEVICE_FAULTS, *NETWORK_FAULTS), 3),
    ]  # fmt: skip


def new_director(source: Random) -> Plan:
    """The director's key is replaced while some have not heard yet what the old one has signed."""
    at_s = source.randint(60, 120)
    steps = [("long_absence", 0), ("long_absence", 1), ("deploy_good", 5), ("replace_director", 15)]
    return [*first(source), *at_these(source, at_s, steps), *some(source, DEVICE_FAULTS, 3)]


def stolen_director(source: Random) -> Plan:
    """Somebody else signs with the director's key while versions are on their way."""
    plan, at_s = first(source), source.randint(60, 120)
    steps = [("deploy_good", 0), ("steal_the_directors_key", source.randint(0, 3))]
    for begin_s in (90, 140, 190, 240):
        steps += [("deploy_good", begin_s), ("begin_an_epoch", begin_s + source.randint(0, 3))]
    steps += [("canary_good", 290), ("steal_the_directors_key", source.randint(290, 330))]
    return [*plan, *at_these(source, at_s, steps), *some(source, DEVICE_FAULTS, 3)]


def dead_controller(source: Random) -> Plan:
    """The controller dies again and again while it waits for devices that are away."""
    at_s = source.randint(60, 120)
    steps = [("long_absence", 0), ("long_absence", 1), ("deploy_good", 5)]
    steps += [("kill_controller", source.randint(10, 170)) for _ in range(6)]
    return [*first(source), *at_these(source, at_s, steps)]


def canary(source: Random) -> Plan:
    """One version by stages, and little else."""
    names = ("canary_good", "canary_bad")
    faults = (*DEVICE_FAULTS, *NETWORK_FAULTS)
    return [*first(source), *some(source, names, 1, (60, 90)), *some(source, faults, 3)]


def steps(source: Random) -> Plan:
    """Equal steps at equal intervals."""
    faults = (*DEVICE_FAULTS, *NETWORK_FAULTS)
    names = ("linear_good", "canary_bad")
    return [*first(source), *some(source, names, 2, (60, 250)), *some(source, faults, 4)]


def blue_and_green(source: Random) -> Plan:
    """Candidates everywhere; operators who switch, unload and change their minds."""
    plan, at_s = first(source), source.randint(60, 90)
    name = source.choice(("blue_green_good", "blue_green_good", "blue_green_bad"))
    orders = [(name, 0), *(("switch", source.randint(8, 150)) for _ in range(5))]
    orders += [("decommission", source.randint(20, 200)) for _ in range(4)]
    orders += [("abort", source.randint(15, 200))] if source.random() < 0.4 else []
    faults = ("kill_device", "cut_power", "cut_device", "kill_controller")
    return [*plan, *at_these(source, at_s, orders), *some(source, faults, 4, (60, 300))]


def shadows(source: Random) -> Plan:
    """Candidates that never serve, and orders that take them away."""
    plan, at_s = first(source), source.randint(60, 90)
    shadow = source.choice(("shadow", "compare"))
    orders = [(shadow, 0), (source.choice(("abort", "revert", "pause")), source.randint(10, 60))]
    faults = ("kill_device", "cut_power", "partition", "kill_controller")
    return [*plan, *at_these(source, at_s, orders), *some(source, faults, 4, (60, 300))]


def experiments(source: Random) -> Plan:
    """A treatment group that somebody widens."""
    plan, at_s = first(source), source.randint(60, 90)
    orders = [("experiment", 0), *(("advance", source.randint(90, 300)) for _ in range(4))]
    return [*plan, *at_these(source, at_s, orders), *some(source, DEVICE_FAULTS, 3)]


def appointments(source: Random) -> Plan:
    """Versions that have to wait for their time."""
    faults = ("kill_device", "cut_power", "kill_controller", "restart_broker")
    names = ("deploy_later",)
    return [*first(source), *some(source, names, 3, (60, 350)), *some(source, faults, 4)]


def emergencies(source: Random) -> Plan:
    """Versions that need the guards, stops, ways back while some are away, and a tidy registry."""
    plan, at_s = first(source), source.randint(60, 90)
    name = source.choice(("deploy_troubled", "deploy_good", "deploy_good"))
    steps = [("long_absence", 0), (name, 2), ("revert", source.randint(4, 60)),
             ("canary_good", 250), ("stop_everything", source.randint(254, 275)), ("resume", 280),
             ("deploy_bad", 350), ("offer_again", 375)]  # fmt: skip
    names = ("isolate", "roll_back", "clean_up", "resume", "deploy_troubled")
    faults = ("kill_device", "kill_controller", "cut_device")
    return [
        *plan, *at_these(source, at_s, steps), *some(source, names, 5, (100, 480)),
        *some(source, ("clean_up",), 2, (60, 480)), *some(source, faults, 3),
    ]  # fmt: skip


def crews(source: Random) -> Plan:
    """Devices join a group while it gets a version, and the registry is tidied meanwhile."""
    names = ("join_group", "join_group", "clean_up")
    faults = ("kill_device", "kill_controller", "partition")
    return [
        *first(source), *some(source, ("deploy_to_group",), 2, (60, 200)),
        *some(source, names, 5, (70, 400)), *some(source, faults, 2),
    ]  # fmt: skip


def stepping_stones(source: Random) -> Plan:
    """Devices are brought what they lack first, the registry is tidied, and some of it reverted."""
    faults = ("kill_device", "kill_controller", "partition", "freeze_device")
    return [
        *first(source), *some(source, ("bring_what_is_missing",), 2, (60, 300)),
        *some(source, ("clean_up",), 4, (70, 450)),
        *some(source, ("revert", "abort"), 2, (90, 500)), *some(source, faults, 3),
    ]  # fmt: skip


def everything(source: Random) -> Plan:
    return [
        *first(source), *some(source, DEPLOYS, 5), *some(source, tuple(OPERATIONS), 8),
        *some(source, tuple(FAULTS), 20),
    ]  # fmt: skip


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        power_cuts, bad_weather, hostile_broker, shaky_controller, indecision, new_keys,
        old_backup, deaf_controller, forgetful_broker, stubborn, full_disks, long_night, canary,
        everything, leaky_broker, stopped, wrong_clock, restored_in_a_rotation, new_director,
        dead_controller, steps, blue_and_green, shadows, experiments, appointments,
        emergencies, crews, stepping_stones, stolen_director,
    )
}  # fmt: skip


def scenario_of(seed: int) -> str:
    """Which scenario a seed plays: each in turn."""
    return list(SCENARIOS)[seed % len(SCENARIOS)]


def plan_of(seed: int, name: str) -> Plan:
    """The disturbances of a seed, in the order of time."""
    return sorted(SCENARIOS[name](Random(f"{seed} plan {name}")))
