"""The agent's link over TLS: a real broker with a certificate, and one with a stranger's."""

import datetime
import ipaddress
import os
import subprocess
import time
from contextlib import contextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from wherry_protocol.messages.enrolment import BrokerLogin

from tests.agent.director import Director
from tests.agent.live_director import LiveDirector
from tests.system.agents import AgentProcess, agent_command, free_port, wait_until

CONF = """\
per_listener_settings true
listener {plain} 127.0.0.1
allow_anonymous true
listener {tls} 127.0.0.1
allow_anonymous true
certfile {folder}/broker.pem
keyfile {folder}/broker.key
max_queued_messages 10000
log_dest file {folder}/mosquitto.log
"""


def certificate(name: str, issuer: "tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None"):
    """(certificate, key) for loopback: self-signed where there is no issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def pem(made: x509.Certificate) -> str:
    return made.public_bytes(Encoding.PEM).decode()


@contextmanager
def tls_broker(program, folder):
    """(plain port, TLS port, the authority's certificate) of a running mosquitto."""
    folder.mkdir()
    authority = certificate("test authority", None)
    made, key = certificate("broker", authority)
    (folder / "broker.pem").write_text(pem(made))
    plain_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "broker.key").write_bytes(plain_key)
    plain, tls = free_port(), free_port()
    user = "user root\n" if os.geteuid() == 0 else ""
    conf = folder / "mosquitto.conf"
    conf.write_text(CONF.format(plain=plain, tls=tls, folder=folder) + user)
    process = subprocess.Popen([program, "-c", str(conf)], stderr=subprocess.DEVNULL)
    try:
        yield plain, tls, pem(authority[0])
    finally:
        process.terminate()
        process.wait(10)


def connect(director, port):
    """The broker needs a moment to listen."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return LiveDirector(director, port)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def enrolled(folder, director, login) -> AgentProcess:
    folder.mkdir()
    state, request, answer = folder / "state", folder / "request", folder / "answer"
    asked = ["--connection", "gw1", "--class", "linux-test", "--request", str(request)]
    assert agent_command("enroll", "--dir", str(state), *asked).returncode == 0
    device, sealed = director.enrol(request.read_bytes(), login)
    answer.write_bytes(sealed)
    assert agent_command("enroll", "--dir", str(state), "--answer", str(answer)).returncode == 0
    (folder / "agent.toml").write_text(
        f'state_dir = "{state}"\n[http]\nport = 0\n[link]\nreconnect_s_min = 0.1\n'
        "reconnect_s_max = 1.0\n"
    )
    return AgentProcess(folder, device)


@pytest.mark.parametrize("is_trusted", [True, False])
def test_the_link_goes_over_tls_to_a_broker_of_the_right_authority_only(
    mosquitto, tmp_path, is_trusted
):
    director = Director(now_s=int(time.time()))
    with tls_broker(mosquitto, tmp_path / "broker") as (plain, tls, authority):
        ca_pem = authority if is_trusted else pem(certificate("a stranger", None)[0])
        login = BrokerLogin(
            host="127.0.0.1", port=tls, username="gw1", password="secret", ca_pem=ca_pem,
            is_tls=True,
        )  # fmt: skip
        agent = enrolled(tmp_path / "gw1", director, login)
        ashore = connect(director, plain)
        ashore.devices["gw1"] = agent.device
        agent.start()
        try:
            if is_trusted:
                ashore.wait_for(lambda: ("gw1", "self") in ashore.reported, "a report over TLS")
            else:
                log = tmp_path / "broker" / "mosquitto.log"
                wait_until(lambda: "unknown ca" in log.read_text(), "the agent refuses the broker")
                assert not ashore.reported
        finally:
            agent.kill()
            ashore.close()
