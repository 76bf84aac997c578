"""How a command reaches the controller, and what it says when it cannot."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.door import Service, wherry
from tests.controller.live import free_port


def test_the_data_directory_names_server_and_token(service: Service) -> None:
    by_folder = wherry("--data", service.data, "--server", service.url, "device", "list")
    assert (by_folder.status, by_folder.out) == (0, "no devices\n")


def test_the_environment_names_server_and_token(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERRY_SERVER", f"{service.url}/")
    monkeypatch.setenv("WHERRY_TOKEN", service.token)
    assert wherry("device", "list").status == 0


def test_an_option_wins_over_the_environment(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERRY_TOKEN", "nonsense")
    assert service.wherry("device", "list").status == 0
    refused = wherry("--server", service.url, "device", "list")
    assert refused.status == 16
    assert "nonsense" not in refused.err


def test_without_any_controller_the_ways_to_name_one_are_told(tmp_path: Path) -> None:
    lost = wherry("--data", tmp_path / "none", "device", "list")
    assert lost.status == 1
    assert "--server and --token, or --data" in lost.err


def test_a_server_without_a_token_is_forbidden(tmp_path: Path) -> None:
    lost = wherry("--data", tmp_path, "--server", "http://127.0.0.1:1", "device", "list")
    assert (lost.status, "operator.token cannot be read" in lost.err) == (16, True)


@pytest.mark.parametrize(
    "command",
    [["device", "list"], ["telemetry", "tail"], ["rollout", "watch", "x"],
     ["registry", "pull", "a:1.0.0", "--output", "x"]],
)  # fmt: skip
def test_a_controller_that_does_not_answer_has_its_own_status(command: list[str]) -> None:
    port = free_port()
    lost = wherry("--server", f"http://127.0.0.1:{port}", "--token", "x", *command)
    assert lost.status == 17
    assert f"127.0.0.1:{port} does not answer" in lost.err
    assert "is `wherry serve` running?" in lost.err
    assert lost.err.count("\n") == 1


@pytest.mark.parametrize("server", ["not a url", "ftp://127.0.0.1", "http://", "http://[::1"])
def test_a_server_that_is_no_address_is_one_sentence(server: str) -> None:
    lost = wherry("--server", server, "--token", "x", "device", "list")
    assert lost.status in (1, 17)
    assert lost.err.startswith("wherry: ")
    assert lost.err.count("\n") == 1


class Stranger(http.server.BaseHTTPRequestHandler):
    """Some other server on that port."""

    def do_GET(self) -> None:
        status = {"/api/v1/devices": 500, "/api/v1/classes": 200}[self.path.partition("?")[0]]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"<html>hello")

    def log_message(self, *arguments: object) -> None:
        """Silent."""


@pytest.fixture
def stranger() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("command", [["device", "list"], ["class", "list"]])
def test_another_server_is_recognised_as_no_controller(command: list[str], stranger: str) -> None:
    lost = wherry("--server", stranger, "--token", "x", *command)
    assert lost.status == 17
    assert "is not how `wherry serve` answers" in lost.err


def test_an_organization_is_founded_once(tmp_path: Path) -> None:
    found = ("--data", tmp_path / "acme", "init", "--org", "acme", "--operator", "ada")
    first = wherry(*found)
    assert first.status == 0
    assert "move these keys off this machine" in first.out
    token = (tmp_path / "acme" / "operator.token").read_text()
    again = wherry(*found)
    assert (again.status, "already holds an organization" in again.err) == (14, True)
    assert (tmp_path / "acme" / "operator.token").read_text() == token


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--org", "Acme Inc"], "Acme Inc"),
        (["--org", "acme", "--root", "two"], "K-of-N"),
        (["--org", "acme", "--release", "3-of-2"], "3 of 2"),
        (["--org", "acme", "--release", "0-of-2"], "0 of 2"),
        (["--org", "acme", "--provisioning", "magic"], "magic"),
        (["--org", "acme", "--passphrase-file", "/nowhere/x"], "/nowhere/x"),
    ],
)
def test_a_founding_that_cannot_be_leaves_nothing_behind(
    options: list[str], words: str, tmp_path: Path
) -> None:
    failed = wherry("--data", tmp_path / "acme", "init", "--operator", "ada", *options)
    assert failed.status in (1, 2, 10, 15)
    assert words in failed.err
    assert not (tmp_path / "acme").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_one_sentence_for_others_than_root(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o500)
    failed = wherry("--data", tmp_path / "acme", "init", "--org", "acme")
    assert (failed.status, failed.err.count("\n")) == (13, 1)


def test_a_data_directory_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "acme").write_text("")
    failed = wherry("--data", tmp_path / "acme", "init", "--org", "acme")
    assert failed.status == 13
    assert failed.err.startswith(f"wherry: {tmp_path}/acme")
    assert failed.err.count("\n") == 1


def process(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "wherry_controller.main", *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_program_answers_as_the_function_does(service: Service) -> None:
    done = process("--server", service.url, "--token", service.token, "class", "list", "--json")
    assert done.returncode == 0, done
    assert done.stdout == service.wherry("class", "list", "--json").out
    failed = process("--server", service.url, "--token", "x", "class", "list")
    assert (failed.returncode, failed.stdout) == (16, "")


def test_a_command_that_is_none_is_a_mistake_of_words() -> None:
    for words in (["fly"], ["model", "fly"], ["device", "list", "--fly"], ["deploy"]):
        failed = wherry(*words)
        assert failed.status == 2
        assert "Usage: wherry" in failed.err


def test_the_version_is_the_distributions() -> None:
    from importlib.metadata import version

    assert wherry("--version").out == f"wherry {version('wherry')}\n"


def test_a_shell_completes_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wherry_controller.main"],
        env=os.environ | {
            "_WHERRY_COMPLETE": "complete_bash", "COMP_WORDS": "wherry rollout w",
            "COMP_CWORD": "2",
        },
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["watch"]
