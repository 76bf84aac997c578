"""Canary rollouts over real agents while the network and the programs fail: all end well."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from random import Random

import pytest

from tests.controller.live import wait_for
from tests.system.chaos import weather
from tests.system.chaos.proxy import Blackhole, Fault, HalfOpen
from tests.system.chaos.waters import PATIENCE_S, Waters, assert_fleet_is_well, waters

pytestmark = pytest.mark.slow
SEED = int(os.environ.get("WHERRY_CHAOS_SEED", "1"))
NAMES = [f"gw{n}" for n in range(1, 7)]
LONGER = pytest.mark.chaos
BALLAST_ROWS = 20_000  # five chunks to fetch, so that faults find them on their way


@pytest.fixture(scope="module")
def sea(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waters]:
    with waters(mosquitto, tmp_path_factory.mktemp("chaos"), NAMES, seed=SEED) as one:
        yield one


@pytest.fixture
def source(request: pytest.FixtureRequest) -> Random:
    """Another stream of choices for each test, always the same for one seed."""
    return Random(f"{SEED} {request.node.name}")


def rolled_out(sea: Waters, seed: int, happens: Callable[[], None]) -> None:
    """One canary; `happens` once it is under way; at the end everything is well."""
    version = sea.push(seed, ballast_rows=BALLAST_ROWS)
    rollout_id = sea.canary(version)
    happens()
    sea.proxy.calm()
    sea.ends(rollout_id)
    assert_fleet_is_well(sea, version)


def test_a_canary_ends_well_though_every_kind_of_link_fault_strikes(sea: Waters, source: Random):
    squalls = list(weather.SQUALLS)
    source.shuffle(squalls)

    def all_of_them() -> None:
        for squall in squalls:
            squall(sea, source)

    rolled_out(sea, 2, all_of_them)
    assert {name for name, _, _ in sea.ledger.accepted} == set(NAMES), "all spooled something"


@pytest.mark.parametrize("is_forgetting", [pytest.param(False, marks=LONGER), True])
def test_a_canary_ends_well_though_the_broker_is_killed(
    sea: Waters, source: Random, is_forgetting: bool
):
    rolled_out(sea, 3, partial(weather.broker_dies, sea, source, is_forgetting=is_forgetting))


@pytest.mark.parametrize(
    "misfortune", [weather.service_dies, pytest.param(weather.service_hangs, marks=LONGER)]
)
def test_a_canary_ends_well_though_the_controller(
    sea: Waters, source: Random, misfortune: weather.Squall
):
    rolled_out(sea, 4, lambda: (misfortune(sea, source), misfortune(sea, source))[0])


@pytest.mark.parametrize(
    "misfortune", [weather.agents_die, pytest.param(weather.agents_hang, marks=LONGER)]
)
def test_a_canary_ends_well_though_devices(sea: Waters, source: Random, misfortune: weather.Squall):
    rolled_out(sea, 5, lambda: (misfortune(sea, source), misfortune(sea, source))[0])


@LONGER
@pytest.mark.parametrize("fault", [HalfOpen(), Blackhole()], ids=["half open", "blackhole"])
def test_a_link_that_carries_nothing_is_given_up_when_its_keepalive_has_passed(
    sea: Waters, fault: Fault
):
    """Nobody lifts the fault before both ends have noticed it by themselves."""
    name = NAMES[0]
    before = sea.proxy.accepted[name]
    sea.proxy.trouble(name, fault)
    wait_for(lambda: not is_believed_here(sea, name), "the controller hears of it", PATIENCE_S)
    wait_for(lambda: sea.proxy.accepted[name] > before, "the device connects anew", PATIENCE_S)
    sea.proxy.calm()
    wait_for(lambda: is_believed_here(sea, name), "it is back", PATIENCE_S)
    assert_fleet_is_well(sea)


@LONGER
def test_a_device_that_stands_still_for_longer_than_its_keepalive_comes_back(sea: Waters):
    name = NAMES[0]
    sea.agents[name].halt()
    wait_for(lambda: not is_believed_here(sea, name), "the controller hears of it", PATIENCE_S)
    sea.agents[name].go_on()
    wait_for(lambda: is_believed_here(sea, name), "it is back", PATIENCE_S)
    assert_fleet_is_well(sea)


def is_believed_here(sea: Waters, name: str) -> bool:
    return bool(sea.live.get(f"/devices/{name}")["is_online"])
