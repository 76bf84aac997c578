"""Python's cost of one inference through the binding: a program that does next to nothing, called
from Python, less the same call from C.

usage: bench/call.py [--bytes N] [--calls N] [--rounds N]
Needs a C compiler. Peer in the same run: the same C function through ctypes.
"""

import argparse
import ctypes
import os
import shutil
import subprocess
import tempfile
import timeit
from pathlib import Path

from _report import Figure, report
from wherry_native import _engine
from wherry_native.engine import Program
from wherry_native.program import DType, Node, Op, ProgramDescription, Tensor, write_program

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "native" / "csrc"


def nothing(size: int) -> bytes:
    """One RESHAPE in place, of `size` bytes."""
    x = Tensor("x", DType.INT8, (1, size), scale=1.0)
    y = Tensor("y", DType.INT8, (size,), scale=1.0)
    arena = -(-size // 16) * 16
    reshape = Node(Op.RESHAPE, "reshape", (0,), 1)
    return write_program(ProgramDescription("nothing", (x, y), (reshape,), (0,), (1,), (), arena))


def c_us(image: bytes, calls: int, rounds: int) -> float:
    """The same call in C, with the flags that the binding is built with."""
    compiler = os.environ.get("CC") or shutil.which("cc") or "gcc"
    with tempfile.TemporaryDirectory() as folder:
        program, path = Path(folder, "call"), Path(folder, "image")
        path.write_bytes(image)
        sources = sorted(str(source) for source in CSRC.rglob("*.c"))
        subprocess.run(
            [compiler, "-std=c11", "-O3", "-ffp-contract=off", f"-I{CSRC / 'include'}",
             str(ROOT / "bench" / "call.c"), *sources, "-o", str(program), "-pthread"],
            check=True,
        )  # fmt: skip
        done = subprocess.run(
            [program, path, str(calls), str(rounds)], check=True, capture_output=True, text=True
        )
    return float(done.stdout) / 1000


def least_us(function: object, calls: int, rounds: int) -> float:
    """The least mean of a round: what is not disturbed by others on the machine."""
    timer = timeit.Timer("f()", globals={"f": function})
    return min(timer.repeat(repeat=rounds, number=calls)) / calls * 1e6


def ctypes_caller(program: Program, sample: bytes, output: bytearray) -> object:
    """The same C function through ctypes, buffers and pointers prepared."""
    infer = ctypes.CDLL(_engine.__file__).wh_runner_infer
    infer.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p,
                      ctypes.c_size_t)  # fmt: skip
    runner = int(_engine.ffi.cast("uintptr_t", program._runner))
    room = (ctypes.c_char * len(output)).from_buffer(output)
    return lambda: infer(runner, sample, len(sample), ctypes.addressof(room), len(output))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--bytes", type=int, default=64, help="of the program's input and output")
    parser.add_argument("--calls", type=int, default=100_000, help="per round")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    image = nothing(options.bytes)
    program = Program(image)
    sample, output = bytes(options.bytes), bytearray(options.bytes)
    plain_us = c_us(image, options.calls, options.rounds)
    into_us = least_us(lambda: program.run_into(sample, output), options.calls, options.rounds)
    run_us = least_us(lambda: program.run(sample), options.calls, options.rounds)
    figures = [
        Figure("Python call overhead of run_into", round(into_us - plain_us, 3), "us", limit=0.7),
        Figure("Python call overhead of run", round(run_us - plain_us, 3), "us"),
        Figure("the same call from C", round(plain_us, 3), "us"),
    ]
    if hasattr(ctypes.CDLL(_engine.__file__), "wh_runner_infer"):
        peer_us = least_us(ctypes_caller(program, sample, output), options.calls, options.rounds)
        figures.append(Figure("peer: ctypes call overhead", round(peer_us - plain_us, 3), "us"))
    return report(figures)


if __name__ == "__main__":
    raise SystemExit(main())
