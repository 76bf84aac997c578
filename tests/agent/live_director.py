"""The test director on a real broker: answers nonces and acks, keeps what devices said."""

import threading
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from wherry_protocol.bundle import Bundle
from wherry_protocol.errors import WherryError
from wherry_protocol.messages.observed import Event, Presence, Telemetry
from wherry_protocol.messages.reported import ModelReport, Reported
from wherry_protocol.messages.rpc import Reply
from wherry_protocol.sealed import open_mac
from wherry_protocol.topics import parse_device_topic

from tests.agent.director import Device, Director

MACED = {"telemetry": Telemetry, "event": Event, "reply": Reply, "presence": Presence}


class LiveDirector:
    """`director`'s messages over paho. Everything is kept under one lock."""

    def __init__(self, director: Director, port: int) -> None:
        self.director = director
        self.devices: dict[str, Device] = {}
        self.reported: dict[tuple[str, str], Reported] = {}
        self.heard: dict[str, list[Any]] = {name: [] for name in MACED}
        self.unbelieved = 0
        self.acknowledges = True
        self._answered: set[bytes] = set()
        self._highest: dict[bytes, int] = {}
        self._news = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="director")
        self._client.max_queued_messages_set(0)
        self._client.max_inflight_messages_set(1000)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    # --- saying

    def say(self, topic: str, payload: bytes, *, is_retained: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=is_retained)

    def publish(self, bundle: Bundle) -> None:
        """All chunks, retained; returns when the broker has them."""
        sent = [
            self._client.publish(topic, segment, qos=1, retain=True)
            for topic, segment in self.director.chunks(bundle).items()
        ]
        for one in sent:
            one.wait_for_publish(20)

    def assign(
        self,
        device: Device,
        bundles: list[Bundle],
        desired_changes: dict[str, Any] | None = None,
        **changes: Any,
    ) -> None:
        """One desired document that names these bundles."""
        assignments = [self.director.assignment(bundle, **changes) for bundle in bundles]
        desired = self.director.desired(device, assignments, **(desired_changes or {}))
        topic = self.director.topics.desired(device.name, "self")
        self.say(topic, self.director.sealed(desired), is_retained=True)

    # --- hearing

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe([(name, 1) for name in self.director.topics.from_devices])

    def _on_message(self, client: mqtt.Client, userdata: Any, message: Any) -> None:  # noqa: ARG002
        address = parse_device_topic(message.topic)
        device = self.devices.get(address.connection) if address else None
        if address is None or device is None:
            return
        try:
            with self._news:
                self._take(device, address.unit or "", address.leaf, message.payload)
                self._news.notify_all()
        except WherryError:
            self.unbelieved += 1

    def _take(self, device: Device, unit: str, leaf: str, payload: bytes) -> None:
        if leaf == "reported":
            reported = self.director.open_reported(device, payload)
            self.reported[device.name, unit] = reported
            self._answer_nonce(device, reported)
            return
        heard = open_mac(MACED[leaf], payload, device.keys.mac_key)
        self.heard[leaf].append(heard)
        if leaf in ("telemetry", "event") and self.acknowledges:
            self._acknowledge(device, heard.origin)

    def _answer_nonce(self, device: Device, reported: Reported) -> None:
        if reported.nonce is not None and reported.nonce not in self._answered:
            self._answered.add(reported.nonce)
            topic = self.director.topics.rpc(device.name, reported.unit)
            self.say(topic, self.director.time_answer(device, reported.nonce, reported.unit))

    def _acknowledge(self, device: Device, origin: Any) -> None:
        """The highest sequence; a test's broker neither loses nor reorders."""
        highest = max(self._highest.get(origin.boot_id, 0), origin.sequence)
        self._highest[origin.boot_id] = highest
        ack = self.director.ack(device, origin.boot_id, highest)
        self.say(self.director.topics.ack(device.name), ack)

    # --- waiting

    def wait_for(self, holds: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
        """The first true value of `holds`, asked again at each message."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while not (found := holds()):
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise AssertionError(f"no {what} within {timeout_s} s; {self.reported}")
                self._news.wait(min(left_s, 0.5))
        return found

    def wait_for_model(
        self,
        device: Device,
        holds: Callable[[ModelReport], bool],
        what: str,
        model: str = "digits",
        timeout_s: float = 30.0,
    ) -> ModelReport:
        """The device's report on a model, once `holds` of it."""

        def look() -> ModelReport | None:
            reported = self.reported.get((device.name, "self"))
            models = reported.models if reported else ()
            return next((one for one in models if one.model == model and holds(one)), None)

        found: ModelReport = self.wait_for(look, what, timeout_s)
        return found
