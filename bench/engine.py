"""Speed: three MLPerf Tiny models against LiteRT (XNNPACK) and ONNX Runtime, the convolutions
against the processor's exact AVX2 peak, a sweep of layer shapes, and the time that loading takes.

usage: bench/engine.py [--models FOLDER] [--oracle PYTHON] [--rounds N] [--part NAME ...] [--table]
Parts: models, peak, shapes, load (all of them by default). One thread on one core, batch 1, rule D;
all contenders take turns in one run, a call is what a user's program makes, medians over all calls.
FOLDER has NAME.tflite and NAME.vectors.npz; the default is $WHERRY_MLPERF_TINY or
../shared/mlperf-tiny. ONNX Runtime gets the same model as QDQ (bench/_qdq.py), once with unsigned
and once with signed activations. Where PYTHON (the interpreter of .venv-oracles) is not there, the
peers are left out, and the limits on them do not hold. The table
that docs/engine.md and README.md quote goes to stderr; --table prints it instead of the JSON. Where
a model is missing the status is 1.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _layers import Layer, only_convolutions, program_of, sweep
from _qdq import write_qdq
from _report import Figure, machine, report
from wherry_native.compiler import compile_model
from wherry_native.engine import Program, kernel_names
from wherry_native.program import Op, read_program

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = Path(os.environ.get("WHERRY_MLPERF_TINY", ROOT.parent / "shared" / "mlperf-tiny"))
LIMITS = {"anomaly_detection": 1.5, "keyword_spotting": 1.9, "image_classification": 1.3}
PEERS = {"litert": "LiteRT", "ort-u8": "ONNX Runtime u8", "ort-s8": "ONNX Runtime s8"}
SAMPLES = 16
TURN_US = 20_000  # what one contender's turn in a round takes, roughly
TURNS = 3  # of each shape
SLOW_MACS = 100_000
SLOW_PERCENT = 5.0
LOAD_MS_MAX = 5.0
PARTS = ("models", "peak", "shapes", "load")


class Peers:
    """The process that runs the others, on the same core."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._process = subprocess.Popen(
            [python, ROOT / "bench" / "_peers.py", folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def ask(self, name: str, peer: str, calls: int) -> Any:
        assert self._process.stdin is not None
        asked = json.dumps({"name": name, "peer": peer, "calls": calls})
        self._process.stdin.write(asked + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.communicate()


def pin() -> None:
    """One core, the last of those that we may use; processes that we start inherit it."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def times_us(call: Callable[[bytes], object], samples: list[bytes], calls: int) -> list[float]:
    taken = []
    for i in range(calls):
        sample = samples[i % len(samples)]
        start = time.perf_counter_ns()
        call(sample)
        taken.append((time.perf_counter_ns() - start) / 1000)
    return taken


def median_us(call: Callable[[bytes], object], sample: bytes, for_us: float = TURN_US) -> float:
    """After a first call, as many as fit in that time; at least 5."""
    first = times_us(call, [sample], 2)[1]
    return statistics.median(times_us(call, [sample], max(5, int(for_us / first))))


def peak(rounds: int) -> float:
    """GMAC/s of vpmaddwd and vpaddd; 0.0 where this processor has no AVX2."""
    if "avx2" not in kernel_names():
        return 0.0
    compiler = os.environ.get("CC") or shutil.which("cc") or "gcc"
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "peak")
        source = ROOT / "bench" / "_peak.c"
        subprocess.run([compiler, "-std=gnu11", "-O2", source, "-o", program], check=True)
        done = subprocess.run([program, str(rounds)], check=True, capture_output=True, text=True)
    return float(done.stdout)


# --- models -------------------------------------------------------------------------------------


def prepare_peers(models: list[Path], folder: Path) -> None:
    for model in models:
        shutil.copy(model, folder / model.name)
        for kind in ("u8", "s8"):
            write_qdq(model, folder / f"{model.stem}.{kind}.onnx", is_unsigned=kind == "u8")
        with np.load(model.with_suffix(".vectors.npz")) as vectors:
            np.save(folder / f"{model.stem}.npy", vectors["inputs"][:SAMPLES])


def model_figures(model: Path, peers: Peers | None, rounds: int) -> list[Figure]:
    program = Program(compile_model(model).image)
    with np.load(model.with_suffix(".vectors.npz")) as vectors:
        samples = [sample.tobytes() for sample in vectors["inputs"][:SAMPLES]]
        golden = vectors["outputs"][:SAMPLES]
    taken: dict[str, list[float]] = {"wherry": [], **{peer: [] for peer in PEERS if peers}}
    last: dict[str, list[int]] = {}
    calls = dict.fromkeys(taken, 3)
    for _ in range(rounds + 1):  # the first one warms, and tells how many calls a turn has
        for who, times in taken.items():
            if who == "wherry":
                done = times_us(program.run, samples, calls[who])
            else:
                assert peers is not None
                answer = peers.ask(model.stem, who, calls[who])
                done, last[who] = answer["us"], answer["output"]
            is_warm = calls[who] != 3
            times.extend(done if is_warm else ())
            if not is_warm:
                at_most = int(TURN_US / min(done)) // SAMPLES * SAMPLES
                calls[who] = max(at_most, SAMPLES)
    return _compared(model.stem, taken, last, golden)


def _compared(
    name: str, taken: dict[str, list[float]], last: dict[str, list[int]], golden: Any
) -> list[Figure]:
    medians = {who: statistics.median(times) for who, times in taken.items()}
    figures = [Figure(f"{name}: median call", round(medians.pop("wherry"), 2), "us")]
    for peer, median in medians.items():
        differing = int(np.count_nonzero(golden[-1].ravel() != np.asarray(last[peer])))
        figures.append(Figure(f"{name}: peer {PEERS[peer]}, median call", round(median, 2), "us"))
        figures.append(
            Figure(f"{name}: peer {PEERS[peer]}, codes off the golden {golden[-1].size}",
                   differing, "codes")
        )  # fmt: skip
    ratio = min(medians.values()) / statistics.median(taken["wherry"]) if medians else 0.0
    text = f"{name}: times faster than the better peer"
    least_ratio = math.floor(100 * ratio) / 100  # never up to the limit
    figures.append(Figure(text, least_ratio, "", LIMITS.get(name), is_minimum=True))
    least = {who: min(times) for who, times in taken.items()}
    ours = least.pop("wherry")
    figures.append(Figure(f"{name}: least call", round(ours, 2), "us"))
    quiet = min(least.values()) / ours if least else 0.0
    return [*figures, Figure(f"{text}, by least calls", round(quiet, 2), "")]


# --- peak and shapes ----------------------------------------------------------------------------


def convolution_figures(model: Path, rounds: int) -> list[Figure]:
    """The share of the exact AVX2 peak that the convolutions reach, with AVX2 forced."""
    if "avx2" not in kernel_names():
        return []
    description = read_program(compile_model(model).image)
    program = Program(only_convolutions(description), kernels="avx2")
    macs = sum(
        int(np.prod(description.tensors[n.output].shape))
        * int(np.prod(description.tensors[n.operands[1]].shape[1:]))
        for n in description.nodes
        if n.op.name == "CONV_2D"
    )
    peaks, times = [], []
    for _ in range(rounds):
        peaks.append(peak(20))
        times.append(median_us(program.run, b"\0"))
    rate = macs / statistics.median(times) / 1000
    share = 100 * rate / statistics.median(peaks)
    name = f"{model.stem}, its convolutions by AVX2"
    return [
        Figure("exact AVX2 peak, vpmaddwd + add", round(statistics.median(peaks), 1), "GMAC/s"),
        Figure(f"{name}", round(rate, 1), "GMAC/s"),
        Figure(f"{name}: share of the peak", round(share, 1), "%", 50.0, is_minimum=True),
    ]


def shape_figures(explained: str) -> tuple[list[Figure], list[dict[str, Any]]]:
    """How many large shapes are slow without a line in the document, and the whole sweep.

    A neighbour may slow a whole turn, so that the best of a few counts.
    """
    top = peak(50)
    if not top:
        print("no AVX2: without the peak no shape can be judged", file=sys.stderr)
        return [], []
    rows = []
    for layer in dict.fromkeys(sweep()):
        run = Program(program_of(layer)).run
        us = min(median_us(run, b"\0", TURN_US / 4) for _ in range(TURNS))
        rate = layer.macs / us / 1000
        percent = 100 * rate / top
        rows.append({"shape": str(layer), "macs": layer.macs, "us": round(us, 2),
                     "gmacs": round(rate, 2), "percent_of_peak": round(percent, 1)})  # fmt: skip
    slow = [r for r in rows if r["macs"] > SLOW_MACS and r["percent_of_peak"] < SLOW_PERCENT]
    unexplained = [r["shape"] for r in slow if f"`{r['shape']}`" not in explained]
    text = f"shapes of more than {SLOW_MACS} MACs below {SLOW_PERCENT:g} % of the peak"
    return [
        Figure(f"{text}, of {len(rows)}", len(slow), "shapes"),
        Figure(f"{text}, without a line in docs/engine.md", len(unexplained), "shapes", 0),
    ], rows


# --- loading ------------------------------------------------------------------------------------


def load_figures(rounds: int) -> list[Figure]:
    image = program_of(Layer(Op.FULLY_CONNECTED, 1, 500, 600))
    times = []
    for _ in range(10 * rounds):
        start = time.perf_counter()
        Program(image)
        times.append((time.perf_counter() - start) * 1000)
    size = f"{len(image) / 1000:.0f} kB"
    text = f"a program of {size} verified, prepared and ready"
    return [Figure(text, round(statistics.median(times), 3), "ms", LOAD_MS_MAX)]


def measure(options: argparse.Namespace, models: list[Path]) -> tuple[list[Figure], Any]:
    figures: list[Figure] = []
    rows: list[dict[str, Any]] = []
    if "models" in options.part:
        with tempfile.TemporaryDirectory() as folder:
            prepare_peers(models, Path(folder))
            peers = Peers(options.oracle, Path(folder)) if options.oracle.exists() else None
            for model in models:
                figures += model_figures(model, peers, options.rounds)
            if peers is not None:
                peers.close()
    if "peak" in options.part:
        for model in models:
            if model.stem == "image_classification":
                figures += convolution_figures(model, options.rounds)
    if "shapes" in options.part:
        found, rows = shape_figures((ROOT / "docs" / "engine.md").read_text())
        figures += found
    if "load" in options.part:
        figures += load_figures(options.rounds)
    return figures, rows


def table(figures: list[Figure], names: list[str]) -> str:
    """The models' rows in Markdown, with the machine named."""
    values = {figure.name: figure.value for figure in figures}
    lines = [
        f"| median call, µs ({machine()}) "
        "| Wherry | LiteRT | ONNX Runtime u8 | s8 | times faster | by least calls |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in names:
        ours = values[f"{name}: median call"]
        peers = [values.get(f"{name}: peer {peer}, median call", 0.0) for peer in PEERS.values()]
        text = f"{name}: times faster than the better peer"
        ratio, quiet = values[text], values[f"{text}, by least calls"]
        cells = " | ".join(f"{one:.1f}" for one in (ours, *peers))
        lines.append(f"| {name} | {cells} | {ratio} (limit {LIMITS[name]}) | {quiet} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=DEFAULT)
    parser.add_argument("--oracle", type=Path, default=ROOT / ".venv-oracles" / "bin" / "python")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--part", choices=PARTS, nargs="+", default=PARTS)
    options = parser.parse_args()
    pin()
    models = [options.models / f"{name}.tflite" for name in LIMITS]
    missing = [model for model in models if not model.with_suffix(".vectors.npz").exists()]
    if missing:
        print(f"no {missing[0]} with vectors: name the folder with --models", file=sys.stderr)
        models = [model for model in models if model not in missing]
    is_incomplete = bool(missing) and not {"models", "peak"}.isdisjoint(options.part)
    figures, rows = measure(options, models)
    if "models" in options.part:
        shown = table(figures, [model.stem for model in models])
        print(shown, file=sys.stdout if options.table else sys.stderr)
    if options.table:
        status = 0 if all(figure.holds is not False for figure in figures) else 1
    else:
        kernels = Program(program_of(next(sweep()))).kernels
        status = report(figures, kernels=kernels, shapes=rows)
    return 1 if is_incomplete else status


if __name__ == "__main__":
    raise SystemExit(main())
