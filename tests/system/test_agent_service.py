"""The agent as a service: a real process in front of a service manager's notify socket."""

import signal
import socket
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from wherry_agent.core.acceptance import memory_bytes
from wherry_agent.telemetry.pack import RESOURCE_UNITS
from wherry_native.engine import Program, kernel_names
from wherry_native.loop import Instance
from wherry_protocol.messages.reported import Phase

from tests.agent.bundles import INPUT_BYTES, layer_image
from tests.system.agents import Fleet, fleet, wait_until

WATCHDOG_S = 4.0


@pytest.fixture
def sea(mosquitto, tmp_path):
    with fleet(mosquitto, tmp_path) as one:
        yield one


@pytest.fixture
def manager(sea, tmp_path, monkeypatch):  # noqa: ARG001  (the broker would notify it too)
    """A service manager that watches whatever is started next."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHDOG_S * 1e6)))
    yield listener
    listener.close()


def heard(listener: socket.socket, wait_s: float) -> str:
    """The next notification; empty where none comes."""
    listener.settimeout(wait_s)
    try:
        return listener.recv(4096).decode()
    except TimeoutError:
        return ""


def test_the_service_manager_hears_that_it_is_ready_alive_and_stopping(
    sea: Fleet, manager: socket.socket
):
    agent = sea.enrol().start()
    assert heard(manager, 20) == "READY=1\nSTATUS=serving nothing yet"
    times = []
    while len(times) < 3:
        assert heard(manager, WATCHDOG_S) == "WATCHDOG=1"
        times.append(time.monotonic())
    assert max(b - a for a, b in pairwise(times)) < WATCHDOG_S
    assert agent.stop() == 0
    told = [text for text in iter(lambda: heard(manager, 0.2), "") if text != "WATCHDOG=1"]
    assert told[-1].startswith("STOPPING=1")


def test_a_start_counts_as_done_when_the_model_of_the_last_run_serves_again(
    sea: Fleet, manager: socket.socket
):
    agent = sea.enrol().start()
    bundle = sea.director.made("1.2.3")
    sea.ashore.publish(bundle)
    sea.ashore.assign(agent.device, [bundle])
    sea.ashore.wait_for_model(agent.device, lambda m: m.phase is Phase.TRIAL, "the trial")
    agent.kill()
    while heard(manager, 0.1):
        pass
    agent.start()
    assert heard(manager, 20) == "READY=1\nSTATUS=serving digits 1.2.3"
    assert agent.get("/inference", {"input_q": [1] * INPUT_BYTES})["version"] == "1.2.3"


def test_kernels_that_the_processor_lacks_end_the_start_before_a_bundle_is_blamed(sea: Fleet):
    agent = sea.enrol().start()
    bundle = sea.director.made("1.0.0")
    sea.ashore.publish(bundle)
    sea.ashore.assign(agent.device, [bundle])
    sea.ashore.wait_for_model(agent.device, lambda m: m.phase is Phase.TRIAL, "the trial")
    agent.kill()
    kept = files_of(agent.state_dir / "data")
    agent.environment["WHERRY_ENGINE_KERNELS"] = "abacus"
    agent.start()
    assert agent.process is not None
    assert agent.process.wait(20) == 2
    said = agent.log.splitlines()[-1]
    assert said.startswith(
        "wherry-agent: WHERRY_ENGINE_KERNELS names kernels 'abacus', "
        f"this processor has {', '.join(kernel_names())}"
    )
    assert files_of(agent.state_dir / "data") == kept
    agent.environment["WHERRY_ENGINE_KERNELS"] = "portable"
    agent.start()
    assert agent.get("/status")["engine"]["kernels"] == "portable"
    assert agent.get("/inference", {"input_q": [1] * INPUT_BYTES})["version"] == "1.0.0"


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_owners_memory_limit_counts_what_a_program_really_takes(sea: Fleet):
    images = [layer_image(seed, ballast_rows=30_000) for seed in (1, 2)]
    named = zip(("digits", "words"), images, strict=True)
    bundles = [sea.director.made("1.0.0", model=name, image=image) for name, image in named]
    stated = sum(memory_bytes(bundle.manifest) for bundle in bundles)
    taken = sum(Instance(Program(image), tag=1).memory_bytes for image in images)
    assert taken > stated
    agent = sea.enrol(config=f"[limits]\nmemory_bytes_max = {taken - 1}\n").start()
    for bundle in bundles:
        sea.ashore.publish(bundle)
    sea.ashore.assign(agent.device, bundles)

    def of(name: str) -> dict[str, Any]:
        found: dict[str, Any] = agent.get("/status")["units"]["self"]["models"].get(name, {})
        return found

    wait_until(lambda: of("digits").get("phase") == "trial", "the first one serves")
    wait_until(lambda: of("words").get("outcome") == "rejected", "there is no room for the second")
    assert of("words")["code"] == "OVER_MEMORY"
    assert f"beside other models with {taken // 2}" in of("words")["reason"]
    assert [one["model"] for one in agent.get("/status")["loaded"]] == ["digits"]


def test_the_status_counts_what_the_door_refused_and_names_every_figure(sea: Fleet):
    agent = sea.enrol().start()
    bundle = sea.director.made("1.0.0")
    sea.ashore.publish(bundle)
    sea.ashore.assign(agent.device, [bundle])
    sea.ashore.wait_for_model(agent.device, lambda m: m.phase is Phase.TRIAL, "the trial")
    for values in ([1] * INPUT_BYTES, [1] * INPUT_BYTES, [1, 2], ["x"] * INPUT_BYTES):
        with suppress(HTTPError):
            agent.get("/inference", {"input_q": values})
    status = agent.get("/status")
    (loaded,) = status["loaded"]
    assert (loaded["model"], loaded["version"], loaded["slot"]) == ("digits", "1.0.0", "active")
    assert (loaded["inferences"], loaded["errors"], loaded["refused"]) == (2, 0, 2)
    assert loaded["latency_us_p95"] > 0
    assert loaded["energy"]["source"] == "modelled:datasheet"
    wait_until(lambda: agent.get("/status")["resources"], "the first look at the host")
    assert set(agent.get("/status")["resources"]) == set(RESOURCE_UNITS)


def test_an_agent_that_hangs_stops_feeding_the_watchdog(sea: Fleet, manager: socket.socket):
    agent = sea.enrol().start()
    assert heard(manager, 20).startswith("READY=1")
    assert heard(manager, WATCHDOG_S) == "WATCHDOG=1"
    assert agent.process is not None
    agent.process.send_signal(signal.SIGSTOP)
    while heard(manager, 0.1):
        pass  # what was sent before it stopped
    assert heard(manager, WATCHDOG_S) == ""
    agent.process.send_signal(signal.SIGCONT)
    assert heard(manager, WATCHDOG_S) == "WATCHDOG=1"
