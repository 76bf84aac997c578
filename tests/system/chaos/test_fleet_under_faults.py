"""Canary rollouts over real agents while the network and the programs fail: all end well."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from random import Random

import pytest

from tests.system.chaos import weather
from tests.system.chaos.waters import Waters, assert_fleet_is_well, waters

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
