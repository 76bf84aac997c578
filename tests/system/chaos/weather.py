"""Faults that come from a seed, and the programs' own misfortunes, as steps of a voyage."""

from collections.abc import Callable
from random import Random

from tests.system.chaos.proxy import (
    ALL,
    Blackhole,
    Corruption,
    HalfOpen,
    Latency,
    Rate,
)
from tests.system.chaos.waters import CONTROLLER, Waters, pause

Squall = Callable[[Waters, Random], None]


def some(one: Waters, source: Random) -> list[str]:
    """At least one device, at most half of them."""
    names = sorted(one.agents)
    return source.sample(names, source.randint(1, max(1, len(names) // 2)))


def slow_links(one: Waters, source: Random) -> None:
    one.proxy.trouble(ALL, Latency(source.uniform(0.01, 0.1), 0.1))
    pause(source.uniform(1.0, 2.0))
    one.proxy.calm()


def narrow_links(one: Waters, source: Random) -> None:
    for name in some(one, source):
        one.proxy.trouble(name, Rate(source.uniform(4_000, 20_000)))
    pause(source.uniform(1.0, 2.0))
    one.proxy.calm()


def cuts(one: Waters, source: Random) -> None:
    for name in some(one, source):
        one.proxy.cut(name)
        pause(source.uniform(0.0, 0.3))


def controller_is_cut_off(one: Waters, source: Random) -> None:
    one.proxy.cut(CONTROLLER)
    pause(source.uniform(0.1, 0.5))


def nobody_gets_through(one: Waters, source: Random) -> None:
    one.proxy.is_open = False
    one.proxy.cut(ALL)
    pause(source.uniform(0.5, 1.5))
    one.proxy.calm()


def half_open(one: Waters, source: Random) -> None:
    """Until the keepalive (5 s) notices, or the calm comes."""
    names = some(one, source)
    for name in names:
        one.proxy.trouble(name, HalfOpen())
    pause(source.uniform(1.5, 2.0))
    for name in names:
        one.proxy.trouble(name)


def blackhole(one: Waters, source: Random) -> None:
    for name in some(one, source):
        one.proxy.trouble(name, Blackhole())
    pause(source.uniform(1.0, 3.0))
    one.proxy.calm()


def turned_bits(one: Waters, source: Random) -> None:
    """In payloads, both ways, the controller's link as well."""
    for name in [*some(one, source), CONTROLLER]:
        one.proxy.trouble(name, Corruption(every=2))
    pause(source.uniform(0.5, 1.5))
    one.proxy.calm()


def broken_streams(one: Waters, source: Random) -> None:
    """Any byte of the stream, so that lengths and packet kinds lie."""
    for name in some(one, source):
        one.proxy.trouble(name, Corruption(is_raw=True))
    pause(source.uniform(0.3, 0.8))
    one.proxy.calm()


SQUALLS: tuple[Squall, ...] = (
    slow_links, narrow_links, cuts, controller_is_cut_off, nobody_gets_through, half_open,
    blackhole, turned_bits, broken_streams,
)  # fmt: skip


# --- misfortunes of programs


def broker_dies(one: Waters, source: Random, *, is_forgetting: bool) -> None:
    """kill -9; `is_forgetting`: its persistence file is gone as well."""
    one.live.kill_broker(is_forgetting=is_forgetting)
    pause(source.uniform(0.1, 0.6))
    one.live.start_broker()


def service_dies(one: Waters, source: Random) -> None:
    one.live.kill_service()
    pause(source.uniform(0.0, 0.5))
    one.live.start_service()


def service_hangs(one: Waters, source: Random) -> None:
    """SIGSTOP and SIGCONT."""
    one.live.halt_service()
    pause(source.uniform(1.0, 2.0))
    one.live.resume_service()


def agents_die(one: Waters, source: Random) -> None:
    for name in some(one, source):
        one.agents[name].kill()
        pause(source.uniform(0.0, 0.2))
        one.agents[name].start()


def agents_hang(one: Waters, source: Random) -> None:
    names = some(one, source)
    for name in names:
        one.agents[name].halt()
    pause(source.uniform(1.0, 2.0))
    for name in names:
        one.agents[name].go_on()
