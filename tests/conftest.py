"""What every test may ask for: the repository, the oracles, the reference models, a broker.

Each fixture skips with one sentence where the machine lacks the thing, and names the way to it.
"""

import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
MEMORY_DISK = Path("/dev/shm")
ROOM_BYTES = 1 << 30

# Four workers on two cores make single examples slow at times: the whole test has a limit instead.
settings.register_profile("wherry", deadline=None, print_blob=True)
settings.load_profile("wherry")


def pytest_configure(config: pytest.Config) -> None:
    # Temporary folders lie in memory where there is room, unless TMPDIR says where: a store waits
    # for the disk at each commit, and no test cuts the machine's own power.
    if config.option.basetemp is None and "TMPDIR" not in os.environ and _has_memory_disk():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY_DISK))
    # A shell starts what runs in the background deaf to Ctrl-C, and so is what tests start then.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _has_memory_disk() -> bool:
    if not os.access(MEMORY_DISK, os.W_OK):
        return False
    disk = os.statvfs(MEMORY_DISK)
    has_room = disk.f_bavail * disk.f_frsize >= ROOM_BYTES
    return has_room and not disk.f_flag & os.ST_NOEXEC  # tests run what they compile there


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A worker takes a file at a time: those with slow tests come first, so that none is left alone
    with one at the end; then what runs real processes, which waits while others compute."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("slow"):
        return 0
    is_system = item.get_closest_marker("system") or ROOT / "tests" / "system" in item.path.parents
    return 1 if is_system else 2


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def digits() -> Path:
    """The folder of the example models (float ONNX), their data and their calibration samples."""
    return ROOT / "examples" / "digits"


@pytest.fixture(scope="session")
def oracle_python() -> Path:
    """The interpreter that holds the independent implementations; call it as a subprocess.

    Its folder also holds the programs `imgtool` and `smpmgr`.
    """
    python = ROOT / ".venv-oracles" / "bin" / "python"
    if not python.exists():
        pytest.skip("no .venv-oracles: `make setup-oracles` installs the independent peers")
    return python


@pytest.fixture(scope="session")
def mlperf_tiny() -> Path:
    """The folder of the three reference models: $WHERRY_MLPERF_TINY or ../shared/mlperf-tiny."""
    folder = Path(os.environ.get("WHERRY_MLPERF_TINY", ROOT.parent / "shared" / "mlperf-tiny"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}: set WHERRY_MLPERF_TINY to the models' folder")
    return folder


def find_mosquitto() -> str | None:
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin"
    return shutil.which("mosquitto", path=path)


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """The path of the mosquitto broker's program."""
    program = find_mosquitto()
    if program is None:
        pytest.skip("no mosquitto on PATH: `apt install mosquitto` as root")
    return program
