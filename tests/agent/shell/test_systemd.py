"""The notify socket, the watchdog, and the unit file that asks for both."""

import shutil
import socket
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest
from wherry_agent.shell.systemd import (
    Notifier,
    Watchdog,
    notifier_from,
    watchdog_us_from,
)

UNIT = Path(__file__).parents[3] / "packaging" / "systemd" / "wherry-agent.service"


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """A service manager's end of the socket, and its address as NOTIFY_SOCKET has it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.settimeout(5)
    if request.param == "path":
        address = str(tmp_path / "notify")
        listener.bind(address)
    else:
        listener.bind(f"\0wherry-test-{tmp_path.name}-{id(listener)}")
        address = "@" + listener.getsockname()[1:].decode()
    yield listener, address
    listener.close()


def test_the_manager_hears_ready_status_watchdog_and_stopping(manager):
    listener, address = manager
    notifier = notifier_from({"NOTIFY_SOCKET": address})
    notifier.ready("serving digits 1.0.0")
    notifier.status("two\nlines")
    notifier.watchdog()
    notifier.stopping("asked to stop")
    heard = [listener.recv(4096).decode() for _ in range(4)]
    assert heard == [
        "READY=1\nSTATUS=serving digits 1.0.0",
        "STATUS=two lines",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=asked to stop",
    ]
    notifier.close()


@pytest.mark.parametrize("address", [None, "", "vsock:2:9", "/nowhere/notify"])
def test_without_a_manager_nothing_happens(address):
    notifier = Notifier(address)
    notifier.ready("nobody listens")
    notifier.watchdog()
    notifier.close()


def test_the_watchdog_interval_counts_only_for_its_process():
    assert watchdog_us_from({}) is None
    assert watchdog_us_from({"WATCHDOG_USEC": "x"}) is None
    assert watchdog_us_from({"WATCHDOG_USEC": "0"}) is None
    assert watchdog_us_from({"WATCHDOG_USEC": "30000000"}, pid=7) == 30_000_000
    assert watchdog_us_from({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, pid=7) == 30_000_000
    assert watchdog_us_from({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, pid=7) is None


class Heard:
    """A manager that only counts."""

    def __init__(self):
        self.fed = 0

    def watchdog(self):
        self.fed += 1


def test_the_watchdog_is_fed_at_half_its_interval():
    heard = Heard()
    dog = Watchdog(heard, 10_000_000, {"loop": lambda: True})
    for now_us in range(0, 60_000_000, 500_000):
        assert dog.tick(now_us) == ()
    assert heard.fed == 12


def test_a_thread_that_hangs_stops_the_feeding_and_is_named():
    heard = Heard()
    alive = {"events": True, "loop": True}
    parts = {name: (lambda name=name: alive[name]) for name in alive}
    dog = Watchdog(heard, 10_000_000, parts)
    assert dog.tick(0) == ()
    alive["loop"] = False
    assert dog.tick(5_000_000) == ("loop",)
    assert dog.tick(9_000_000) == ("loop",)
    assert heard.fed == 1
    alive["loop"] = True
    assert dog.tick(9_500_000) == ()
    assert heard.fed == 2


def test_parts_that_live_at_different_moments_are_both_alive():
    heard = Heard()
    pulses = {"events": [True, False], "loop": [False, True]}
    parts = {name: (lambda name=name: pulses[name].pop(0)) for name in pulses}
    dog = Watchdog(heard, 10_000_000, parts)
    assert dog.tick(0) == ("loop",)
    assert dog.tick(1) == ()
    assert heard.fed == 1


def test_without_a_watchdog_no_part_is_asked():
    dog = Watchdog(Heard(), None, {"loop": lambda: 1 / 0})
    assert dog.tick(0) == ()


def test_the_unit_asks_for_notify_watchdog_and_sandbox():
    unit = RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read(UNIT)
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) >= 10
    assert service["Restart"] == "always"
    assert service["User"] != "root"
    for switch in ("NoNewPrivileges", "MemoryDenyWriteExecute", "PrivateTmp", "ProtectHome"):
        assert service[switch] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is absent")
def test_systemd_accepts_the_unit_and_rates_its_sandbox():
    verified = subprocess.run(
        ["systemd-analyze", "verify", str(UNIT)], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout
