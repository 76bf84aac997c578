"""Fuzzing: findings of libFuzzer under AddressSanitizer and UndefinedBehaviorSanitizer, on the
engine's loader and on running whatever it lets through.

usage: bench/fuzz.py [--executions N] [--seed S]
One process, at the lowest priority. The corpus begins with valid programs of every operator; the
run ends at the first finding, whose report goes to stderr. Needs clang. The engine promises none in
10,000,000 executions; docs/engine.md has the runs that were made. The input is kept in build/fuzz.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from _report import Figure, report

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.engine import fuzzing  # noqa: E402

KEPT = ROOT / "build" / "fuzz"
TIMEOUT_S = 4 * 3600


def measure(executions: int, seed: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = folder / "corpus"
        corpus.mkdir()
        count = fuzzing.write_corpus(corpus)
        fuzzer = fuzzing.build(ROOT, with_tables=True)
        began = time.monotonic()
        outcome = fuzzing.run(fuzzer, corpus, executions, seed, TIMEOUT_S)
        took_s = time.monotonic() - began
        found = len(list(corpus.iterdir()))
        for culprit in fuzzing.culprits(corpus):
            KEPT.mkdir(parents=True, exist_ok=True)
            print(f"its input: {shutil.copy(culprit, KEPT)}", file=sys.stderr)
    if outcome.finding:
        print(outcome.finding, file=sys.stderr)
    return [
        Figure("findings", int(bool(outcome.finding)), "findings", limit=0),
        Figure("executions", outcome.executions, "programs", limit=executions, is_minimum=True),
        Figure("of them refused by the loader", outcome.refused, "programs"),
        Figure("of them loaded and run", outcome.ran, "programs"),
        Figure("of them loaded and too long to run", outcome.too_long, "programs"),
        Figure("corpus at the beginning", count, "programs"),
        Figure("corpus at the end", found, "programs"),
        Figure("time", round(took_s, 1), "s"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.nice(19)
    if not fuzzing.is_possible():
        print(f"no clang: `apt install {fuzzing.PACKAGES}` as root", file=sys.stderr)
        return report([])
    return report(measure(options.executions, options.seed), seed=options.seed)


if __name__ == "__main__":
    raise SystemExit(main())
