"""`wherry-agent` as a process: what the world or a wrong file refuses is one sentence naming it."""

import socket
import subprocess
import sys

import pytest
from wherry_protocol.messages.enrolment import BrokerLogin

from tests.agent.director import Director

LOGIN = BrokerLogin(host="127.0.0.1", port=1, username="gw1", password="secret")


def command(folder, *words):
    """(status, standard error) of the command, run in the folder."""
    program = [sys.executable, "-W", "error", "-m", "wherry_agent.main", *words]
    ran = subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=20)
    return ran.returncode, ran.stderr


@pytest.fixture
def folder(tmp_path):
    """An enrolled device's state is in `state`."""
    words = ["--connection", "gw1", "--class", "linux-test", "--request", "request"]
    assert command(tmp_path, "enroll", "--dir", "state", *words)[0] == 0
    answer = Director().enrol((tmp_path / "request").read_bytes(), LOGIN)[1]
    (tmp_path / "answer").write_bytes(answer)
    assert command(tmp_path, "enroll", "--dir", "state", "--answer", "answer")[0] == 0
    return tmp_path


def test_a_taken_port_is_named_with_the_keys_that_choose_another(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (folder / "agent.toml").write_text(f'state_dir = "state"\nhttp.port = {port}\n')
        status, told = command(folder, "run", "--config", "agent.toml")
    assert status == 17
    assert told == (
        f"wherry-agent: cannot listen on 127.0.0.1:{port} (Address already in use); choose another "
        "http.host or http.port in agent.toml\n"
    )


def test_a_source_that_is_not_there_is_named(folder):
    text = 'state_dir = "state"\nhttp.port = 0\n[[source]]\nmodel = "digits"\npath = "gone.bin"\n'
    (folder / "agent.toml").write_text(text)
    status, told = command(folder, "run", "--config", "agent.toml")
    assert status == 1
    assert told.endswith("gone.bin: No such file or directory\n")
    assert "Errno" not in told


def test_an_answer_that_is_none_is_named(folder):
    (folder / "agent.toml").write_text('state_dir = "state"\n')
    status, told = command(folder, "enroll", "--dir", "state", "--answer", "agent.toml")
    assert status == 10
    assert told.startswith("wherry-agent: agent.toml: ")
    assert command(folder, "enroll", "--dir", "state", "--answer", "gone")[1] == (
        "wherry-agent: gone: No such file or directory\n"
    )
