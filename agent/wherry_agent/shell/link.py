"""The MQTT connection, over paho: connects, says what came, sends what it is told.

Rules:
1. MQTT 3.1.1, QoS 1, a clean session each time: what the core subscribes on `Connected` is all
   that is subscribed. A kept session would hold the chunk topics of a process that died, and
   those whose unsubscription a cut has swallowed (ADR 33).
2. Nothing is published while offline: paho would queue it and answer "no connection" at once.
   The core sends everything again on `Connected`, so dropping is right.
3. Each connection has a number above all earlier ones; its will says offline with that number.
   The core says online, once it has subscribed.
"""

import contextlib
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode
from wherry_protocol.messages.enrolment import BrokerLogin

from wherry_agent.config import LinkConfig

LOG = logging.getLogger(__name__)
IN_FLIGHT_MAX: Final = 64
STOP_S_MAX: Final = 3.0
Acknowledge = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Called on the network thread; they only queue."""

    connected: Callable[[int], None]
    disconnected: Callable[[], None]
    received: Callable[[str, bytes, Acknowledge], None]


class MqttLink:
    """One connection to one broker, kept up until `stop`."""

    def __init__(
        self,
        login: BrokerLogin,
        client_id: str,
        config: LinkConfig,
        presence_topic: str,
        presence: Callable[[int, bool], bytes],
        first_number: int,
        callbacks: Callbacks,
    ) -> None:
        """`presence(number, is_online)` makes the will and the farewell."""
        self._login = login
        self._config = config
        self._presence_topic = presence_topic
        self._presence = presence
        self._number = first_number
        self._callbacks = callbacks
        self._is_connected = threading.Event()
        self._client = self._make_client(client_id)

    def _make_client(self, client_id: str) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=True,
            protocol=mqtt.MQTTv311,
            manual_ack=True,
        )
        client.username_pw_set(self._login.username, self._login.password)
        if self._login.is_tls:
            import ssl  # see transport: left out where nothing needs it

            context = ssl.create_default_context(cadata=self._login.ca_pem or None)
            client.tls_set_context(context)
        client.max_inflight_messages_set(IN_FLIGHT_MAX)
        low, high = self._config.reconnect_s_min, self._config.reconnect_s_max
        client.reconnect_delay_set(max(1, round(low)), max(1, round(high)))
        client.on_pre_connect = self._on_pre_connect
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def start(self) -> None:
        """Connect in the background, and again after every cut."""
        self._client.connect_async(
            self._login.host, self._login.port, keepalive=self._config.keepalive_s
        )
        self._client.loop_start()

    def stop(self) -> None:
        """Say offline, hand over what is in flight, disconnect."""
        if self._is_connected.is_set():
            payload = self._presence(self._number, False)
            farewell = self._client.publish(self._presence_topic, payload, qos=1, retain=True)
            # Where the connection was lost meanwhile the will speaks.
            with contextlib.suppress(RuntimeError, ValueError):
                farewell.wait_for_publish(STOP_S_MAX)
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def is_connected(self) -> bool:
        return self._is_connected.is_set()

    def publish(self, topic: str, payload: bytes, is_retained: bool) -> None:
        if self._is_connected.is_set():
            self._client.publish(topic, payload, qos=1, retain=is_retained)

    def publish_once(self, topic: str, payload: bytes) -> None:
        """QoS 0: lost where the connection is."""
        if self._is_connected.is_set():
            self._client.publish(topic, payload, qos=0)

    def subscribe(self, topics: tuple[str, ...]) -> None:
        if topics and self._is_connected.is_set():
            self._client.subscribe([(topic, 1) for topic in topics])

    def unsubscribe(self, topics: tuple[str, ...]) -> None:
        if topics and self._is_connected.is_set():
            self._client.unsubscribe(list(topics))

    # --- paho's callbacks, on its thread

    def _on_pre_connect(self, client: mqtt.Client, userdata: Any) -> None:  # noqa: ARG002
        self._number += 1
        client.will_set(
            self._presence_topic, self._presence(self._number, False), qos=1, retain=True
        )

    def _on_connect(
        self,
        client: mqtt.Client,  # noqa: ARG002
        userdata: Any,  # noqa: ARG002
        flags: mqtt.ConnectFlags,  # noqa: ARG002
        reason: ReasonCode,
        properties: Any,  # noqa: ARG002
    ) -> None:
        if reason.is_failure:
            LOG.warning("the broker refuses the connection: %s", reason)
            return  # paho tries again
        self._is_connected.set()
        self._callbacks.connected(self._number)

    def _on_connect_fail(self, client: mqtt.Client, userdata: Any) -> None:  # noqa: ARG002
        """Called by paho while it handles the error; it tries again by itself."""
        error = sys.exc_info()[1]
        LOG.warning("no connection to %s:%d: %s", self._login.host, self._login.port, error)

    def _on_disconnect(
        self,
        client: mqtt.Client,  # noqa: ARG002
        userdata: Any,  # noqa: ARG002
        flags: mqtt.DisconnectFlags,  # noqa: ARG002
        reason: ReasonCode,  # noqa: ARG002
        properties: Any,  # noqa: ARG002
    ) -> None:
        if self._is_connected.is_set():
            self._is_connected.clear()
            self._callbacks.disconnected()

    def _on_message(
        self,
        client: mqtt.Client,
        userdata: Any,  # noqa: ARG002
        message: mqtt.MQTTMessage,
    ) -> None:
        def acknowledge() -> None:
            client.ack(message.mid, message.qos)

        self._callbacks.received(message.topic, bytes(message.payload), acknowledge)
