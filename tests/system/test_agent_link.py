"""The agent's link: rpc answers, TLS, a broker that dies."""

import datetime
import ipaddress
import time

import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt.enums import CallbackAPIVersion
from wherry_protocol.codec import decode, encode
from wherry_protocol.errors import Code
from wherry_protocol.messages.enrolment import BrokerLogin
from wherry_protocol.messages.reported import Outcome
from wherry_protocol.messages.rpc import (
    InferReply,
    InferRequest,
    LogsReply,
    LogsRequest,
    StatusReply,
    Verb,
    VerifyReply,
    VerifyRequest,
)

from tests.agent.bundles import INPUT_BYTES
from tests.agent.director import Director
from tests.agent.live_director import LiveDirector
from tests.system.agents import AgentProcess, Fleet, broker, enrolled, fleet, free_port, wait_until


@pytest.fixture
def sea(mosquitto, tmp_path):
    with fleet(mosquitto, tmp_path) as one:
        yield one


def served(sea: Fleet, agent: AgentProcess) -> None:
    """1.0.0 is confirmed."""
    bundle = sea.director.made("1.0.0")
    sea.ashore.publish(bundle)
    sea.ashore.assign(agent.device, [bundle])

    def is_confirmed() -> bool:
        try:
            agent.get("/inference", {"input_q": [1] * INPUT_BYTES})
        except OSError:
            return False
        reported = sea.ashore.reported.get((agent.device.name, "self"))
        return bool(reported and [m for m in reported.models if m.outcome is Outcome.CONFIRMED])

    wait_until(is_confirmed, "confirmation")


def asked(sea: Fleet, agent: AgentProcess, verb: Verb, body: bytes = b""):
    """The reply to one question."""
    request = sea.director.request(agent.device, verb, body, expires_s=int(time.time()) + 60)
    before = len(sea.ashore.heard["reply"])
    sea.ashore.say(sea.director.topics.rpc(agent.device.name, "self"), request)
    sea.ashore.wait_for(lambda: len(sea.ashore.heard["reply"]) > before, f"reply to {verb.name}")
    return sea.ashore.heard["reply"][-1]


def test_a_device_answers_signed_questions(sea: Fleet):
    agent = sea.enrol().start()
    served(sea, agent)
    body = encode(InferRequest(model="digits", input=bytes(INPUT_BYTES)))
    reply = asked(sea, agent, Verb.INFER, body)
    assert reply.code is Code.OK, reply.text
    assert decode(InferReply, reply.body).version == "1.0.0"
    verified = decode(
        VerifyReply, asked(sea, agent, Verb.VERIFY, encode(VerifyRequest(model="digits"))).body
    )
    assert (verified.is_intact, verified.golden_passed) == (True, verified.golden_count)
    logs = decode(LogsReply, asked(sea, agent, Verb.LOGS, encode(LogsRequest(count=50))).body)
    assert any("confirmed" in line for line in logs.lines)
    status = decode(StatusReply, asked(sea, agent, Verb.STATUS).body)
    assert status.fields["units.self.models.digits.active.version"] == "1.0.0"
    wrong = encode(InferRequest(model="nobody", input=b"x"))
    assert asked(sea, agent, Verb.INFER, wrong).code is Code.NOT_FOUND
    assert asked(sea, agent, Verb.INFER, b"garbage").code is Code.MALFORMED
    assert asked(sea, agent, Verb.EVALUATE).code is Code.INVALID


def test_an_agent_goes_on_after_its_broker_was_killed_and_came_back(mosquitto, tmp_path):
    port = free_port()
    director = Director(now_s=int(time.time()))
    with broker(mosquitto, tmp_path / "one", port, is_killed=True):
        ashore = LiveDirector(director, port)
        agent = enrolled(tmp_path / "gw1", director, port)
        ashore.devices["gw1"] = agent.device
        one = Fleet(tmp_path, port, director, ashore, [agent])
        agent.start()
        served(one, agent)
    try:
        assert agent.get("/inference", {"input_q": [1] * INPUT_BYTES})["version"] == "1.0.0"
        ashore.reported.clear()
        with broker(mosquitto, tmp_path / "two", port):
            ashore.wait_for(lambda: ashore.reported.get(("gw1", "self")), "a new report", 40)
            bundle = director.made("1.1.0", seed=2)
            ashore.publish(bundle)
            ashore.assign(agent.device, [bundle])
            ashore.wait_for_model(agent.device, lambda m: m.phase.name == "TRIAL", "the trial")
    finally:
        agent.kill()
        ashore.close()


def session_present(port: int, client_id: str) -> bool:
    """Whether the broker has kept a session of that client; takes it over."""
    answers: list[bool] = []
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id, clean_session=False, protocol=paho.MQTTv311
    )
    client.on_connect = lambda _client, _data, flags, *_: answers.append(flags.session_present)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        wait_until(lambda: answers, "the broker answers")
    finally:
        client.disconnect()
        client.loop_stop()
    return answers[0]


def test_an_agent_that_was_killed_leaves_no_chunk_topics_in_the_brokers_session(sea: Fleet):
    agent = sea.enrol().start()
    bundle = sea.director.made("1.0.0", ballast_rows=3000)
    sea.ashore.assign(agent.device, [bundle])  # no chunk of it is ever published
    sea.ashore.wait_for_model(agent.device, lambda m: m.phase.name == "FETCHING", "fetching")
    agent.kill()
    client_id = f"acme/d/{agent.device.name}"
    assert not session_present(sea.port, client_id)
    assert session_present(sea.port, client_id)  # ours was kept: the question can be answered yes


# --- TLS


def certificate(subject: str, signer=None):
    """(key, certificate) of a test authority, or of 127.0.0.1 signed by one."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    now = datetime.datetime.now(datetime.UTC)
    issuer_key, issuer = signer or (key, None)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )
    return key, made


def pem(thing) -> bytes:
    if hasattr(thing, "private_bytes"):
        return thing.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    return thing.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("is_trusted", [True, False], ids=["trusted", "stranger"])
def test_an_agent_connects_over_tls_only_to_the_broker_of_its_enrolment(
    mosquitto, tmp_path, is_trusted
):
    authority = certificate("authority")
    stranger = certificate("stranger")
    key, own = certificate("broker", authority)
    folder = tmp_path / "broker"
    folder.mkdir()
    for name, thing in (("ca.pem", authority[1]), ("key.pem", key), ("cert.pem", own)):
        (folder / name).write_bytes(pem(thing))
        (folder / name).chmod(0o644)
    tls_port = free_port()
    extra = (
        f"listener {tls_port} 127.0.0.1\ncafile {folder}/ca.pem\n"
        f"certfile {folder}/cert.pem\nkeyfile {folder}/key.pem\n"
    )
    director = Director(now_s=int(time.time()))
    trusted = pem((authority if is_trusted else stranger)[1]).decode()
    login = BrokerLogin(
        host="127.0.0.1", port=tls_port, username="gw1", password="x", ca_pem=trusted, is_tls=True
    )
    with broker(mosquitto, folder, extra=extra) as port:
        ashore = LiveDirector(director, port)
        agent = enrolled(tmp_path / "gw1", director, port, login=login)
        ashore.devices["gw1"] = agent.device
        try:
            agent.start()
            if is_trusted:
                ashore.wait_for(lambda: ashore.reported.get(("gw1", "self")), "a report")
            else:
                wait_until(lambda: agent.get("/status"), "the agent runs")
                wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in agent.log, "the refusal is told")
                assert not ashore.reported
        finally:
            agent.kill()
            ashore.close()
