"""The controller as it really runs: a mosquitto, a `wherry serve` process, HTTP, devices."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controller.live import Live, LiveDevice, make_live, wait_for
from tests.controller.made import bundle_file
from tests.controller.world import DIRECT


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
