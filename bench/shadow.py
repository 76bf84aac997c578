"""What a shadow costs whoever asks: how long an answer takes with one running behind, and without.

usage: bench/shadow.py [--first MODEL] [--second MODEL] [--calibration NPZ] [--rounds N]
                       [--inputs N] [--pause-us N]
One asker, one input after the other, with a pause in between. Rounds with a shadow (on all inputs)
and without take turns, so that what else the machine does hits both. A burst without pauses then
shows what is skipped. Models are .tflite or .onnx.
"""

import argparse
import statistics
import time
from pathlib import Path

from _report import Figure, report
from wherry_native.compiler import compile_model
from wherry_native.engine import Program
from wherry_native.loop import Instance, Loop

DIGITS = Path(__file__).resolve().parent.parent / "examples" / "digits"
WAIT_S = 10.0


def asked_us(loop: Loop, sample: bytes, count: int, pause_us: int) -> list[float]:
    """How long each answer took, for the asker."""
    took = []
    for _ in range(count):
        begin_ns = time.perf_counter_ns()
        loop.infer(sample, WAIT_S)
        took.append((time.perf_counter_ns() - begin_ns) / 1000)
        time.sleep(pause_us / 1e6)
    return took


def p(values: list[float], percent: int) -> float:
    return round(statistics.quantiles(values, n=100, method="inclusive")[percent - 1], 2)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--first", type=Path, default=DIGITS / "digits-1.0.0.onnx")
    parser.add_argument("--second", type=Path, default=DIGITS / "digits-1.1.0.onnx")
    parser.add_argument("--calibration", type=Path, default=DIGITS / "calibration.npz")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--inputs", type=int, default=100, help="of a round")
    parser.add_argument("--pause-us", type=int, default=1000)
    options = parser.parse_args()
    first, second = (
        Program(
            compile_model(
                path, calibration=None if path.suffix == ".tflite" else options.calibration
            ).image
        )
        for path in (options.first, options.second)
    )
    loop = Loop()
    loop.start()
    loop.swap(Instance(first, tag=1))
    sample, shadow = bytes(first.input_bytes), Instance(second, tag=2)
    alone: list[float] = []
    behind: list[float] = []
    compared = 0
    for _ in range(options.rounds):
        alone += asked_us(loop, sample, options.inputs, options.pause_us)
        loop.set_shadow(shadow)
        behind += asked_us(loop, sample, options.inputs, options.pause_us)
        compared += loop.shadow_stats().compared
        loop.set_shadow(None)
    loop.set_shadow(shadow)
    asked_us(loop, sample, options.inputs, 0)
    burst = loop.shadow_stats()
    stats = loop.stats()
    loop.stop()
    return report([
        Figure("answers lost", stats.accepted - stats.answered, "count", limit=0),
        Figure("inputs compared, of those with a pause", compared / len(behind), "ratio",
               limit=0.9, is_minimum=True),
        Figure("answer alone, p50", p(alone, 50), "us"),
        Figure("answer with a shadow behind, p50", p(behind, 50), "us"),
        Figure("answer alone, p95", p(alone, 95), "us"),
        Figure("answer with a shadow behind, p95", p(behind, 95), "us"),
        Figure("one inference of the shadow, p50",
               (shadow.stats().latency.quantile_ns(0.5) or 0) / 1000, "us"),
        Figure("inputs compared, of a burst without pauses",
               burst.compared / options.inputs, "ratio"),
    ])  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
