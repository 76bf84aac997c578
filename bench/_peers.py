"""LiteRT and ONNX Runtime on one thread, measured on request; run by the interpreter of
.venv-oracles, driven by bench/engine.py.

usage: bench/_peers.py FOLDER, with NAME.tflite, NAME.u8.onnx, NAME.s8.onnx and NAME.npy (int8
codes, a sample per row, channels last) for each NAME
Reads lines of JSON: {"name", "peer": "litert" | "ort-u8" | "ort-s8", "calls"}; answers each with
{"us": [...], "output": [...]}: the time of every call, and the output codes (int8) of the last.
A call is what a user's program does: input in, run, output out.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter

Call = Callable[[np.ndarray], np.ndarray]


def litert(folder: Path, name: str) -> Call:
    interpreter = Interpreter(model_path=str(folder / f"{name}.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    x = interpreter.get_input_details()[0]["index"]
    y = interpreter.get_output_details()[0]["index"]

    def call(sample: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(x, sample)
        interpreter.invoke()
        return interpreter.get_tensor(y)

    return call


def ort(path: Path) -> Call:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x = session.get_inputs()[0].name

    def call(sample: np.ndarray) -> np.ndarray:
        return session.run(None, {x: sample})[0]

    return call


def shaped(samples: np.ndarray, peer: str) -> list[np.ndarray]:
    """As the peer wants them, made beforehand: channels first for ONNX, offset for u8."""
    if peer == "litert":
        return [np.ascontiguousarray(one)[None] for one in samples]
    if samples.ndim == 4:
        samples = samples.transpose(0, 3, 1, 2)
    if peer == "ort-u8":
        samples = (samples.astype(np.int16) + 128).astype(np.uint8)
    return [np.ascontiguousarray(one)[None] for one in samples]


def prepared(folder: Path) -> dict[tuple[str, str], tuple[Call, list[np.ndarray]]]:
    made = {}
    for file in sorted(folder.glob("*.npy")):
        samples = np.load(file)
        for peer in ("litert", "ort-u8", "ort-s8"):
            call = (
                litert(folder, file.stem)
                if peer == "litert"
                else ort(folder / f"{file.stem}.{peer[4:]}.onnx")
            )
            made[file.stem, peer] = call, shaped(samples, peer)
    return made


def main() -> None:
    calls = prepared(Path(sys.argv[1]))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        call, samples = calls[asked["name"], asked["peer"]]
        times = []
        for i in range(asked["calls"]):
            sample = samples[i % len(samples)]
            start = time.perf_counter_ns()
            output = call(sample)
            times.append((time.perf_counter_ns() - start) / 1000)
        offset = 128 if asked["peer"] == "ort-u8" else 0
        codes = (output.astype(np.int16) - offset).ravel().tolist()
        print(json.dumps({"us": times, "output": codes}), flush=True)


main()
