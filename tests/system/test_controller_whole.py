"""The controller as it really runs: a mosquitto, a `wherry serve` process, HTTP, devices."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from wherry_protocol.errors import StateError

from tests.controller.live import DEADLINE_S, Live, LiveDevice, free_port, make_live, wait_for
from tests.controller.made import bundle_file
from tests.controller.world import DIRECT

pytestmark = pytest.mark.slow


@pytest.fixture
def live(tmp_path: Path, mosquitto: str) -> Iterator[Live]:
    made = make_live(tmp_path / "acme", mosquitto)
    yield made
    made.close()


def start(live: Live, name: str) -> LiveDevice:
    link = live.enroll(name)
    link.start()
    link.send(link.device.presence(), retain=True)
    link.report()
    wait_for(lambda: health(live, name) == "ok", f"{name} is seen")
    return link


def health(live: Live, name: str) -> str:
    return str(live.get(f"/devices/{name}")["units"][0]["health"])


def test_a_deployment_over_http_and_mqtt_is_proved_and_its_telemetry_acknowledged(
    live: Live,
) -> None:
    link = start(live, "gw1")
    live.push(bundle_file(live.release, "1.0.0"))
    made = live.post(
        "/rollouts",
        {"model": "digits", "version": "1.0.0", "target": "all", "plan": DIRECT},
        201,
    )
    wait_for(lambda: link.serves("1.0.0"), "the device got its desired document and its chunks")
    wait_for(
        lambda: live.get(f"/rollouts/{made['id']}")["state"] == "succeeded", "the rollout succeeds"
    )
    link.send(link.device.telemetry(link.device.performance("digits", energy_j=0.001)))
    ack = link.device.topics.ack("gw1")
    wait_for(lambda: link.device.take_ack(link.retained[ack]) == 1 if ack in link.retained else 0,
             "the report is acknowledged")  # fmt: skip
    [window] = live.get("/performance")
    assert (window["inferences"], window["version"]) == (100, "1.0.0")
    assert live.get("/audit/verify")["is_intact"]


def test_a_second_controller_on_the_same_directory_is_refused_and_the_first_goes_on(
    live: Live,
) -> None:
    program = [sys.executable, "-W", "error", "-m", "wherry_controller.main"]
    second = [*program, "--data", str(live.folder), "serve", "--port", str(free_port())]
    ran = subprocess.run(second, capture_output=True, text=True, timeout=DEADLINE_S)
    assert ran.returncode == StateError.exit_status
    assert f"{live.folder} is in use by another `wherry serve`" in ran.stderr
    start(live, "gw1")
    live.kill_service()
    live.start_service()  # a killed one holds nothing
    assert live.get("/audit/verify")["is_intact"]


def test_the_service_is_killed_in_mid_rollout_and_goes_on(live: Live) -> None:
    links = [start(live, f"gw{n}") for n in range(4)]
    live.push(bundle_file(live.release, "1.0.0"))
    stages = [{"share": "50%", "soak_s": 1.0, "is_gated": False},
              {"share": "100%", "is_gated": False}]  # fmt: skip
    plan = {"stages": stages, "trial": DIRECT["trial"]}
    body = {"model": "digits", "version": "1.0.0", "target": "all", "plan": plan}
    made = live.post("/rollouts", body, 201)
    live.kill_service()
    live.start_service()

    def serving() -> int:
        return sum(link.serves("1.0.0") for link in links)

    wait_for(lambda: serving() == 2, "the first stage is served")
    live.kill_service()
    live.start_service()
    wait_for(lambda: serving() == 4, "the second stage is served")
    wait_for(lambda: live.get(f"/rollouts/{made['id']}")["state"] == "succeeded", "it succeeds")
    assert live.get("/audit/verify")["is_intact"]


def test_reports_sent_while_the_service_is_away_are_committed_when_it_is_back(live: Live) -> None:
    link = start(live, "gw1")
    live.kill_service()
    for n in range(50):
        link.send(link.device.event(f"event {n}"))
    live.start_service()
    ack = link.device.topics.ack("gw1")
    wait_for(
        lambda: ack in link.retained and link.device.take_ack(link.retained[ack]) == 50,
        "all are acknowledged",
    )
    texts = [row["text"] for row in live.get("/events", device="gw1")]
    assert texts == [f"event {n}" for n in range(50)]


def test_the_service_ends_on_sigterm_with_status_zero(live: Live) -> None:
    assert live.stop_service() == 0


def test_a_live_tail_shows_a_report_as_it_is_committed(live: Live) -> None:
    link = start(live, "gw1")
    with live.http.stream("GET", "/telemetry/tail") as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": tail begins"
        link.send(link.device.event("now"))
        found = next(line for line in lines if line.startswith("data:"))
    assert '"text":"now"' in found
