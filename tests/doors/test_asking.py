"""An operator asks one device, by command: over a real broker, a real agent answers."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.agent.bundles import INPUT_BYTES
from tests.cli.door import Answer, wherry
from tests.controller.live import Live, wait_for
from tests.system.agents import AgentProcess
from tests.system.shore import enrolled, live_with_class, push

TRIAL = {"good_inferences_min": 1, "trial_s_min": 0.0, "trial_s_max": 60.0}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> Iterator[Live]:
    made = live_with_class(tmp_path_factory.mktemp("asking") / "acme", mosquitto)
    yield made
    made.close()


@pytest.fixture(scope="module")
def agent(live: Live) -> Iterator[AgentProcess]:
    """A device that serves 1.0.0."""
    made = enrolled(live, live.folder.parent / "gw1", "gw1")
    configure = ("device", "configure", "--target", "gw1", "--performance-s", "1")
    assert wherry("--data", live.folder, *configure).status == 0
    made.start()
    wait_for(lambda: live.get("/devices")[0]["health"] == "ok", "it is seen", 40.0)
    push(live, "1.0.0", 1)
    body = {"model": "digits", "version": "1.0.0", "target": "all", "plan": {"trial": TRIAL}}
    rollout = live.post("/rollouts", body, 201)["id"]

    def is_proved() -> bool:
        try:
            made.get("/inference", {"input_q": [1] * INPUT_BYTES})
        except OSError:
            return False
        return bool(live.get(f"/rollouts/{rollout}")["state"] == "succeeded")

    wait_for(is_proved, "1.0.0 serves", 40.0)
    yield made
    made.kill()


def ask(live: Live, *arguments: str | Path) -> Answer:
    return wherry("--data", live.folder, "device", "ask", *arguments, "--json")


def test_golden_vectors_run_on_a_named_device_when_asked(live: Live, agent: AgentProcess) -> None:
    told = ask(live, "gw1", "verify", "--model", "digits").json
    assert told["body"]["is_intact"] is True
    assert told["body"]["golden_passed"] == told["body"]["golden_count"] > 0
    refused = ask(live, "gw1", "verify", "--model", "ghost")
    assert refused.status != 0
    assert "ghost" in json.loads(refused.err)["error"]
    assert agent.process is not None


def test_a_device_infers_by_command_as_by_its_own_door(
    live: Live, agent: AgentProcess, tmp_path: Path
) -> None:
    sample = np.arange(INPUT_BYTES, dtype=np.int8)
    np.save(tmp_path / "x.npy", sample)
    told = ask(live, "gw1", "infer", "--model", "digits", "--input", tmp_path / "x.npy").json
    local = agent.get("/inference", {"input_q": sample.tolist()})
    assert told["body"]["version"] == local["version"] == "1.0.0"
    text = json.dumps(told["body"]["output"])
    expected = bytes(value & 0xFF for value in local["output_q"])
    assert expected.hex() in text or str(local["output_q"]) in text


def test_the_newest_lines_of_a_devices_log_come_by_command(live: Live, agent: AgentProcess) -> None:
    lines = ask(live, "gw1", "logs", "--count", "200").json["body"]["lines"]
    assert any("started" in line for line in lines)
    assert all(line in agent.log for line in lines)
    assert len(ask(live, "gw1", "logs", "--count", "1").json["body"]["lines"]) == 1


def test_a_round_trip_is_timed_and_a_device_that_is_away_is_said_to_be(
    live: Live, agent: AgentProcess
) -> None:
    told = ask(live, "gw1", "status", "--reason", "is it alive?").json
    assert 0 < told["round_trip_s"] < 10
    assert any("1.0.0" in value for value in told["body"]["fields"].values())
    [unit] = wherry("--data", live.folder, "device", "list", "--json").json
    assert unit["seen_s"] > 1.6e9
    asked = wherry("--data", live.folder, "audit", "log", "--json").json
    assert any(row["reason"] == "is it alive?" for row in asked)
    assert agent.stop() == 0
    wait_for(lambda: not live.get("/devices")[0]["is_online"], "it is away")
    assert ask(live, "gw1", "status").status == 17
    agent.start()  # for whichever test comes next


def test_a_real_device_passes_integration_and_a_drill_with_its_own_golden_vectors(
    live: Live, agent: AgentProcess, tmp_path: Path
) -> None:
    wait_for(lambda: live.get("/devices")[0]["is_online"], "it is there", 40.0)
    push(live, "1.0.1", 1)
    suite = ("verify", "--target", "all", "--suite", "integration", "--model", "digits")
    report = tmp_path / "report.md"
    told = wherry("--data", live.folder, *suite, "--report", report, "--json").json
    assert {step["step"]: step["verdict"] for step in told["units"][0]["steps"]} == dict.fromkeys(
        ("transport", "swap", "golden", "inference", "telemetry"), "passed"
    )
    assert "| gw1/self |" in report.read_text()
    assert "golden passed: " in report.read_text()
    plan = tmp_path / "drill.toml"
    plan.write_text("[trial]\ngood_inferences_min = 1\ntrial_s_min = 0.0\ntrial_s_max = 60.0\n")
    made = wherry("--data", live.folder, "drill", "--model", "digits", "--target", "gw1",
                  "--version", "1.0.1", "--reason", "monthly", "--file", plan, "--no-wait",
                  "--json").json  # fmt: skip

    def has_ended() -> bool:
        try:  # a trial wants inferences
            agent.get("/inference", {"input_q": [1] * INPUT_BYTES})
        except OSError:
            return False
        return bool(live.get(f"/verifications/{made['id']}")["outcome"] != "running")

    wait_for(has_ended, "the drill has ended", 60.0)
    run = live.get(f"/verifications/{made['id']}")
    assert run["outcome"] == "passed", run
    assert [step["step"] for step in run["units"][0]["steps"]] == [
        "swap away", "roll back", "golden",
    ]  # fmt: skip
