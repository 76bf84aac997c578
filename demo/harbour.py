"""Starts everything that the demo needs, each with the commands that the README shows."""

import json
import os
import platform
import shutil
import subprocess
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from demo.processes import (
    DemoError,
    Processes,
    command_path,
    find_program,
    free_port,
    wait_until,
)

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "demo"
BROKERS = ("auto", "mosquitto", "amqtt")
DIGITS = ROOT / "examples" / "digits"
FIRMWARE = ROOT / "build" / "firmware" / "wherry-firmware-sim"
ORG = "harbour"
OPERATOR = "olga"
DEVICES = tuple(f"boat-{number:02}" for number in range(1, 13))
GATEWAY = "lighthouse"
MCU = "lamp"
MODEL = "digits"
# Two layers in 16 bits take the large network 0.8 ms also where its 8 bits take 15 us.
SLOWLY = {"1.2.0": ("--wide", "/3/Conv", "--wide", "/6/Conv")}
REPLAY_PERIOD_MS = 5
MCU_PERIOD_MS = 100
FREE_CLASS = {"aarch64": "linux-arm64", "arm64": "linux-arm64"}


@dataclass
class Harbour:
    """One demo's folder, ports and processes."""

    folder: Path
    processes: Processes
    broker: str = BROKERS[0]
    broker_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)

    # --- the operator's doors

    @property
    def data(self) -> Path:
        return self.folder / "wherry-data"

    def wherry(self, *arguments: str | Path, expect: int = 0) -> Any:
        """Run `wherry --json`; its parsed output. Raises DemoError at another exit status."""
        command = [command_path("wherry"), "--data", self.data, *arguments, "--json"]
        shown = " ".join(str(a) for a in arguments)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"`wherry {shown}` has not ended within {error.timeout:g} s") from error
        if done.returncode != expect:
            raise DemoError(
                f"`wherry {shown}` ended with {done.returncode}, not {expect}: "
                f"{(done.stderr or done.stdout).strip()[-600:]}"
            )
        text = done.stdout if expect == 0 else (done.stdout or done.stderr)
        return json.loads(text) if text.strip() else None

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """One request to the REST API, for what a script would do in a loop."""
        token = (self.data / "operator.token").read_text().strip()
        answer = httpx.request(
            method,
            f"http://127.0.0.1:{self.http_port}/api/v1{path}",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
            trust_env=False,
        )
        if answer.is_error:
            raise DemoError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()

    def units(self) -> dict[str, dict[str, Any]]:
        """What the controller knows of every unit, by its id."""
        return {unit["id"]: unit for unit in self.api("GET", "/devices")}

    def versions(self) -> dict[str, str | None]:
        """The active version of the demo's model on every unit."""
        return {
            name: next((m["active_version"] for m in u["models"] if m["model"] == MODEL), None)
            for name, u in self.units().items()
        }

    def settled(self, version: str) -> bool:
        """Every unit serves that version of the model, and its trial is over."""
        return all(
            (m["active_version"], m["phase"], m["outcome"]) == (version, "idle", "confirmed")
            for unit in self.units().values()
            for m in unit["models"]
            if m["model"] == MODEL
        )

    # --- set-up, in order

    def found(self) -> None:
        """Organization, broker, controller."""
        self.wherry(
            "init", "--org", ORG, "--operator", OPERATOR, "--broker-port", str(self.broker_port),
            "--http-port", str(self.http_port),
        )  # fmt: skip
        self.start_broker()
        self.processes.start("controller", [command_path("wherry"), "--data", self.data, "serve"])
        self.processes.wait_ready("controller", b" ready on ")

    def start_broker(self) -> None:
        """mosquitto as `wherry init` configured it, or amqtt with the same logins and rights."""
        folder = self.data / "broker"
        program = None if self.broker == "amqtt" else find_program("mosquitto")
        command: list[str | Path] = [str(program), "-c", folder / "mosquitto.conf"]
        if program is None and self.broker == "mosquitto":
            raise DemoError("mosquitto is not on PATH: apt install mosquitto, or --broker amqtt")
        if program is None:
            python = command_path("python")
            command = [python, "-m", "demo.amqtt_broker", folder, str(self.broker_port)]
        self.processes.start("broker", command, cwd=ROOT)
        self.processes.wait_ready("broker", b" running")

    def enroll(self) -> None:
        """Every device makes its request, the controller answers, the device stores the answer."""
        for name in (*DEVICES, GATEWAY):
            (self.folder / name).mkdir(parents=True)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._request, (*DEVICES, GATEWAY)))
            for name in (*DEVICES, GATEWAY):
                request = (self.folder / name / "request").read_bytes()
                body = {"request": b64encode(request).decode()}
                made = self.api("POST", "/devices", body)
                (self.folder / name / "answer").write_bytes(b64decode(made["answer"]))
            list(pool.map(self._keep_answer, (*DEVICES, GATEWAY)))

    def _agent(self, *arguments: str | Path) -> None:
        command = [command_path("wherry-agent"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise DemoError(f"wherry-agent {arguments[0]}: {done.stderr.strip()}")

    def _request(self, name: str) -> None:
        unit = ["--unit", f"{MCU}:cortex-m-sim"] if name == GATEWAY else []
        self._agent(
            "enroll", "--dir", self.folder / name / "state", "--connection", name,
            "--class", hardware_class(), "--label", "site=bergen", *unit,
            "--request", self.folder / name / "request",
        )  # fmt: skip

    def _keep_answer(self, name: str) -> None:
        self._agent(
            "enroll", "--dir", self.folder / name / "state",
            "--answer", self.folder / name / "answer",
        )  # fmt: skip

    def start_devices(self) -> None:
        """12 agents, the microcontroller, its gateway; each with a feed of real digits."""
        write_replay(self.folder / "digits.f32")
        port = self._start_firmware()
        for name in DEVICES:
            self._write_config(name, "")
            self.start_agent(name)
        unit = f'[[unit]]\nname = "{MCU}"\nport = "{port}"\npoll_s = 0.5\n'
        self._write_config(GATEWAY, self._source(MCU, MCU_PERIOD_MS) + unit)
        self.start_agent(GATEWAY)
        everyone = len(DEVICES) + 1
        wait_until("every device is online", lambda: self._online() >= everyone, 60)

    def start_agent(self, name: str) -> None:
        config = self.folder / name / "agent.toml"
        self.processes.start(name, [command_path("wherry-agent"), "run", "--config", config])

    def _online(self) -> int:
        return sum(unit["is_online"] and unit["unit"] == "self" for unit in self.units().values())

    def _start_firmware(self) -> str:
        """The path of the microcontroller's serial port."""
        if not FIRMWARE.exists():
            raise DemoError(f"{FIRMWARE} is missing: run `make firmware`")
        keys = self.folder / "release-keys"
        keys.write_text(self.release_key() + "\n")
        self.processes.start(
            "firmware",
            [FIRMWARE, "--flash", self.folder / "lamp.flash", "--keys", keys, "--threshold", "1"],
        )
        self.processes.wait_ready("firmware", b"\n")
        return self.processes.log("firmware").read_text().splitlines()[0]

    def release_key(self) -> str:
        """The release role's public key, hexadecimal, as the firmware is provisioned with it."""
        from wherry_protocol.keys import SigningKey

        pem = (self.data / "offline" / "release-1.pem").read_bytes()
        return SigningKey.from_pem(pem).public.hex()

    def _source(self, unit: str, period_ms: float) -> str:
        return (
            f'[[source]]\nunit = "{unit}"\nmodel = "{MODEL}"\npath = "{self.folder}/digits.f32"\n'
            f'format = "float32"\nperiod_ms = {period_ms}\n'
        )

    def _write_config(self, name: str, more: str) -> None:
        feed = self._source("self", REPLAY_PERIOD_MS)
        (self.folder / name / "agent.toml").write_text(
            f'state_dir = "state"\n[http]\nport = 0\n[link]\nreconnect_s_min = 0.2\n'
            f"reconnect_s_max = 2.0\n{feed}{more}"
        )

    def start_consumer(self) -> None:
        """A stranger with read-only credentials."""
        password = (self.data / "keys" / "broker-consumer.password").read_text().strip()
        self.processes.start(
            "consumer",
            [
                command_path("python"), Path(__file__).with_name("consumer.py"), "127.0.0.1",
                str(self.broker_port), f"{ORG}/consumer", password, f"wherry/1/{ORG}",
                self.folder / "consumer.json",
            ],
        )  # fmt: skip
        self.processes.wait_ready("consumer", b"consumer ready")

    def consumed(self) -> dict[str, Any]:
        """What the consumer has seen so far."""
        path = self.folder / "consumer.json"
        return json.loads(path.read_text()) if path.exists() else {"messages": 0, "rows": {}}

    # --- models

    def publish(self, version: str, notes: str) -> Path:
        """Package, sign and push one version of the digits; the bundle's file."""
        bundle = self.folder / f"{MODEL}-{version}.wherry"
        recipe = self.folder / f"{MODEL}-{version}.toml"
        text = Path(__file__).with_name("digits.toml").read_text()
        recipe.write_text(f'release_notes = "{notes}"\n{text}')
        self.wherry(
            "model", "package", "--input", DIGITS / f"digits-{version}.onnx", "--name", MODEL,
            "--version", version, "--calibration", DIGITS / "calibration.npz",
            "--manifest", recipe, "--output", bundle, *SLOWLY.get(version, ()),
        )  # fmt: skip
        key = self.data / "offline" / "release-1.pem"
        self.wherry("model", "sign", bundle, "--key", key)
        self.wherry("registry", "push", bundle)
        return bundle


def hardware_class() -> str:
    """The default class of this machine."""
    return FREE_CLASS.get(platform.machine(), "linux-x86_64")


def write_replay(path: Path) -> None:
    """The held-out digits as little-endian float32 in real units, one image after another."""
    with np.load(DIGITS / "digits.npz") as data:
        images = data["test_images"].astype("<f4") / 16
    path.write_bytes(images.tobytes())


def fresh_folder(folder: Path = FOLDER) -> Path:
    """The demo's folder, empty."""
    folder = folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.chmod(folder, 0o700)
    return folder
