"""What a hot swap costs the stream: inputs dropped, and the added gap between two outputs.

usage: bench/swap.py [--first MODEL] [--second MODEL] [--calibration NPZ] [--swaps N]
                     [--period-us N] [--answers-between N]
A replay feeds one input per period throughout. First the feed runs without swaps, then with them:
each swap loads the other program anew and frees the one that served. Models are .tflite or .onnx.
"""

import argparse
import statistics
import time
from itertools import pairwise
from pathlib import Path

from _report import Figure, report
from wherry_native.compiler import compile_model
from wherry_native.engine import Program
from wherry_native.loop import Instance, Loop, Output

DIGITS = Path(__file__).resolve().parent.parent / "examples" / "digits"
NS_PER_MS = 1e6


class Feed:
    """A loop under a replay, whose outputs are collected as they come."""

    def __init__(
        self, instance: Instance, samples: bytes, sample_size: int, period_us: int
    ) -> None:
        self.outputs: list[Output] = []
        self.loop = Loop(queue_capacity=1024, output_capacity=65536)
        self.loop.start()
        self.loop.swap(instance)
        self.loop.replay(samples, sample_size, period_us)

    def collect(self, count: int) -> None:
        """Until `count` more outputs have come; fails after far more time than that takes."""
        target = len(self.outputs) + count
        deadline = time.monotonic() + 60
        while len(self.outputs) < target:
            self.outputs += self.loop.drain_outputs(65536)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.outputs)} of {target} outputs after 60 s")
            time.sleep(0.0002)

    def end(self) -> int:
        """Stops and counts the inputs that got no output of a model."""
        self.loop.stop_replay()
        self.outputs += self.loop.drain_outputs(65536)
        stats = self.loop.stats()
        self.loop.stop()
        unanswered = stats.replayed - sum(output.status == 0 for output in self.outputs)
        gaps_in_order = sum(b.sequence != a.sequence + 1 for a, b in pairwise(self.outputs))
        return unanswered + gaps_in_order


def gaps_ms(outputs: list[Output]) -> list[float]:
    return [(b.finished_ns - a.finished_ns) / NS_PER_MS for a, b in pairwise(outputs)]


def gaps_across_swaps_ms(outputs: list[Output]) -> list[float]:
    pairs = pairwise(outputs)
    return [(b.finished_ns - a.finished_ns) / NS_PER_MS for a, b in pairs if a.tag != b.tag]


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98]


def quiet(image: bytes, options: argparse.Namespace, count: int) -> list[float]:
    """Gaps of the feed without swaps."""
    program = Program(image)
    feed = Feed(Instance(program, tag=0), bytes(program.input_bytes), program.input_bytes,
                options.period_us)  # fmt: skip
    feed.collect(count)
    feed.end()
    return gaps_ms(feed.outputs)


def swapped(images: list[bytes], options: argparse.Namespace) -> tuple[list[float], int]:
    """Gaps across the swaps, and the inputs dropped."""
    program = Program(images[0])
    feed = Feed(Instance(program, tag=0), bytes(program.input_bytes), program.input_bytes,
                options.period_us)  # fmt: skip
    for number in range(1, options.swaps + 1):
        feed.collect(options.answers_between)
        feed.loop.swap(Instance(Program(images[number % 2]), tag=number))
    feed.collect(options.answers_between)
    dropped = feed.end()
    return gaps_across_swaps_ms(feed.outputs), dropped


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--first", type=Path, default=DIGITS / "digits-1.0.0.onnx")
    parser.add_argument("--second", type=Path, default=DIGITS / "digits-1.1.0.onnx")
    parser.add_argument("--calibration", type=Path, default=DIGITS / "calibration.npz")
    parser.add_argument("--swaps", type=int, default=300)
    parser.add_argument("--period-us", type=int, default=1000)
    parser.add_argument("--answers-between", type=int, default=5, help="swaps, at least")
    options = parser.parse_args()
    images = [
        compile_model(
            path, calibration=None if path.suffix == ".tflite" else options.calibration
        ).image
        for path in (options.first, options.second)
    ]
    without_ms = p99(quiet(images[0], options, options.swaps * options.answers_between))
    across, dropped = swapped(images, options)
    period_ms = options.period_us / 1000
    figures = [
        Figure("swaps", len(across), "count", limit=min(200, options.swaps), is_minimum=True),
        Figure("inputs dropped", dropped, "count", limit=0),
        Figure("added gap across a swap, p99", round(p99(across) - without_ms, 4), "ms",
               limit=max(period_ms, 1.0)),
        Figure("gap across a swap, p99", round(p99(across), 4), "ms"),
        Figure("gap without swaps, p99", round(without_ms, 4), "ms"),
        Figure("period of the feed", period_ms, "ms"),
    ]  # fmt: skip
    return report(figures)


if __name__ == "__main__":
    raise SystemExit(main())
