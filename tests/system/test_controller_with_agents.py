"""Real agents against the real controller: the whole path, nothing of either side replaced."""

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controller.live import Live, wait_for
from tests.system.agents import AgentProcess
from tests.system.shore import enrolled, live_with_class, push

TRIAL = {"good_inferences_min": 5, "trial_s_min": 0.5, "trial_s_max": 60.0}


@pytest.fixture
def live(tmp_path: Path, mosquitto: str) -> Iterator[Live]:
    made = live_with_class(tmp_path / "acme", mosquitto)
    yield made
    made.close()


@pytest.fixture
def agents(live: Live, tmp_path: Path) -> Iterator[list[AgentProcess]]:
    made = [enrolled(live, tmp_path / f"gw{n}", f"gw{n}") for n in range(2)]
    for agent in made:
        agent.start()
    yield made
    for agent in made:
        agent.kill()


def infer(agent: AgentProcess) -> str:
    answer = agent.get("/inference", {"model": "digits", "input_q": [1] * 16})
    return str(answer["version"])


def serves(agent: AgentProcess, version: str) -> bool:
    """Feed the trial; whether that version answers."""
    try:
        return infer(agent) == version
    except OSError:  # no model yet
        return False


def deploy(live: Live, version: str) -> str:
    body = {"model": "digits", "version": version, "target": "all", "plan": {"trial": TRIAL}}
    return str(live.post("/rollouts", body, 201)["id"])


def settled(live: Live, agents: list[AgentProcess], rollout_id: str, state: str) -> None:
    """Keep inputs coming until the rollout stands where it should."""

    def look() -> bool:
        for agent in agents:
            serves(agent, "any")
        return bool(live.get(f"/rollouts/{rollout_id}")["state"] == state)

    wait_for(look, f"rollout {rollout_id} is {state}", 40.0)


def test_agents_are_enrolled_updated_measured_and_rolled_back(
    live: Live, agents: list[AgentProcess]
) -> None:
    wait_for(
        lambda: [u["health"] for u in live.get("/devices")] == ["ok", "ok"], "both are seen", 40.0
    )
    for name in ("gw0", "gw1"):
        answer = live.http.patch(f"/devices/{name}/self", json={"performance_s": 1})
        assert answer.status_code == 200, answer.text
    for version, seed in (("1.0.0", 1), ("1.1.0", 2)):
        push(live, version, seed)
        settled(live, agents, deploy(live, version), "succeeded")
        assert all(serves(agent, version) for agent in agents)

    def is_measured() -> bool:
        for agent in agents:
            infer(agent)
        rows = live.get("/performance")
        return {(r["connection"], r["version"]) for r in rows if r["inferences"]} >= {
            ("gw0", "1.1.0"),
            ("gw1", "1.1.0"),
        }

    wait_for(is_measured, "both are measured on the new version", 40.0)
    asked = {"verb": "verify", "model": "digits"}
    checked = live.post("/devices/gw0/self/ask", asked)
    assert (checked["code"], checked["body"]["is_intact"]) == ("OK", True)
    asked = {"verb": "infer", "model": "digits", "input": b64encode(bytes(16)).decode()}
    assert live.post("/devices/gw1/self/ask", asked)["body"]["version"] == "1.1.0"
    body = {"model": "digits", "target": "all", "reason": "drill", "plan": {"trial": TRIAL}}
    assert len(live.post("/rollback", body)["sent"]) == 2
    wait_for(lambda: all(serves(agent, "1.0.0") for agent in agents), "both are back", 40.0)
    assert live.get("/status")["dropped"] == {}


def test_a_bundle_with_wrong_golden_vectors_is_rejected_and_the_old_model_serves(
    live: Live, agents: list[AgentProcess]
) -> None:
    wait_for(
        lambda: [u["health"] for u in live.get("/devices")] == ["ok", "ok"], "both are seen", 40.0
    )
    push(live, "1.0.0", 1)
    settled(live, agents, deploy(live, "1.0.0"), "succeeded")
    push(live, "1.1.0", 2, golden_is_wrong=True)
    rollout_id = deploy(live, "1.1.0")
    settled(live, agents, rollout_id, "reverted")
    assert all(serves(agent, "1.0.0") for agent in agents)
    shown = live.get(f"/rollouts/{rollout_id}")
    assert shown["members"]["rejected"] >= 1  # the first one ends it for the other
    assert shown["not_back"] == {}


def test_a_shadow_rollout_and_a_blue_green_switch_on_real_agents(
    live: Live, agents: list[AgentProcess]
) -> None:
    wait_for(
        lambda: [u["health"] for u in live.get("/devices")] == ["ok", "ok"], "both are seen", 40.0
    )
    for name in ("gw0", "gw1"):
        assert live.http.patch(f"/devices/{name}/self", json={"performance_s": 1}).is_success
    push(live, "1.0.0", 1)
    settled(live, agents, deploy(live, "1.0.0"), "succeeded")
    push(live, "1.1.0", 2)
    shadow = begun(live, "1.1.0", strategy="shadow", gate={"require": []})

    def is_compared() -> bool:
        assert all(serves(agent, "1.0.0") for agent in agents)  # it never answers
        devices = live.get(f"/rollouts/{shadow}/shadow")["devices"]
        return len(devices) == 2 and all(one["compared"] >= 5 for one in devices.values())

    wait_for(is_compared, "both shadows are compared", 40.0)
    shown = live.get(f"/rollouts/{shadow}/shadow")
    assert 0 <= shown["agreement"] <= 1
    assert shown["primary_latency_us"]["p95"] > 0
    live.post(f"/rollouts/{shadow}/abort", {"reason": "seen enough"})
    green = begun(live, "1.1.0", strategy="blue-green", gate={"require": []})
    wait_for(lambda: live.get(f"/rollouts/{green}")["slot"] == "green", "green stands", 40.0)
    assert all(serves(agent, "1.0.0") for agent in agents)
    body = {"from_slot": "blue", "to_slot": "green", "reason": "tested"}
    wait_for(
        lambda: live.http.post(f"/rollouts/{green}/switch", json=body).is_success, "a switch", 40.0
    )
    wait_for(lambda: all(serves(agent, "1.1.0") for agent in agents), "green serves", 40.0)


def begun(live: Live, version: str, **plan: object) -> str:
    body = {"model": "digits", "version": version, "target": "all",
            "plan": {"trial": TRIAL, **plan}}  # fmt: skip
    return str(live.post("/rollouts", body, 201)["id"])
