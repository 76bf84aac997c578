"""Rule D: the engine's rescaling is gemmlowp's double rounding, for every accumulator."""

import subprocess
from pathlib import Path

from tests.engine.build import compile_c


def test_rescaling_is_gemmlowps_for_millions_of_values(root: Path, tmp_path: Path) -> None:
    program = compile_c(
        root,
        tmp_path / "rounding",
        root / "tests/engine/rounding.c",
        "-fsanitize=undefined",
        "-fno-sanitize-recover=all",
    )
    done = subprocess.run(
        [program, "6400000", "1"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 6_400_000
