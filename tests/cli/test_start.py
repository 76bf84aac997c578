"""What a call of the command costs before it does anything."""

import subprocess
import sys

import pytest
from wherry_controller.cli.app import COMMANDS, asked_for

# What the service, the compiler and a model's arrays stand on; nothing of it is for a question.
HEAVY = ("numpy", "sqlite_utils", "fastapi", "wherry_controller.fleet", "wherry_native")


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("status", ("status",)),
        ("--server http://x --token t rollout list", ("rollout",)),
        ("--server=http://x rollout list", ("rollout",)),
        ("--data rollout status", ("status",)),
        ("", tuple(COMMANDS)),
        ("--help device", tuple(COMMANDS)),
        ("deplyo rollout", tuple(COMMANDS)),
    ],
)
def test_a_line_needs_the_command_that_it_names(line: str, names: tuple[str, ...]) -> None:
    assert asked_for(line.split()) == names


@pytest.mark.parametrize("command", ["status", "rollout", "alerts", "device", "registry"])
def test_a_question_loads_nothing_of_the_service(command: str) -> None:
    script = (
        "import sys; from wherry_controller.cli.app import run; "
        f"run(['--server', 'http://127.0.0.1:1', {command!r}, '--help']); "
        f"sys.exit(' '.join(sorted(set({HEAVY!r}) & set(sys.modules))) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
