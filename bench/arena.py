"""Memory of a model, before anything is deployed: the arena beside what TFLite Micro's planner asks
for, flash, and prepacked weights; and the modelled latency beside the measured one.

usage: bench/arena.py [--models FOLDER] [--oracle PYTHON]
FOLDER has NAME.tflite and is by default $WHERRY_MLPERF_TINY or ../shared/mlperf-tiny; PYTHON is the
interpreter of .venv-oracles.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from _report import Figure, report
from wherry_controller.core.profiles import DEFAULT_CLASSES
from wherry_controller.modelkit.estimates import estimates
from wherry_native.compiler import compile_model
from wherry_native.engine import Program
from wherry_native.program import read_program

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = Path(os.environ.get("WHERRY_MLPERF_TINY", ROOT.parent / "shared" / "mlperf-tiny"))
RUNS = 500


def planned(oracle: Path, models: list[Path]) -> list[int]:
    """What TFLite Micro plans for each model: activations and scratch, without its structures."""
    done = subprocess.run(
        [oracle, Path(__file__).parent / "_tflm_arena.py", *models],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [int(line.split()[0]) for line in done.stdout.splitlines()]


def measured_us(program: Program) -> float:
    inputs, outputs, times = bytes(program.input_bytes), bytearray(program.output_bytes), []
    for _ in range(RUNS):
        begun = time.perf_counter_ns()
        program.run_into(inputs, outputs)
        times.append((time.perf_counter_ns() - begun) / 1000)
    return statistics.median(times)


def figures(model: Path, tflm_bytes: int) -> list[Figure]:
    image = compile_model(model).image
    program, name = Program(image), model.stem
    [estimate] = estimates(read_program(image), DEFAULT_CLASSES[:1])
    return [
        Figure(f"{name} arena", program.arena_bytes, "bytes", limit=tflm_bytes),
        Figure(f"{name} arena of TFLite Micro", tflm_bytes, "bytes"),
        Figure(f"{name} flash", program.image_bytes, "bytes"),
        Figure(f"{name} prepacked, {program.kernels}", program.prepared_bytes, "bytes"),
        Figure(f"{name} modelled, x86_64", round(estimate.latency_us or 0.0, 1), "us"),
        Figure(f"{name} measured, {program.kernels}", round(measured_us(program), 1), "us"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=DEFAULT)
    parser.add_argument("--oracle", type=Path, default=ROOT / ".venv-oracles/bin/python")
    options = parser.parse_args()
    models = sorted(options.models.glob("*.tflite"))
    if not models or not options.oracle.exists():
        print("no figures: needs the reference models and .venv-oracles", file=sys.stderr)
        return 1
    found = [
        figure
        for model, tflm in zip(models, planned(options.oracle, models), strict=True)
        for figure in figures(model, tflm)
    ]
    return report(found)


if __name__ == "__main__":
    raise SystemExit(main())
