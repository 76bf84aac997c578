"""amqtt as the demo runs it: logins and rights that are written for mosquitto hold there too."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from wherry_controller.broker import mosquitto
from wherry_controller.broker.mosquitto import Login

from tests.system.agents import ROOT, free_port, wait_until

ORG = "acme"
PREFIX = f"wherry/1/{ORG}"
pytest.importorskip("amqtt", reason="amqtt is not installed: it is a development dependency")


class Harbour:
    """The broker's process and its two files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.write("gw1", "gw2")
        command = [sys.executable, "-m", "demo.amqtt_broker", str(folder), str(self.port)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert b" running" in self.process.stdout.readline()

    def write(self, *connections: str) -> None:
        """Passwords are the user's names."""
        roles = [mosquitto.role_username(ORG, role) for role in ("controller", "consumer")]
        made = [(mosquitto.username(ORG, name), name) for name in connections]
        salt = b"123456789012"
        logins = [
            Login(user, mosquitto.password_hash(user, salt), connection)
            for user, connection in [*((role, None) for role in roles), *made]
        ]
        for name, text in (
            ("passwd", mosquitto.password_file(logins)),
            ("acl", mosquitto.access_list(ORG, logins)),
        ):
            (self.folder / f"{name}.new").write_text(text)
            (self.folder / f"{name}.new").replace(self.folder / name)

    def close(self) -> int:
        self.process.terminate()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(15)


class Client:
    """One connection with a persistent session; notes what it receives."""

    def __init__(self, port: int, user: str, password: str | None = None) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.answers: list[Any] = []
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, user, clean_session=False, protocol=paho.MQTTv311
        )
        self.client.username_pw_set(user, user if password is None else password)
        self.client.on_connect = lambda _c, _u, _f, reason, _p: self.answers.append(reason)
        self.client.on_message = lambda _c, _u, m: self.received.append((m.topic, m.payload))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        wait_until(lambda: self.answers, f"the broker answers {user}")

    @property
    def is_in(self) -> bool:
        return not self.answers[0].is_failure

    def subscribe(self, topic_filter: str) -> None:
        done: list[int] = []
        self.client.on_subscribe = lambda *_: done.append(1)
        self.client.subscribe(topic_filter, 1)
        wait_until(lambda: done, f"subscribed to {topic_filter}")

    def publish(self, topic: str, payload: bytes, is_retained: bool = False) -> None:
        self.client.publish(topic, payload, 1, retain=is_retained).wait_for_publish(10)

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        del self.client  # its callbacks hold it in a cycle, and it has sockets to close


@pytest.fixture
def harbour(tmp_path: Path) -> Iterator[Harbour]:
    made = Harbour(tmp_path)
    yield made
    if made.process.poll() is None:
        made.close()


def device(harbour: Harbour, name: str) -> Client:
    return Client(harbour.port, mosquitto.username(ORG, name))


def test_who_is_unknown_or_has_another_password_is_not_let_in(harbour: Harbour) -> None:
    known = mosquitto.username(ORG, "gw1")
    clients = [
        Client(harbour.port, known),
        Client(harbour.port, known, "wrong"),
        Client(harbour.port, mosquitto.username(ORG, "stranger")),
    ]
    found = [client.is_in for client in clients]
    for client in clients:
        client.stop()
    assert found == [True, False, False]


def test_impersonation_attack_what_a_device_writes_on_another_ones_topic_reaches_nobody(
    harbour: Harbour,
) -> None:
    controller = Client(harbour.port, f"{ORG}/controller")
    controller.subscribe(f"{PREFIX}/#")
    thief = device(harbour, "gw1")
    for topic in ("d/gw2/self/reported", "d/gw1/self/desired", "trust/time"):
        thief.publish(f"{PREFIX}/{topic}", b"forbidden", is_retained=True)
    thief.publish(f"{PREFIX}/d/gw1/self/reported", b"allowed")
    wait_until(lambda: controller.received, "what is allowed arrives")
    thief.stop()
    controller.stop()
    assert controller.received == [(f"{PREFIX}/d/gw1/self/reported", b"allowed")]


def test_a_device_receives_neither_what_is_retained_nor_what_is_sent_for_others(
    harbour: Harbour,
) -> None:
    controller = Client(harbour.port, f"{ORG}/controller")
    for name in ("gw1", "gw2"):
        controller.publish(f"{PREFIX}/d/{name}/self/desired", name.encode(), is_retained=True)
    curious = device(harbour, "gw1")
    curious.subscribe(f"{PREFIX}/#")
    wait_until(lambda: curious.received, "its own desired document arrives")
    controller.publish(f"{PREFIX}/d/gw2/self/desired", b"for gw2", is_retained=True)
    controller.publish(f"{PREFIX}/all/report", b"for all")
    wait_until(lambda: len(curious.received) > 1, "what is for all arrives")
    curious.stop()
    controller.stop()
    assert curious.received == [
        (f"{PREFIX}/d/gw1/self/desired", b"gw1"),
        (f"{PREFIX}/all/report", b"for all"),
    ]


def test_a_session_that_is_resumed_gets_what_it_missed_and_nobody_elses_retained_messages(
    harbour: Harbour,
) -> None:
    controller = Client(harbour.port, f"{ORG}/controller")
    controller.publish(f"{PREFIX}/trust/time", b"noon", is_retained=True)
    other, sleeper = device(harbour, "gw2"), device(harbour, "gw1")
    other.subscribe(f"{PREFIX}/trust/time")
    sleeper.subscribe(f"{PREFIX}/d/gw1/ack")
    sleeper.stop()
    controller.publish(f"{PREFIX}/d/gw1/ack", b"7")
    resumed = device(harbour, "gw1")
    wait_until(lambda: resumed.received, "what it missed arrives")
    controller.publish(f"{PREFIX}/d/gw1/ack", b"8")
    wait_until(lambda: (f"{PREFIX}/d/gw1/ack", b"8") in resumed.received, "and what follows")
    for client in (controller, other, resumed):
        client.stop()
    assert [payload for _, payload in resumed.received] == [b"7", b"8"]


def test_a_new_login_is_let_in_and_a_revoked_one_hears_nothing_more_without_a_restart(
    harbour: Harbour,
) -> None:
    controller, second = Client(harbour.port, f"{ORG}/controller"), device(harbour, "gw2")
    second.subscribe(f"{PREFIX}/d/gw2/ack")
    harbour.write("gw1", "gw3")
    third = device(harbour, "gw3")
    assert third.is_in
    third.subscribe(f"{PREFIX}/d/gw3/ack")
    for name in ("gw2", "gw3"):
        controller.publish(f"{PREFIX}/d/{name}/ack", b"1")
    wait_until(lambda: third.received, "the new device hears")
    for client in (controller, second, third):
        client.stop()
    assert second.received == []


def test_it_ends_on_sigterm_with_status_zero(harbour: Harbour) -> None:
    client = device(harbour, "gw1")
    status = harbour.close()
    client.stop()
    assert status == 0
