"""TLS to the broker: the CA travels in the enrolment, and nobody speaks in the clear."""

import socket
from pathlib import Path

import pytest
from wherry_controller.founding import Charter, found
from wherry_controller.layout import DataDir
from wherry_controller.settings import BrokerSettings
from wherry_protocol.errors import WherryError

from tests.controller.certificates import make_certificates
from tests.controller.live import make_live, wait_for
from tests.controller.world import START_S


def speaks_in_the_clear(port: int) -> bool:
    """Whether a CONNECT without TLS is answered by a CONNACK."""
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        plain.sendall(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")
        try:
            return plain.recv(16)[:1] == b"\x20"
        except ConnectionResetError:
            return False


def test_controller_and_device_meet_over_tls_with_the_enrolled_ca(
    tmp_path: Path, mosquitto: str
) -> None:
    live = make_live(tmp_path / "acme", mosquitto, make_certificates(tmp_path / "tls"))
    try:
        link = live.enroll("gw1")
        answer = link.device.answer
        assert answer is not None
        assert answer.broker.is_tls
        assert "BEGIN CERTIFICATE" in answer.broker.ca_pem
        link.start()
        link.send(link.device.presence(), retain=True)
        link.report()
        wait_for(lambda: live.get("/devices")[0]["health"] == "ok", "the device is seen")
        assert not speaks_in_the_clear(live.broker_port)
    finally:
        live.close()


def test_tls_without_its_files_is_refused_at_founding(tmp_path: Path) -> None:
    charter = Charter("acme", "ada", broker=BrokerSettings(is_tls=True, ca_file="ca.pem"))
    with pytest.raises(WherryError, match="all three"):
        found(DataDir(tmp_path / "acme"), charter, START_S)
