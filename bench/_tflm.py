"""TFLite Micro's median time per inference in us; run by the interpreter of .venv-oracles.

usage: bench/_tflm.py NAME.tflite, with NAME.vectors.npz beside it
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
from tflite_micro import runtime

SAMPLES = 32

model = Path(sys.argv[1])
interpreter = runtime.Interpreter.from_bytes(model.read_bytes(), arena_size=1 << 20)
shape = tuple(interpreter.get_input_details(0)["shape"])
with np.load(model.with_suffix(".vectors.npz")) as vectors:
    inputs = [np.ascontiguousarray(sample).reshape(shape) for sample in vectors["inputs"][:SAMPLES]]
times_us = []
for sample in inputs:
    start = time.perf_counter()
    interpreter.set_input(sample, 0)
    interpreter.invoke()
    interpreter.get_output(0)
    times_us.append((time.perf_counter() - start) * 1e6)
print(round(statistics.median(times_us), 2))
