"""Rounding rule F: a float32 scale, ties to even. What numpy's float32 says, and on the reference
models what LiteRT's XNNPACK gives, byte by byte."""

import random
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from wherry_native.compiler import compile_model
from wherry_native.engine import Program, kernel_names
from wherry_native.program import Op, Rounding

from tests.engine.programs import Builder
from tests.engine.test_exact import MODELS

CHANNELS = 512
SAMPLES = 12
EDGES = (0, 1, -1, 2**24, 2**24 + 1, 2**24 + 3, -(2**24) - 1, 2**31 - 1, -(2**31), 2**30 + 64)


def _multiplier(rng: random.Random) -> tuple[int, int]:
    if rng.random() < 0.05:
        return 0, 0
    bits = rng.choice((2**24 - 1, 2**23, rng.randrange(2**23, 2**24), rng.randrange(1, 2**24)))
    return bits << 7, rng.choice((rng.randrange(-31, 31), rng.randrange(-14, 1)))


def _accumulators(rng: random.Random) -> list[int]:
    """Edges, odd multiples of one half, and anything."""
    some = [rng.randrange(-(2**31), 2**31) >> rng.randrange(24) for _ in range(CHANNELS)]
    some[: len(EDGES)] = EDGES
    return some


def _expected(acc: list[int], pairs: list[tuple[int, int]], zero: int) -> bytes:
    scales = np.array([np.ldexp(float(m), s - 31) for m, s in pairs], np.float32)
    real = np.array(acc, np.int32).astype(np.float32) * scales
    levels = np.rint(real).astype(np.float64) + zero
    return np.clip(levels, -128, 127).astype(np.int8).tobytes()


@pytest.mark.parametrize("kernels", kernel_names())
@pytest.mark.parametrize("seed", range(20))
def test_rule_f_is_float32_arithmetic(kernels: str, seed: int) -> None:
    rng = random.Random(seed)
    acc, pairs = _accumulators(rng), [_multiplier(rng) for _ in range(CHANNELS)]
    for at in range(100, 150):  # ties: an odd accumulator times a half
        acc[at], pairs[at] = rng.randrange(-250, 250) * 2 + 1, (2**30, 0)
    zero = rng.randrange(-128, 128)
    build = Builder(rng)
    x = build.activation("x", (1, 1))
    y = build.activation("y", (1, CHANNELS), zero)
    operands = (
        x,
        build.int8("weights", (CHANNELS, 1), "layer"),
        build.int32("bias", acc, "layer"),
        build.int32("multiplier", [m for m, _ in pairs], "layer"),
        build.int32("shift", [s for _, s in pairs], "layer"),
    )
    build.node(Op.FULLY_CONNECTED, "layer", operands, y, Rounding.F, act_min=-128, act_max=127)
    program = Program(build.image("bias alone", (x,), (y,)), kernels=kernels)
    assert program.run(struct.pack("b", 0)) == _expected(acc, pairs, zero)


@pytest.fixture(scope="module")
def litert(
    oracle_python: Path, root: Path, mlperf_tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with the models, samples of them, and LiteRT's outputs."""
    folder = tmp_path_factory.mktemp("litert")
    for name in MODELS:
        shutil.copy(mlperf_tiny / f"{name}.tflite", folder)
        with np.load(mlperf_tiny / f"{name}.vectors.npz") as vectors:
            np.save(folder / f"{name}.npy", vectors["inputs"][:SAMPLES])
    done = subprocess.run(
        [oracle_python, root / "tests/engine/litert_oracle.py", folder],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    if "No module named 'ai_edge_litert'" in done.stderr:
        pytest.skip(".venv-oracles has no LiteRT: `make setup-oracles` brings it up to date")
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize("kernels", kernel_names())
@pytest.mark.parametrize("name", MODELS)
def test_rule_f_gives_what_litert_gives(litert: Path, name: str, kernels: str) -> None:
    image = compile_model(litert / f"{name}.tflite", rounding=Rounding.F).image
    program = Program(image, kernels=kernels)
    samples, expected = np.load(litert / f"{name}.npy"), np.load(litert / f"{name}.out.npy")
    for sample, output in zip(samples, expected, strict=True):
        assert program.run(sample.tobytes()) == output.tobytes()
