"""The arena is never larger than what TFLite Micro's planner asks for, on three real models."""

import subprocess
from pathlib import Path

from wherry_native.compiler import compile_model

MODELS = ("anomaly_detection", "image_classification", "keyword_spotting")


def test_the_arena_is_no_larger_than_tflite_micros_planned_part(
    mlperf_tiny: Path, oracle_python: Path, root: Path
) -> None:
    files = [mlperf_tiny / f"{name}.tflite" for name in MODELS]
    done = subprocess.run(
        [oracle_python, root / "bench" / "_tflm_arena.py", *files],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    planned = [int(line.split()[0]) for line in done.stdout.splitlines()]
    assert len(planned) == len(MODELS)
    for file, tflm_bytes in zip(files, planned, strict=True):
        assert 0 < compile_model(file).report.arena_bytes <= tflm_bytes, file.stem
