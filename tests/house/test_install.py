"""The bare distribution, installed as a user installs it: into an empty environment.

What a device gets must start without the operator's and the compiler's libraries, and stay small.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1_000_000
INSTALLED_SIZE_BYTES_MAX = 24 * MEGABYTE  # Wherry, its dependencies, their compiled modules
WHERRY_SIZE_BYTES_MAX = 4 * MEGABYTE
NOT_ON_A_DEVICE = ["numpy", "typer", "rich", "pydantic", "fastapi", "sqlite_utils", "onnx"]

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Installed:
    """An environment that holds the bare distribution and nothing else."""

    folder: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.folder / "bin" / program), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, cwd=self.folder, check=False
        )

    def site_packages(self) -> Path:
        printed = self.run("python", "-c", "import sysconfig; print(sysconfig.get_path('platlib'))")
        return Path(printed.stdout.strip())


def copy_of_the_sources(target: Path) -> None:
    """The tracked files as they stand, so that no earlier build in the tree can help."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no list of files to install from")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def pins() -> str:
    """The versions of requirements/dev.txt as constraints, without their hashes."""
    text = (ROOT / "requirements" / "dev.txt").read_text()
    return "\n".join(re.findall(r"^[\w.-]+==\S+", text, re.MULTILINE)) + "\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("bare")
    sources, environment = folder / "sources", folder / "environment"
    copy_of_the_sources(sources)
    (folder / "pins.txt").write_text(pins())
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin" / "pip"), "install", "-qq", "-c", str(folder / "pins.txt")]
    reachable = subprocess.run([*pip, "paho-mqtt"], capture_output=True, text=True, check=False)
    if reachable.returncode != 0:
        pytest.skip("no package registry can be reached: nothing can be installed")
    built = subprocess.run([*pip, str(sources)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return Installed(environment)


def size_bytes(folder: Path) -> int:
    """Of all files but compiled Python, which pip makes and a device need not keep."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.suffix != ".pyc")


def test_the_agent_starts_where_only_the_bare_distribution_is_installed(
    installed: Installed,
) -> None:
    shown = installed.run("wherry-agent", "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "run" in shown.stdout


@pytest.mark.parametrize("name", NOT_ON_A_DEVICE)
def test_the_bare_distribution_does_not_bring(name: str, installed: Installed) -> None:
    tried = installed.run("python", "-c", f"import {name}")
    assert tried.returncode == 1
    assert "ModuleNotFoundError" in tried.stderr


def test_the_engine_is_compiled_and_answers(installed: Installed) -> None:
    asked = installed.run("python", "-c", "import wherry_native._engine as e; print(e.lib)")
    assert asked.returncode == 0, asked.stderr


def test_the_operators_command_names_the_extra_that_is_missing(installed: Installed) -> None:
    tried = installed.run("wherry", "registry", "list")
    assert tried.returncode not in (0, 1)
    assert "wherry[controller]" in tried.stderr
    assert "Traceback" not in tried.stderr


def test_what_a_device_installs_stays_small(installed: Installed) -> None:
    site_packages = installed.site_packages()
    installers = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "wheel")
    sizes = {
        entry.name: size_bytes(entry) if entry.is_dir() else entry.stat().st_size
        for entry in site_packages.iterdir()
        if not entry.name.startswith(installers)
    }
    ours = sum(size for name, size in sizes.items() if name.startswith("wherry"))
    assert 0 < ours <= WHERRY_SIZE_BYTES_MAX, sizes
    assert sum(sizes.values()) <= INSTALLED_SIZE_BYTES_MAX, sizes
