"""The broker as we configure it: identities decide topics, revocation ends connections."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.controller.live import Live, LiveDevice, make_live, wait_for
from tests.controller.made import bundle_file
from tests.controller.world import DIRECT


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> Iterator[Live]:
    made = make_live(tmp_path_factory.mktemp("broker") / "acme", mosquitto)
    yield made
    made.close()


class Watcher:
    """A client that notes what it receives."""

    def __init__(self, live: Live, username: str, password: str, filters: list[str]) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.is_connected = False
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        self.client.username_pw_set(username, password)
        self.client.on_message = self._on_message
        self.client.on_connect = self._on_connect(filters)
        self.client.connect("127.0.0.1", live.broker_port)
        self.client.loop_start()

    def _on_connect(self, filters: list[str]) -> Callable[..., None]:
        def connected(client: paho.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
            if not reason.is_failure:
                client.subscribe([(name, 1) for name in filters])
                self.is_connected = True

        return connected

    def _on_message(self, _c: Any, _u: Any, message: paho.MQTTMessage) -> None:
        self.received.append((message.topic, bytes(message.payload)))

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def role_password(live: Live, role: str) -> str:
    return (live.folder / "keys" / f"broker-{role}.password").read_text().strip()


def watch_everything(live: Live) -> Watcher:
    """The controller's rights: it would see a forbidden publication if there were one."""
    watcher = Watcher(live, "acme/controller", role_password(live, "controller"), ["wherry/1/#"])
    wait_for(lambda: watcher.is_connected, "the watcher is connected")
    return watcher


def started(live: Live, name: str) -> LiveDevice:
    link = live.enroll(name)
    link.start()
    link.send(link.device.presence(), retain=True)
    link.report()
    return link


def test_impersonation_attack_nobody_receives_what_a_device_publishes_on_another_ones_topic(
    live: Live,
) -> None:
    thief = started(live, "thief")
    watcher = watch_everything(live)
    marker = thief.device.event("after the forbidden ones")
    topics = thief.device.topics
    for topic in (
        topics.reported("victim", "self"),
        topics.desired("thief", "self"),
        topics.ack("thief"),
        topics.chunk(bytes(32), 0),
        topics.time,
        topics.stop,
        "wherry/1/other/d/thief/self/reported",
    ):
        thief.send((topic, b"forbidden"))
    thief.send(marker)
    wait_for(lambda: marker[0] in [t for t, _ in watcher.received], "the allowed one arrives")
    watcher.stop()
    assert [t for t, payload in watcher.received if payload == b"forbidden"] == []


def test_a_device_cannot_read_what_others_are_told_or_say(live: Live) -> None:
    started(live, "first")
    second = started(live, "second")
    topics = second.device.topics
    login = second.device.answer
    assert login is not None
    filters = [
        f"{topics.prefix}/d/+/+/desired",
        f"{topics.prefix}/d/+/+/reported",
        f"{topics.prefix}/d/+/+/telemetry",
        f"{topics.prefix}/d/+/ack",
        f"{topics.prefix}/trust/#",
    ]
    watcher = Watcher(live, login.broker.username, login.broker.password, filters)
    wait_for(lambda: any(t == topics.time for t, _ in watcher.received), "trust is readable")
    wait_for(
        lambda: any("second/self/desired" in t for t, _ in watcher.received), "its own is readable"
    )
    watcher.stop()
    assert not [t for t, _ in watcher.received if "/d/first/" in t]
    assert not [t for t, _ in watcher.received if t.endswith(("reported", "telemetry"))]


def test_a_consumer_reads_telemetry_and_can_publish_nothing(live: Live) -> None:
    link = started(live, "source")
    watcher = watch_everything(live)
    topics = link.device.topics
    consumer = Watcher(live, "acme/consumer", role_password(live, "consumer"),
                       [f"{topics.prefix}/d/+/+/event"])  # fmt: skip
    wait_for(lambda: consumer.is_connected, "the consumer is connected")
    consumer.client.publish(topics.desired("source", "self"), b"forbidden", qos=1)
    event = link.device.event("hello")
    wait_for(lambda: link.client is not None, "the device is connected")

    def arrives() -> bool:
        link.send(event)
        return any(topic == event[0] for topic, _ in consumer.received)

    wait_for(arrives, "the consumer receives the event")
    consumer.stop()
    watcher.stop()
    assert [t for t, payload in watcher.received if payload == b"forbidden"] == []


def test_an_anonymous_client_is_not_let_in(live: Live) -> None:
    refused: list[Any] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    client.on_connect = lambda _c, _u, _f, reason, _p: refused.append(reason)
    client.connect("127.0.0.1", live.broker_port)
    client.loop_start()
    wait_for(lambda: refused, "the broker answers")
    client.disconnect()
    client.loop_stop()
    assert refused[0].is_failure


def test_a_revoked_live_connection_ends_within_ten_seconds(live: Live) -> None:
    link = started(live, "stolen")
    other = started(live, "honest")
    begun = time.monotonic()
    answer = live.post("/devices/stolen/revoke", {"reason": "stolen"})
    assert answer["broker_has_read"]
    wait_for(lambda: not link.is_connected, "its connection ends", 10.0)
    assert time.monotonic() - begun < 10.0
    link.stop()
    assert other.is_connected


def test_a_broker_that_lost_everything_is_told_again(live: Live) -> None:
    link = started(live, "patient")
    live.push(bundle_file(live.release, "3.0.0", model="lost"))
    topic = link.device.topics.desired("patient", "self")
    wait_for(lambda: topic in link.retained, "the desired document arrives")
    assert live.broker is not None
    live.broker.kill()
    live.broker.wait()
    for path in (live.folder / "broker").glob("retained.db*"):
        path.unlink()
    live.start_broker()
    wait_for(lambda: live.get("/status")["link_is_up"], "the controller is back", 60.0)
    watcher = watch_everything(live)
    wait_for(lambda: topic in [t for t, _ in watcher.received], "desired is there again")
    watcher.stop()
    body = {"model": "lost", "version": "3.0.0", "target": "patient", "plan": DIRECT}
    wait_for(lambda: link.is_connected, "the device is back", 60.0)
    made = live.post("/rollouts", body, 201)
    wait_for(lambda: link.serves("3.0.0", "lost"), "the device serves")
    wait_for(lambda: live.get(f"/rollouts/{made['id']}")["state"] == "succeeded", "it succeeds")
