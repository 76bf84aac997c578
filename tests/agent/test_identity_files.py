"""Enrolment on the device: keys stay private, only the right answer is believed."""

import os
from pathlib import Path

import pytest
from wherry_agent.main import main
from wherry_agent.shell import identity_files
from wherry_protocol import cose
from wherry_protocol.codec import decode
from wherry_protocol.errors import Code, DecodeError, StateError, TrustError
from wherry_protocol.messages.enrolment import BrokerLogin, EnrolRequest, UnitRequest
from wherry_protocol.messages.trust import TrustRole
from wherry_protocol.sealed import open_sealed

from tests.agent.director import Director, key

LOGIN = BrokerLogin(host="127.0.0.1", port=1883, username="gw1", password="secret")
UNITS = (UnitRequest(unit="self", hardware_class="linux-test"),)


def request(folder: Path) -> bytes:
    return identity_files.make_request(folder, "gw1", UNITS, {"site": "oslo"}, "0.1")


def test_a_request_is_signed_by_the_key_that_it_names(tmp_path):
    data = request(tmp_path)
    claimed = decode(EnrolRequest, cose.unverified_payload(data))
    asked = open_sealed(EnrolRequest, data, TrustRole.DEVICE, [claimed.signing_key])
    assert (asked.connection, asked.labels, asked.units) == ("gw1", {"site": "oslo"}, UNITS)


def test_private_keys_are_readable_by_their_owner_only_and_made_once(tmp_path):
    request(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in ("signing.pem", "agreement.pem")}
    request(tmp_path)
    for name, content in before.items():
        assert (tmp_path / name).read_bytes() == content
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_an_answer_makes_an_identity_with_the_directors_keys(tmp_path):
    director = Director()
    device, answer = director.enrol(request(tmp_path), LOGIN)
    identity_files.keep_answer(tmp_path, answer)
    kept, identity = identity_files.read_enrolment(tmp_path)
    assert kept.broker == LOGIN
    assert identity.keys == device.keys
    assert identity.signing_key.public == device.signing_public


def test_an_answer_to_another_request_is_refused(tmp_path):
    director = Director()
    _, stale = director.enrol(request(tmp_path), LOGIN)
    request(tmp_path)
    with pytest.raises(TrustError, match="another request") as caught:
        identity_files.keep_answer(tmp_path, stale)
    assert caught.value.code is Code.REPLAY
    assert not (tmp_path / "enrolment").exists()


def test_an_answer_that_its_own_root_does_not_vouch_for_is_refused(tmp_path):
    director = Director()
    real = director.director_key
    director.director_key = key(director.random)
    _, forged = director.enrol(request(tmp_path), LOGIN)
    director.director_key = real
    with pytest.raises(TrustError):
        identity_files.keep_answer(tmp_path, forged)


@pytest.mark.parametrize("data", [b"", b"nonsense", bytes(2 << 20)], ids=["empty", "text", "large"])
def test_an_answer_that_is_none_is_refused_in_one_sentence(tmp_path, data):
    request(tmp_path)
    with pytest.raises(DecodeError):
        identity_files.keep_answer(tmp_path, data)


def test_two_agents_never_share_a_state_folder(tmp_path):
    held = identity_files.lock(tmp_path)
    with pytest.raises(StateError, match="in use"):
        identity_files.lock(tmp_path)
    os.close(held)
    os.close(identity_files.lock(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--connection", "GW 1", "--class", "linux-test"], "connection"),
        (["--connection", "gw1", "--class", "UPPER"], "class"),
        (["--connection", "gw1"], "--class"),
        (["--connection", "gw1", "--class", "c", "--unit", "mcu"], "NAME:CLASS"),
        (["--connection", "gw1", "--class", "c", "--label", "x"], "KEY=VALUE"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_sentence(tmp_path, capsys, arguments, word):
    path = tmp_path / "request"
    status = main(["enroll", "--dir", str(tmp_path / "s"), "--request", str(path), *arguments])
    assert status != 0
    said = capsys.readouterr().err
    assert word in said
    assert said.count("\n") == 1
    assert not path.exists()


def test_status_says_that_no_agent_runs(tmp_path, capsys):
    path = tmp_path / "agent.toml"
    path.write_text('state_dir = "state"\n[http]\nport = 0\n')
    assert main(["status", "--config", str(path)]) == 17
    assert "wherry-agent run" in capsys.readouterr().err
