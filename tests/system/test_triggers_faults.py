"""Crashes, silence and a controller that is killed: what is taken back, and what is not."""

import os
import signal
from collections.abc import Iterator

import pytest
from wherry_protocol.errors import Code

from tests.controller.live import wait_for
from tests.system.fleet import DIRECT, TRIAL, Boat, Flotilla, flotilla, sorted_feeds

pytestmark = pytest.mark.slow
NAMES = ("boat-1", "boat-2", "boat-3", "boat-4")
STARTS_MAX = 3  # the trial's default
FEEDS = sorted_feeds()


@pytest.fixture(scope="module")
def fleet(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flotilla]:
    boats = {name: Boat() for name in NAMES} | {"boat-4": Boat(samples=FEEDS.mixed(80, of=200))}
    with flotilla(mosquitto, tmp_path_factory.mktemp("faults"), boats) as one:
        yield one


@pytest.fixture
def base(fleet: Flotilla) -> str:
    """A version that everybody serves."""
    version = fleet.push()
    fleet.install(version)
    return version


def kill_in_trial(fleet: Flotilla, name: str, times: int) -> None:
    """kill -9 as soon as the agent says that it is on trial, and start it again."""
    for _ in range(times):
        fleet.wait_model(name, phase="trial")
        fleet.agents[name].kill()
        fleet.agents[name].start()


def send(fleet: Flotilla, name: str, number: signal.Signals) -> None:
    process = fleet.agents[name].process
    assert process is not None
    os.kill(process.pid, number)


def test_an_agent_that_dies_three_times_in_a_trial_reverts_and_one_that_dies_twice_stays(
    fleet: Flotilla, base: str
) -> None:
    version = fleet.push()
    plan = {**DIRECT, "trial": {**TRIAL, "trial_s_min": 4.0}, "max_failed": 1}
    tough = fleet.deploy(version, "boat-2", plan)
    kill_in_trial(fleet, "boat-2", STARTS_MAX - 1)
    dying = fleet.deploy(version, "boat-1", plan)
    kill_in_trial(fleet, "boat-1", STARTS_MAX)
    ended = fleet.ends(dying, "reverted")
    member = fleet.members(dying)["boat-1"]
    assert (member["phase"], member["code"]) == ("reverted", Code.UNCONFIRMED_STARTS)
    assert ended["reason"] == "1 crashes, the limit is 0", "the gate's own check, not max_failed"
    assert fleet.serving("boat-1") == base
    fleet.ends(tough, "succeeded")
    assert fleet.serving("boat-2") == version


def test_a_silent_device_pauses_the_rollout_touches_nobody_else_and_converges_late(
    fleet: Flotilla, base: str
) -> None:
    version = fleet.push()
    plan = {**DIRECT, "silent_after_s": 8.0}
    send(fleet, "boat-1", signal.SIGSTOP)
    rollout_id = fleet.deploy(version, "boat-1, boat-2", plan)
    wait_for(lambda: fleet.rollout(rollout_id)["state"] == "paused", "it is paused", 30.0)
    seen = fleet.rollout(rollout_id)
    assert seen["reason"] == "1 of 2 devices are silent, 10% may be"
    assert list(seen["silent"]) == ["boat-1/self"]
    assert (seen["failed"], seen["late"]) == ({}, {})
    assert fleet.serving("boat-2") == version
    assert {fleet.serving(name) for name in ("boat-3", "boat-4")} == {base}
    send(fleet, "boat-1", signal.SIGCONT)
    wait_for(lambda: fleet.rollout(rollout_id)["late"], "it converges late", 30.0)
    member = fleet.members(rollout_id)["boat-1"]
    assert (member["phase"], member["is_late"]) == ("silent", True), "what ended stays ended"
    assert (fleet.serving("boat-1"), fleet.serving("boat-2")) == (version, version)
    fleet.live.post(f"/rollouts/{rollout_id}/resume", {"reason": "the device is back"})
    assert fleet.ends(rollout_id, "succeeded")["members"]["silent"] == 1


def test_a_device_that_is_away_for_less_than_its_deadline_is_not_silent(
    fleet: Flotilla, base: str
) -> None:
    version = fleet.push()
    agent = fleet.agents["boat-3"]
    assert agent.stop() == 0
    rollout_id = fleet.deploy(version, "boat-2, boat-3", {**DIRECT, "silent_after_s": 120.0})
    wait_for(
        lambda: fleet.members(rollout_id)["boat-2"]["phase"] == "confirmed", "boat-2 is done", 30.0
    )
    assert fleet.members(rollout_id)["boat-3"]["phase"] == "offered"
    agent.start()
    ended = fleet.ends(rollout_id, "succeeded")
    assert (ended["silent"], ended["late"], ended["members"]["confirmed"]) == ({}, {}, 2)
    assert fleet.serving("boat-1") == base


def test_a_controller_killed_in_mid_rollout_ends_both_a_good_and_a_bad_one_as_it_should(
    fleet: Flotilla, base: str
) -> None:
    stages = [{"share": "50%", "soak_s": 2.0}, {"share": "100%", "soak_s": 1.0}]
    gate = {"error_rate_max": 0.1, "requests_min": 100, "interval_s": 1.0, "require": ["errors"]}
    plan = {"trial": TRIAL, "gate": gate, "stages": stages}
    version = fleet.push(contract_changes={"valid_max": FEEDS.valid_max})
    bad = fleet.deploy(version, "boat-4", plan)
    good = fleet.deploy(fleet.push(), "boat-1, boat-2", plan)
    fleet.live.kill_service()
    fleet.live.start_service()
    wait_for(lambda: fleet.rollout(good)["members"]["confirmed"] == 1, "stage 1 has confirmed")
    fleet.live.kill_service()
    fleet.live.start_service()
    assert fleet.rollout(good)["members"]["confirmed"] == 1
    fleet.ends(bad, "reverted")
    assert fleet.serving("boat-4") == base
    assert fleet.ends(good, "succeeded")["members"]["confirmed"] == 2
    assert fleet.serving("boat-3") == base
    audit = fleet.live.get("/audit/verify")
    assert audit["is_intact"], audit
    assert fleet.live.get("/status")["dropped"] == {}
