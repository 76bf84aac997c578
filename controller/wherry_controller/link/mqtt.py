"""MQTT: what arrives is acknowledged to the broker only after its transaction has committed.

Rules:
1. The session is persistent, so that what devices send while we are away is kept by the broker.
2. Callbacks run on paho's thread and only put values on the inbox; nothing is decided here.
3. Whatever the broker sends ends the connection at worst, never the thread.
4. paho resends what is in flight after a reconnect under the same message id, so a publication
   stays in flight until its PUBACK, whatever the link does meanwhile.
"""

import logging
import queue
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from wherry_protocol.topics import Topics

from wherry_controller.fleet.organization import Outbound
from wherry_controller.settings import BrokerSettings

LOG = logging.getLogger(__name__)
KEEPALIVE_S: Final = 30
RECONNECT_S: Final = (1, 30)
IN_FLIGHT_MAX: Final = 64
SUBSCRIBED_QOS: Final = 1


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message; `mid` and `qos` are what its PUBACK needs."""

    topic: str
    payload: bytes
    mid: int
    qos: int


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """The link came up (with or without the broker remembering our session) or went down."""

    is_up: bool
    has_session: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """The broker has acknowledged the publication with that message id."""

    mid: int


LinkEvent = Arrived | LinkChanged | Published


class _Client(paho.Client):
    """paho's client, whose thread would end where a packet makes no sense to it."""

    def _packet_handle(self) -> MQTTErrorCode:
        try:
            return super()._packet_handle()
        except Exception as error:  # which ones, is up to the broker
            LOG.error("the broker sends what cannot be read: %r", error)
            return MQTTErrorCode.MQTT_ERR_PROTOCOL


class Link:
    """One connection to the broker. `publish` and `acknowledge` may be called by the writer."""

    def __init__(
        self,
        org: str,
        broker: BrokerSettings,
        login: tuple[str, str],
        inbox: "queue.SimpleQueue[Any]",
    ) -> None:
        self._inbox = inbox
        self._topics = Topics(org)
        self._broker = broker
        self._in_flight: dict[int, tuple[str, int]] = {}  # mid -> (topic, outbox version)
        self._topics_in_flight: set[str] = set()
        self.is_up = False
        self._client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"wherry-{org}-controller",
            clean_session=False,
            protocol=paho.MQTTv311,
            manual_ack=True,
        )
        self._client.username_pw_set(*login)
        self._client.reconnect_delay_set(*RECONNECT_S)
        self._client.max_queued_messages_set(0)
        self._client.max_inflight_messages_set(IN_FLIGHT_MAX * 4)
        if broker.is_tls:
            self._client.tls_set(ca_certs=broker.ca_file or None, cert_reqs=ssl.CERT_REQUIRED)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish

    def start(self) -> None:
        """Connect in the background, and again whenever the link breaks."""
        self._client.connect_async(self._broker.host, self._broker.port, KEEPALIVE_S)
        self._client.loop_start()

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def topics_in_flight(self) -> frozenset[str]:
        """Outbox topics that were published and not yet acknowledged."""
        return frozenset(self._topics_in_flight)

    @property
    def has_room(self) -> bool:
        return self.is_up and len(self._in_flight) < IN_FLIGHT_MAX

    def publish(self, messages: Iterable[Outbound]) -> None:
        """Send; those of the outbox are told by `Published` and `settled`."""
        for message in messages:
            info = self._client.publish(
                message.topic, message.payload, qos=message.qos, retain=message.is_retained
            )
            if message.version is not None:
                self._in_flight[info.mid] = (message.topic, message.version)
                self._topics_in_flight.add(message.topic)

    def settled(self, mid: int) -> tuple[str, int] | None:
        """The outbox row behind a `Published`, once; None for what was in no outbox."""
        found = self._in_flight.pop(mid, None)
        if found is not None:
            self._topics_in_flight.discard(found[0])
        return found

    def acknowledge(self, messages: Iterable[Arrived]) -> None:
        """PUBACK to the broker: these are committed."""
        for message in messages:
            self._client.ack(message.mid, message.qos)

    def _on_connect(
        self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        del userdata, properties
        if reason.is_failure:
            LOG.error(
                "the broker at %s:%s refuses the controller: %s; check its password file and "
                "broker/ in the data directory",
                self._broker.host, self._broker.port, reason,
            )  # fmt: skip
            return
        client.subscribe([(topic, SUBSCRIBED_QOS) for topic in self._topics.from_devices])
        self._inbox.put(LinkChanged(True, bool(flags.session_present)))

    def _on_disconnect(
        self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        del client, userdata, flags, properties
        LOG.warning("the link to the broker is down: %s", reason)
        self._inbox.put(LinkChanged(False))

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        del userdata
        try:
            topic = message.topic
        except UnicodeDecodeError:
            client.ack(message.mid, message.qos)  # nobody's topic, or it would come again
            return
        self._inbox.put(Arrived(topic, bytes(message.payload), message.mid, message.qos))

    def _on_publish(
        self, client: paho.Client, userdata: Any, mid: int, reason: Any, properties: Any
    ) -> None:
        del client, userdata, reason, properties
        self._inbox.put(Published(mid))
