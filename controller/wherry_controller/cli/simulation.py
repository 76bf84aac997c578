"""`wherry device simulate`: a real agent on this machine, with the label env=simulation."""

import os
import subprocess
import sys
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Annotated, Final

import typer
from wherry_protocol.errors import FailedError

from wherry_controller.cli.client import ask
from wherry_controller.cli.files import read_file, write_file

AGENT: Final = (sys.executable, "-m", "wherry_agent.main")
CONFIG: Final = 'state_dir = "state"\nlog_level = "warning"\n[http]\nport = 0\n'
SOURCE: Final = (
    '[[source]]\nmodel = "{model}"\npath = "{path}"\nformat = "float32"\nperiod_ms = 5\n'
)


def simulate(
    name: Annotated[str, typer.Argument(help="The device's name.")],
    hardware_class: Annotated[
        str, typer.Option("--class", help="Its hardware class.")
    ] = "linux-x86_64",
    model: Annotated[str | None, typer.Option(help="The model that gets the inputs.")] = None,
    inputs: Annotated[
        Path | None, typer.Option(help="Inputs that it is given again and again: raw float32.")
    ] = None,
    folder: Annotated[
        Path, typer.Option("--dir", help="Where the device's own folder is made.")
    ] = Path("simulation"),
) -> None:
    """Run a real agent on this machine as a device of --target simulation, until Ctrl-C.

    The agent is the one that devices run, with its C loop, and speaks to the controller's own
    broker. What is missing of it (keys, enrolment, agent.toml) is made first.

    wherry device simulate sim-1 --model pump-anomaly --inputs feed.f32
    """
    if (model is None) != (inputs is None):
        raise typer.BadParameter("--model and --inputs go together")
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "answer").exists():
        _enroll(home, name, hardware_class)
    text = CONFIG
    if model is not None and inputs is not None:
        read_file(inputs, "inputs")
        text += SOURCE.format(model=model, path=inputs.resolve())
    config = home / "agent.toml"
    write_file(config, text.encode())
    print(f"{name} runs in {home}, a device of --target simulation; Ctrl-C ends it", flush=True)
    command = (*AGENT, "run", "--config", str(config))
    os.execv(command[0], command)


def _enroll(home: Path, name: str, hardware_class: str) -> None:
    """Make the device's keys, have the controller answer, and give it the answer."""
    state, request, answer = home / "state", home / "request", home / "answer"
    _agent(
        "enroll", "--dir", str(state), "--connection", name, "--class", hardware_class,
        "--label", "env=simulation", "--request", str(request),
    )  # fmt: skip
    body = {"request": b64encode(read_file(request, "request")).decode()}
    made = ask("POST", "/devices", body=body)
    fresh = home / "answer.new"
    write_file(fresh, b64decode(made["answer"]))
    fresh.chmod(0o600)  # it holds the device's broker password
    _agent("enroll", "--dir", str(state), "--answer", str(fresh))
    fresh.rename(answer)


def _agent(*words: str) -> None:
    """Raises FailedError with what the agent said."""
    done = subprocess.run([*AGENT, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FailedError(f"wherry-agent {words[0]}: {done.stderr.strip() or done.returncode}")
