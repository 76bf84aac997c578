"""The world in which the documented commands run: a folder, a broker, a controller, a device."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.cli.door import Answer, wherry
from tests.controller.live import free_port
from tests.house.documented import ROOT

DEADLINE_S = 60.0
SOURCE = """
[[source]]
unit = "self"
model = "pump-anomaly"
path = "feed.f32"
format = "float32"
period_ms = 5
"""


def wait_for(holds: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {DEADLINE_S} s: {what}")


@dataclass
class Journey:
    """The working folder, and the programs that were started in it.

    Documented paths and ports are replaced by this machine's; nothing else of a line is changed.
    """

    folder: Path
    digits: Path
    mosquitto: str
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)

    def words(self, line: str) -> list[str]:
        for documented, here in self.replaced.items():
            line = line.replace(documented, here)
        return shlex.split(line)

    def run(self, line: str) -> Answer:
        """A line that ends by itself."""
        program, *words = self.words(line)
        if program == "wherry":
            return wherry(*words)
        command = [sys.executable, "-m", "wherry_agent.main", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return Answer(done.returncode, done.stdout, done.stderr)

    def start(self, line: str) -> None:
        """A line that goes on until it is told to end."""
        program, *words = self.words(line)
        modules = {"wherry": "wherry_controller.main", "wherry-agent": "wherry_agent.main"}
        command = [self.mosquitto] if program == "mosquitto" else [
            sys.executable, "-m", modules[program]]  # fmt: skip
        with self.log(line).open("wb") as log:
            self.running[line] = subprocess.Popen(
                [*command, *words], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )  # fmt: skip

    def log(self, line: str) -> Path:
        return self.folder / f"{re.sub('[^a-z0-9]+', '-', line)[:60]}.log"

    def wait_said(self, line: str, words: str) -> None:
        """Until a started program has said `words`."""

        def said() -> bool:
            text = self.log(line).read_text()
            assert self.running[line].poll() is None or words in text, text
            return words in text

        wait_for(said, f"{line!r} says {words!r}")

    def end(self, line: str, sent: signal.Signals = signal.SIGINT) -> int:
        """Tell a started program to end; its exit status."""
        process = self.running.pop(line)
        process.send_signal(sent)
        return process.wait(DEADLINE_S)

    def close(self) -> None:
        for line in reversed(list(self.running)):
            self.end(line, signal.SIGTERM)

    def ok(self, *words: str | Path) -> Any:
        """JSON of a command that no document shows; it must succeed."""
        answer = wherry(*words, "--json")
        assert answer.status == 0, answer
        return answer.json

    # --- what stands in the folder beforehand

    def prepare(self) -> None:
        """The user's own files: model, samples, recipe, arrays, agent.toml."""
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        recipe, agent = self._tables(readme)
        (self.folder / "pump.toml").write_text(recipe)
        device = self.folder / "device"
        device.mkdir()
        agent = agent.replace("/var/lib/wherry", str(device / "state"))
        agent = agent.replace("port = 8080", "port = 0")
        (self.folder / "agent.toml").write_text(agent + SOURCE)
        self._copy("digits-1.0.0.onnx", "pump.onnx")
        self._copy("digits-1.0.0.onnx", "keyword.onnx")
        self._copy("calibration.npz", "samples.npz")
        images = np.load(self.digits / "calibration.npz")["image"]
        (self.folder / "feed.f32").write_bytes(images.astype("<f4").tobytes())
        np.save(self.folder / "X.npy", images.transpose(0, 2, 3, 1))
        with np.load(self.digits / "digits.npz") as data:
            held_out = data["test_images"][..., None].astype(np.float32) / 16
            np.savez(self.folder / "held-out.npz", inputs=held_out, labels=data["test_labels"])
        self.replaced["/var/lib/wherry"] = str(device / "state")
        port = free_port()
        self.replaced["init --org"] = f"init --broker-port {port} --http-port {free_port()} --org"

    def _tables(self, readme: str) -> tuple[str, str]:
        """The README's recipe and its agent.toml."""
        tables = re.findall(r"^```toml\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
        recipe = next(table for table in tables if "[budgets." in table)
        return recipe, next(table for table in tables if "state_dir" in table)

    def _copy(self, source: str, target: str) -> None:
        (self.folder / target).write_bytes((self.digits / source).read_bytes())
