"""The demo as a program: it sails with either broker, stays on request, leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.agents import ROOT, wait_until

FIRMWARE = ROOT / "build" / "firmware" / "wherry-firmware-sim"


class Demo:
    """`python -m demo` with its output in a file."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder / "demo"
        self.output = folder / "output"
        command = [sys.executable, "-m", "demo", "--folder", str(self.folder), *options]
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)

    def wait_for(self, word: str, limit_s: float) -> None:
        """Until it has said the word; fails where it ends before."""

        def has_said() -> bool:
            text = self.output.read_text()
            assert word in text or self.process.poll() is None, text[-2000:]
            return word in text

        wait_until(has_said, lambda: f"{word!r}; it said {self.output.read_text()}", limit_s)

    def left_behind(self) -> list[str]:
        """Command lines of processes that work in its folder."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # it ended meanwhile
                continue
            if str(self.folder) in line and path.parent.name != str(self.process.pid):
                found.append(line)
        return found

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


@pytest.fixture
def started() -> Iterator[list[Demo]]:
    if not FIRMWARE.exists():
        pytest.skip(f"no {FIRMWARE.relative_to(ROOT)}: `make firmware` builds it")
    demos: list[Demo] = []
    yield demos
    for demo in demos:
        demo.close()


@pytest.mark.slow
@pytest.mark.system
def test_with_amqtt_the_first_voyage_goes_well_then_it_stays_until_it_is_interrupted(
    tmp_path: Path, started: list[Demo]
) -> None:
    demo = Demo(tmp_path, "--broker", "amqtt", "--voyages", "1", "--keep")
    started.append(demo)
    demo.wait_for("still running", 150.0)
    told = json.loads((demo.folder / "report.json").read_text())
    assert told["went_well"], told
    assert len(told["telemetry"]["rows"]) == 14, "the consumer has read everybody's telemetry"
    wherry = Path(sys.executable).with_name("wherry")
    data = str(demo.folder / "wherry-data")
    shown = subprocess.run(
        [wherry, "--data", data, "status", "--json"], capture_output=True, text=True, timeout=30
    )
    assert json.loads(shown.stdout)["link_is_up"], shown.stderr
    assert demo.left_behind()
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(30) == 0
    assert demo.left_behind() == []


@pytest.mark.system
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_in_the_midst_ends_everything_that_was_started(
    tmp_path: Path, started: list[Demo], mosquitto: str, number: signal.Signals, status: int
) -> None:
    assert os.path.exists(mosquitto)
    demo = Demo(tmp_path, "--voyages", "1")
    started.append(demo)
    demo.wait_for("enrolling", 60.0)
    assert demo.left_behind()
    demo.process.send_signal(number)
    assert demo.process.wait(30) == status
    assert demo.left_behind() == []
    assert "Traceback" not in demo.output.read_text()
