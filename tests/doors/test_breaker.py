"""The breaker by command: over a real broker, a real agent's breaker opens and is closed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.bundles import INPUT_BYTES
from tests.cli.door import wherry
from tests.controller.live import Live, wait_for
from tests.system.agents import AgentProcess
from tests.system.shore import enrolled, live_with_class, push
from tests.system.test_agent_breaker import FINE, HIGH, LOW, NASTY, integers

TRIAL = {"good_inferences_min": 1, "trial_s_min": 0.0, "trial_s_max": 60.0}


@pytest.fixture
def live(tmp_path: Path, mosquitto: str) -> Iterator[Live]:
    made = live_with_class(tmp_path / "acme", mosquitto)
    yield made
    made.close()


@pytest.fixture
def agent(live: Live, tmp_path: Path) -> Iterator[AgentProcess]:
    """A device that serves 1.0.0 (seed 2), whose output must stay in its range."""
    made = enrolled(live, tmp_path / "gw1", "gw1", "[breaker]\nopen_s = 600\n").start()
    wait_for(lambda: live.get("/devices")[0]["health"] == "ok", "it is seen", 40.0)
    push(live, "1.0.0", 2, contract_changes={"valid_min": LOW, "valid_max": HIGH})
    body = {"model": "digits", "version": "1.0.0", "target": "all", "plan": {"trial": TRIAL}}
    rollout = live.post("/rollouts", body, 201)["id"]

    def is_proved() -> bool:
        feed(made, FINE)
        return bool(live.get(f"/rollouts/{rollout}")["state"] == "succeeded")

    wait_for(is_proved, "1.0.0 serves", 40.0)
    yield made
    made.kill()


def feed(agent: AgentProcess, data: bytes) -> None:
    try:
        agent.get("/inference", {"input_q": integers(data)})
    except OSError:
        return  # nothing serves, or nothing may answer


def breaker(agent: AgentProcess) -> dict[str, Any]:
    models: dict[str, Any] = agent.get("/status")["units"]["self"]["models"]
    found: dict[str, Any] = models["digits"]["breaker"]
    return found


def test_an_operator_sees_an_open_breaker_and_closes_it_by_command(
    live: Live, agent: AgentProcess
) -> None:
    def is_open() -> bool:
        feed(agent, NASTY)
        return bool(breaker(agent)["state"] == "open")

    wait_for(is_open, "the breaker opens")
    wait_for(lambda: "BREAKER_OPEN" in json.dumps(live.get("/devices/gw1")), "the reported code")
    ask = ("--data", live.folder, "device", "ask", "gw1", "reset-breaker")
    told = wherry(*ask, "--model", "digits", "--reason", "the sensor was wet", "--json").json
    assert told["text"] == "the breaker of digits was open, now it is closed"
    assert (breaker(agent)["state"], breaker(agent)["opened_count"]) == ("closed", 1)
    assert agent.get("/inference", {"input_q": [1] * INPUT_BYTES})["slot"] == "active"
    rows = wherry("--data", live.folder, "audit", "log", "--json").json
    [row] = [row for row in rows if row["action"] == "device.reset_breaker"]
    assert (row["subject"], row["reason"]) == ("gw1/self", "the sensor was wet")
    unknown = wherry(*ask, "--model", "ghost")
    assert unknown.status != 0
    assert "ghost" in unknown.err
    assert "was closed" in wherry(*ask, "--model", "digits").out
