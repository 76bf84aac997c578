"""Golden vectors: a loaded program shows that it computes what was signed, and how fast."""

import time
from typing import Final

from wherry_native.engine import Program
from wherry_protocol.manifest import Manifest, Role

from wherry_agent.shell.blob_store import BlobStore

RUNS_MIN: Final = 32
S_MAX: Final = 5.0
NS_PER_US: Final = 1000


def run(store: BlobStore, manifest: Manifest, program: Program) -> tuple[int, int, int]:
    """(passed, count, p95 latency in µs) of the golden vectors, each run at least once."""
    inputs = store.pieces_of(manifest, Role.GOLDEN_INPUTS)
    outputs = store.pieces_of(manifest, Role.GOLDEN_OUTPUTS)
    count = manifest.golden_count
    samples = [_cut(inputs, i, count) for i in range(count)]
    wanted = [_cut(outputs, i, count) for i in range(count)]
    program.reset()
    passed = sum(program.run(s) == w for s, w in zip(samples, wanted, strict=True))
    return passed, count, _p95_us(program, samples)


def _cut(data: bytes, index: int, count: int) -> bytes:
    size = len(data) // count
    return data[index * size : (index + 1) * size]


def _p95_us(program: Program, samples: list[bytes]) -> int:
    """p95 of at least RUNS_MIN runs, unless time runs out; the engine alone."""
    took_ns = []
    output = bytearray(program.output_bytes)
    began = time.monotonic()
    runs = max(RUNS_MIN, len(samples))
    for index in range(runs):
        start_ns = time.perf_counter_ns()
        program.run_into(samples[index % len(samples)], output)
        took_ns.append(time.perf_counter_ns() - start_ns)
        if time.monotonic() - began > S_MAX:
            break
    rank = -(-len(took_ns) * 95 // 100)
    return sorted(took_ns)[rank - 1] // NS_PER_US
