"""`.ci/setup` on machines that lack something: it says what, what follows, and how to get it.

Each machine is a folder of programs that is the whole PATH, without apt.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parents[2] / ".ci" / "setup"
ALWAYS = ("bash", "env", "id", "mktemp", "tail", "rm")


class Machine:
    """A PATH with nothing but what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ALWAYS:
            self.link(name, shutil.which(name) or "")

    def link(self, name: str, target: str) -> None:
        (self.folder / name).symlink_to(target)

    def script(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(f"#!{self.folder}/bash\n{text}\n")
        path.chmod(0o755)
        return path

    def setup(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / "bash", SETUP, *arguments],
            env={"PATH": str(self.folder), "CC": "wherry-test-cc", "WHERRY_SBIN": "/nowhere"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


def test_a_machine_without_python_is_told_what_to_install(machine: Machine, tmp_path: Path) -> None:
    done = machine.setup("venv", str(tmp_path / "venv"))
    assert done.returncode == 1
    assert "no Python 3.11 or newer on PATH" in done.stderr
    assert "PYTHON=" in done.stderr


def test_an_old_python_is_not_taken(machine: Machine, tmp_path: Path) -> None:
    machine.script("python3", "exit 1")
    done = machine.setup("venv", str(tmp_path / "venv"))
    assert (done.returncode, "no Python 3.11" in done.stderr) == (1, True)
    assert not (tmp_path / "venv").exists()


def test_python_without_ensurepip_names_the_package_that_has_it(
    machine: Machine, tmp_path: Path
) -> None:
    machine.script("python3", 'case "$*" in *ensurepip*) exit 1;; esac; exit 0')
    done = machine.setup("venv", str(tmp_path / "venv"))
    assert done.returncode == 1
    assert "install python3-venv" in done.stderr


def test_a_python_that_is_new_enough_makes_an_environment(machine: Machine, tmp_path: Path) -> None:
    machine.script("python3", f'exec {sys.executable} "$@"')
    done = machine.setup("venv", str(tmp_path / "venv"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "venv" / "bin" / "pip").exists()


def test_a_machine_without_a_compiler_is_told_so(machine: Machine) -> None:
    done = machine.setup("machine", sys.executable)
    assert done.returncode == 1
    assert "no C compiler (wherry-test-cc)" in done.stderr


def test_missing_python_headers_are_named(machine: Machine) -> None:
    machine.script("wherry-test-cc", "exit 0")
    python = machine.script("headless", "echo /nowhere/Python.h")
    done = machine.setup("machine", str(python))
    assert done.returncode == 1
    assert "/nowhere/Python.h is missing" in done.stderr
    assert "python3-dev" in done.stderr


def test_without_mosquitto_setup_goes_on_and_says_what_follows(machine: Machine) -> None:
    machine.script("wherry-test-cc", "exit 0")
    done = machine.setup("machine", sys.executable)
    assert done.returncode == 0
    assert "falls back to amqtt" in done.stderr


def test_without_faketime_setup_goes_on_and_says_what_is_skipped(machine: Machine) -> None:
    machine.script("wherry-test-cc", "exit 0")
    machine.script("mosquitto", "exit 0")
    done = machine.setup("machine", sys.executable)
    assert done.returncode == 0
    assert "the tests of wall clocks that jump are skipped" in done.stderr


def test_with_everything_setup_has_nothing_to_say(machine: Machine) -> None:
    for name in ("wherry-test-cc", "mosquitto", "faketime"):
        machine.script(name, "exit 0")
    done = machine.setup("machine", sys.executable)
    assert (done.returncode, done.stderr) == (0, "")


TARGETS = {
    "qemu-aarch64": "qemu-user",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    "s390x-linux-gnu-gcc": "gcc-s390x-linux-gnu libc6-dev-s390x-cross",
    "qemu-system-arm": "qemu-system-arm",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "clang": "clang libclang-rt-14-dev",
}


@pytest.mark.parametrize("missing", TARGETS)
def test_a_missing_cross_compiler_or_emulator_is_named_with_its_package(
    machine: Machine, missing: str
) -> None:
    for name in TARGETS:
        if name != missing:
            machine.script(name, "exit 0")
    done = machine.setup("targets")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert f"no {missing}," in line
    assert line.endswith(f"apt install {TARGETS[missing]}")
