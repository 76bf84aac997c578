"""The MQTT connection, over paho: connects, says what came, sends what it is told.

Rules:
1. MQTT 3.1.1, QoS 1, a clean session each time: what the core subscribes on `Connected` is all
   that is subscribed. A kept session would hold the chunk topics of a process that died, and
   those whose unsubscription a cut has swallowed (ADR 33).
2. Nothing is published while offline: paho would queue it and answer "no connection" at once.
   The core sends everything again on `Connected`, so dropping is right.
3. Each connection has a number above all earlier ones; its will says offline with that number.
   The core says online, once it has subscribed.
4. Whatever a broker sends ends the connection at worst, never the thread that would make the
   next one.
5. Whatever a broker sends or withholds, memory stays bounded: a packet above `PACKET_BYTES_MAX`
   and QoS 2, which we never ask for, end the connection; `RECEIVED_MAX` messages at most wait for
   the agent, the rest wait in the network; what is not acknowledged in `OUT_BYTES_MAX` is not
   added to.
6. When to connect again is the core's word (`core.reconnect`).
"""

# ruff: noqa: ARG002  (paho calls back with all that it has)

import contextlib
import logging
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode
from wherry_protocol.messages.enrolment import BrokerLogin

from wherry_agent.config import LinkConfig
from wherry_agent.core import reconnect

LOG = logging.getLogger(__name__)
IN_FLIGHT_MAX: Final = 64
STOP_S_MAX: Final = 3.0
PACKET_BYTES_MAX: Final = 320 * 1024  # a desired document of 256 KiB, its topic, and some room
RECEIVED_MAX: Final = 32  # four windows of chunks; 10 MiB at most
OUT_BYTES_MAX: Final = 4 << 20  # eight spool segments
LOOK_S: Final = 0.2
QOS_BITS: Final = 0x06
QOS_2: Final = 0x04
PUBLISH: Final = 3
Acknowledge = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Called on the network thread; they only queue."""

    connected: Callable[[int], None]
    disconnected: Callable[[], None]
    received: Callable[[str, bytes, Acknowledge], None]


class _Client(mqtt.Client):
    """paho's client, which by itself takes packets of 256 MiB and QoS 2 messages without end, and
    ends its thread where a packet makes no sense to it."""

    def _packet_handle(self) -> MQTTErrorCode:
        try:
            return super()._packet_handle()
        except Exception as error:  # which ones, is up to the broker
            LOG.warning("the broker sends what cannot be read: %r", error)
            return MQTTErrorCode.MQTT_ERR_PROTOCOL

    def _sock_recv(self, bufsize: int) -> bytes:
        """Called for one byte of a header, then for all of the rest that is still to come."""
        command = self._in_packet["command"]
        if bufsize > PACKET_BYTES_MAX:
            LOG.warning("the broker sends %d bytes at once, at most %d", bufsize, PACKET_BYTES_MAX)
            raise ConnectionError("the packet is too large")
        if command >> 4 == PUBLISH and command & QOS_BITS == QOS_2:
            LOG.warning("the broker sends at QoS 2, which nobody asked for")
            raise ConnectionError("a publication at QoS 2")
        return super()._sock_recv(bufsize)


class _Outgoing:
    """What was given to paho and the broker has not acknowledged, by message id.

    The broker may be quicker than `publish` returns: such an id is remembered until it does.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._early: set[int] = set()
        self._lock = threading.Lock()
        self.size_bytes = 0

    def sent(self, mid: int, size_bytes: int) -> None:
        with self._lock:
            if mid in self._early:
                self._early.discard(mid)
            else:
                self.size_bytes += size_bytes - self._sizes.get(mid, 0)
                self._sizes[mid] = size_bytes

    def acknowledged(self, mid: int) -> None:
        with self._lock:
            if mid in self._sizes:
                self.size_bytes -= self._sizes.pop(mid)
            else:
                self._early.add(mid)


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
        self._is_ending = False
        self._room = threading.Semaphore(RECEIVED_MAX)
        self._outgoing = _Outgoing()
        self._attempts = 0
        self._connected_s = 0.0
        self._client = self._make_client(client_id)

    def _make_client(self, client_id: str) -> mqtt.Client:
        client = _Client(
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
        client.on_pre_connect = self._on_pre_connect
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def start(self) -> None:
        """Connect in the background, and again after every cut."""
        self._client.connect_async(
            self._login.host, self._login.port, keepalive=self._config.keepalive_s
        )
        self._client.loop_start()

    def stop(self) -> None:
        """Say offline, hand over what is in flight, disconnect."""
        self._is_ending = True
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
        if not self._is_connected.is_set():
            return
        if self._outgoing.size_bytes > OUT_BYTES_MAX:
            return  # the core sends again what nobody acknowledges
        sent = self._client.publish(topic, payload, qos=1, retain=is_retained)
        self._outgoing.sent(sent.mid, len(payload))

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

    def _on_pre_connect(self, client: mqtt.Client, userdata: Any) -> None:
        self._number += 1
        client.will_set(
            self._presence_topic, self._presence(self._number, False), qos=1, retain=True
        )

    def _on_connect(
        self,
        client: mqtt.Client,
        userdata: Any,
        flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        properties: Any,
    ) -> None:
        if reason.is_failure:
            LOG.warning("the broker refuses the connection: %s", reason)
            self._plan_next()
            return
        self._connected_s = time.monotonic()
        self._is_connected.set()
        self._callbacks.connected(self._number)

    def _on_connect_fail(self, client: mqtt.Client, userdata: Any) -> None:
        """Called by paho while it handles the error; it tries again by itself."""
        error = sys.exc_info()[1]
        LOG.warning("no connection to %s:%d: %s", self._login.host, self._login.port, error)
        self._plan_next()

    def _plan_next(self) -> None:
        """paho waits before every attempt but the first; how long is said here each time."""
        low_s, high_s = self._config.reconnect_s_min, self._config.reconnect_s_max
        wait_s = reconnect.wait_s(self._attempts, low_s, high_s, random.random())
        self._attempts += 1
        self._client.reconnect_delay_set(wait_s, wait_s)  # type: ignore[arg-type]  # floats will do

    def _on_disconnect(
        self,
        client: mqtt.Client,
        userdata: Any,
        flags: mqtt.DisconnectFlags,
        reason: ReasonCode,
        properties: Any,
    ) -> None:
        if self._is_connected.is_set():
            self._is_connected.clear()
            lasted_s = time.monotonic() - self._connected_s
            self._attempts = reconnect.attempts_after(self._attempts, lasted_s)
            self._callbacks.disconnected()
        self._plan_next()

    def _on_message(
        self,
        client: mqtt.Client,
        userdata: Any,
        message: mqtt.MQTTMessage,
    ) -> None:
        def acknowledge() -> None:
            client.ack(message.mid, message.qos)
            self._room.release()

        try:
            topic = message.topic
        except UnicodeDecodeError:
            client.ack(message.mid, message.qos)  # nobody's topic, or it would come again
            return
        while not self._room.acquire(timeout=LOOK_S):
            if self._is_ending:
                return
        self._callbacks.received(topic, bytes(message.payload), acknowledge)

    def _on_publish(
        self,
        client: mqtt.Client,
        userdata: Any,
        mid: int,
        reason: ReasonCode,
        properties: Any,
    ) -> None:
        self._outgoing.acknowledged(mid)
