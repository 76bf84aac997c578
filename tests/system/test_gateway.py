"""The whole way to a microcontroller: director, broker, gateway agent, serial port, firmware."""

import time
from dataclasses import dataclass, replace
from typing import Any

import pytest
from wherry_protocol.bundle import Bundle
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import Assignment, Mode, SwapWindow
from wherry_protocol.messages.enrolment import BrokerLogin
from wherry_protocol.messages.observed import Kind
from wherry_protocol.messages.reported import ModelReport, Outcome, Phase

from tests.agent.director import TRIAL, Device, hardware_class
from tests.agent.gateway.board import Board, McuModel, mcu_class, mcu_model
from tests.firmware.conftest import build
from tests.system.agents import ROOT, AgentProcess, Fleet, agent_command, fleet

CONFIG = """
state_dir = "{state}"
[http]
port = 0
[[unit]]
name = "mcu1"
port = "{port}"
poll_s = 0.2
response_s_max = 1.0
[[source]]
unit = "mcu1"
model = "digits"
path = "samples.bin"
period_ms = 50
"""


@dataclass
class Gateway:
    """A gateway at sea: its fleet, its process, its microcontroller."""

    sea: Fleet
    agent: AgentProcess
    board: Board

    @property
    def device(self) -> Device:
        return self.agent.device

    def assign(self, model: McuModel, **changes: Any) -> None:
        """Publish the bundle and a desired document of the unit."""
        director = self.sea.director
        bundle = director.add(replace_images(model))
        self.sea.ashore.publish(bundle)
        assignment: Assignment = director.assignment(
            bundle, image_signatures=model.signatures, **changes
        )
        desired = director.desired(
            self.device, [assignment], unit="mcu1", hardware_class=mcu_class()
        )
        topic = director.topics.desired(self.device.name, "mcu1")
        self.sea.ashore.say(topic, director.sealed(desired), is_retained=True)

    def wait_for(self, model: McuModel, outcome: Outcome) -> ModelReport:
        """The unit's report once the outcome is there, about this bundle or after it."""

        def look() -> ModelReport | None:
            reported = self.sea.ashore.reported.get((self.device.name, "mcu1"))
            found = reported.models[0] if reported and reported.models else None
            is_it = found is not None and found.outcome is outcome
            return found if is_it and assigned_digest(found, outcome, model) else None

        report: ModelReport = self.sea.ashore.wait_for(look, f"{outcome.name}")
        return report


def assigned_digest(report: ModelReport, outcome: Outcome, model: McuModel) -> bool:
    """A confirmed report must name the bundle; a refused one must not."""
    is_active = report.active is not None and report.active.manifest_digest == model.digest
    return is_active == (outcome is Outcome.CONFIRMED)


def replace_images(model: McuModel) -> Bundle:
    return replace(model.bundle, image_signatures=model.signatures)


@pytest.fixture
def gateway(mosquitto, tmp_path):
    board = Board(build(ROOT, "all"), tmp_path)
    board.power_on()
    with fleet(mosquitto, tmp_path) as sea:
        agent = enrolled(sea, tmp_path / "gw1", board)
        yield Gateway(sea, agent.start(), board)
        agent.stop()
    board.power_off()


def enrolled(sea: Fleet, folder: Any, board: Board) -> AgentProcess:
    folder.mkdir()
    state, request, answer = folder / "state", folder / "request", folder / "answer"
    made = agent_command(
        "enroll", "--dir", str(state), "--connection", "gw1", "--class", "linux-test",
        "--unit", "mcu1:cortex-m-sim", "--request", str(request),
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    login = BrokerLogin(host="127.0.0.1", port=sea.port, username="gw1", password="secret")
    classes = {"self": hardware_class(), "mcu1": mcu_class()}
    device, sealed = sea.director.enrol(request.read_bytes(), login, classes)
    answer.write_bytes(sealed)
    assert agent_command("enroll", "--dir", str(state), "--answer", str(answer)).returncode == 0
    (folder / "samples.bin").write_bytes(bytes(range(64)))
    (folder / "agent.toml").write_text(CONFIG.format(state=state, port=board.link))
    agent = AgentProcess(folder, device)
    sea.ashore.devices["gw1"] = device
    sea.agents.append(agent)
    return agent


def test_a_signed_model_travels_to_a_microcontroller_and_is_confirmed_by_its_own_inferences(
    gateway: Gateway,
):
    first = mcu_model("1.0.0")
    gateway.assign(first)
    confirmed = gateway.wait_for(first, Outcome.CONFIRMED)
    assert confirmed.good_inferences >= TRIAL.good_inferences_min
    status = gateway.agent.get("/status")["microcontrollers"]["mcu1"]
    assert status["link"] == "up"
    assert status["running"]["version"] == "1.0.0"


def test_a_microcontroller_refuses_what_too_few_signed_and_goes_on(gateway: Gateway):
    first = mcu_model("1.0.0")
    gateway.assign(first)
    gateway.wait_for(first, Outcome.CONFIRMED)
    bad = mcu_model("1.1.0", seed=2)
    gateway.assign(replace(bad, signatures=bad.signatures[:1]))
    rejected = gateway.wait_for(bad, Outcome.REJECTED)
    assert rejected.code.name == "THRESHOLD"
    assert rejected.active is not None
    assert rejected.active.manifest_digest == first.digest


def test_a_microcontroller_has_warm_candidates_and_windows_and_no_shadow(gateway: Gateway):
    first, second = mcu_model("1.0.0"), mcu_model("1.1.0", seed=2)
    gateway.assign(first)
    gateway.wait_for(first, Outcome.CONFIRMED)
    gateway.assign(second, mode=Mode.SHADOW)
    refused = gateway.wait_for(second, Outcome.REJECTED)
    assert refused.code is Code.NO_SHADOW
    assert "mcu1 cannot run two models" in refused.reason
    gateway.assign(second, mode=Mode.WARM)
    ready = gateway.wait_for(second, Outcome.READY)
    assert ready.candidate_mode is Mode.WARM
    assert not ready.is_previous_loaded
    later = SwapWindow(not_before_s=int(time.time()) + 86_400)
    gateway.assign(second, window=later)
    waiting = gateway.sea.ashore.wait_for(
        lambda: next(
            (
                model
                for model in gateway.sea.ashore.reported[gateway.device.name, "mcu1"].models
                if model.code is Code.WINDOW_CLOSED
            ),
            None,
        ),
        "it waits for its window",
    )
    assert waiting.phase is Phase.STAGED
    assert gateway.agent.get("/status")["microcontrollers"]["mcu1"]["running"]["version"] == "1.0.0"
    gateway.assign(second)
    gateway.wait_for(second, Outcome.CONFIRMED)


def test_a_microcontroller_that_loses_power_in_a_trial_is_reverted_and_its_absence_told(
    gateway: Gateway,
):
    first, second = mcu_model("1.0.0"), mcu_model("1.1.0", seed=2)
    gateway.assign(first)
    gateway.wait_for(first, Outcome.CONFIRMED)
    ashore, device = gateway.sea.ashore, gateway.device
    patient = replace(TRIAL, trial_s_min=600.0)
    gateway.assign(second, trial=patient)

    def is_counted() -> bool:
        reported = ashore.reported.get((device.name, "mcu1"))
        model = reported.models[0] if reported and reported.models else None
        return model is not None and model.phase is Phase.TRIAL and model.good_inferences > 0

    ashore.wait_for(is_counted, "the trial's first inferences")
    gateway.board.power_off()
    gateway.board.power_on()
    reverted = gateway.wait_for(second, Outcome.REVERTED)
    assert reverted.code.name == "ENGINE_CRASH"
    assert reverted.active is not None
    assert reverted.active.manifest_digest == first.digest
    kinds = [event.kind for event in ashore.heard["event"] if event.origin.unit == "mcu1"]
    assert Kind.REVERTED in kinds
