"""Exactness: bytes in which the engine's outputs differ from TFLite Micro's golden outputs, on
three real models.

usage: bench/exact.py [--models FOLDER] [--oracle PYTHON]
FOLDER has NAME.tflite and NAME.vectors.npz (int8 `inputs`, `outputs`); the default is
$WHERRY_MLPERF_TINY or ../shared/mlperf-tiny. Peer in the same run, where PYTHON (the interpreter of
.venv-oracles) is there: TFLite Micro's reference kernels.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from _report import Figure, report
from wherry_native.compiler import compile_model
from wherry_native.engine import Program

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = Path(os.environ.get("WHERRY_MLPERF_TINY", ROOT.parent / "shared" / "mlperf-tiny"))


def measure(model: Path) -> list[Figure]:
    """Differing bytes over all vectors, and the median time of one inference."""
    program = Program(compile_model(model).image)
    with np.load(model.with_suffix(".vectors.npz")) as vectors:
        inputs, outputs = vectors["inputs"], vectors["outputs"]
    differing = 0
    times_us = []
    for sample, output in zip(inputs, outputs, strict=True):
        given_bytes = sample.tobytes()
        start = time.perf_counter()
        result = program.run(given_bytes)
        times_us.append((time.perf_counter() - start) * 1e6)
        differing += int(np.count_nonzero(np.frombuffer(result, np.int8) != output.ravel()))
    name = model.stem
    return [
        Figure(f"{name}: differing bytes of {outputs.size}", differing, "bytes", limit=0),
        Figure(f"{name}: median inference", round(statistics.median(times_us), 2), "us"),
    ]


def measure_peer(python: Path, model: Path) -> list[Figure]:
    """TFLite Micro's median time on the same inputs; nothing where it is not installed."""
    if not python.exists():
        return []
    done = subprocess.run(
        [python, ROOT / "bench" / "_tflm.py", model], check=True, capture_output=True, text=True
    )
    return [Figure(f"{model.stem}: peer tflite-micro, median inference", float(done.stdout), "us")]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=DEFAULT)
    parser.add_argument("--oracle", type=Path, default=ROOT / ".venv-oracles" / "bin" / "python")
    options = parser.parse_args()
    folder: Path = options.models
    models = sorted(p for p in folder.glob("*.tflite") if p.with_suffix(".vectors.npz").exists())
    if not models:
        print(f"no models with vectors in {folder}: name the folder with --models", file=sys.stderr)
    return report(
        [f for model in models for f in (*measure(model), *measure_peer(options.oracle, model))]
    )


if __name__ == "__main__":
    raise SystemExit(main())
