"""What the engine takes of a microcontroller stays within what bench/footprint.py promises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.targets.machines import CORTEX_M7, Machine, missing_package


@pytest.mark.targets
def test_core_and_portable_kernels_fit_their_flash_and_have_no_ram_of_their_own(root: Path) -> None:
    package = missing_package(Machine("Cortex-M7", CORTEX_M7))
    if package is not None:
        pytest.skip(f"Cortex-M: `apt install {package}` as root (make setup-targets)")
    done = subprocess.run(
        [sys.executable, root / "bench" / "footprint.py"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["figures"]
    held = [figure for figure in figures if figure["limit"] is not None]
    assert {figure["unit"] for figure in held} == {"bytes"}
    assert len(held) >= 6
    assert all(figure["holds"] for figure in held)
