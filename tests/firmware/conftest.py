"""The built firmware, plain and under sanitizers, and a board with trusted keys."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from wherry_protocol.keys import SigningKey

from tests.firmware.device import Device, provisioning

KEYS = tuple(SigningKey.from_seed(bytes([n]) * 32) for n in range(1, 4))

Start = Callable[..., Device]


def build(root: Path, target: str) -> Path:
    """Makes the target, unless that is done already; pytest's workers take turns."""
    lock = root / "build" / "firmware.lock"
    lock.parent.mkdir(exist_ok=True)
    done = subprocess.run(
        ["flock", str(lock), "make", "-s", "-C", str(root / "firmware-sim"), target],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"make {target}: {done.stderr}"
    folder = root / "build" / "firmware" / ("sanitized" if target == "sanitized" else "")
    return folder / "wherry-firmware-sim"


@pytest.fixture(scope="session")
def firmware(root: Path) -> Path:
    return build(root, "all")


@pytest.fixture(scope="session")
def sanitized(root: Path) -> Path:
    return build(root, "sanitized")


@pytest.fixture
def start(sanitized: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts the sanitized firmware on this test's flash; the first start provisions two keys of
    which `threshold` must sign. Whatever still runs at the end is stopped."""
    running: list[Device] = []

    def begin(*options: str, threshold: int = 1, timeout_us: int = 2_000_000) -> Device:
        trust = provisioning(tmp_path, [key.public for key in KEYS[:2]], threshold)
        device = Device(sanitized, tmp_path / "flash", *trust, *options, timeout_us=timeout_us)
        running.append(device)
        return device

    yield begin
    for device in running:
        device.stop()
