"""Quantizes and runs models with ONNX Runtime; called by the oracles' interpreter.

usage: onnxruntime_oracle.py FOLDER [--float] — for each NAME.onnx there, reads NAME.npz (one array
per input, first axis the sample), writes NAME.float.npy and, for each way in which people quantize,
NAME.WAY.onnx (QDQ) and NAME.WAY.npy: the first output of every sample. With --float only
NAME.float.npz, with every output. Graphs run as the file says it (no fusion).
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

WAYS = {
    "u8-tensor": (QuantType.QUInt8, False),
    "u8-channel": (QuantType.QUInt8, True),
    "s8-tensor": (QuantType.QInt8, False),
    "s8-channel": (QuantType.QInt8, True),
}


class Samples(CalibrationDataReader):
    def __init__(self, samples: list[dict[str, np.ndarray]]) -> None:
        self.left = list(samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.left.pop(0) if self.left else None


def run_all(path: Path, samples: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    rows = [session.run(None, sample) for sample in samples]
    return {name: np.stack([row[i] for row in rows]) for i, name in enumerate(names)}


def run(path: Path, samples: list[dict[str, np.ndarray]]) -> np.ndarray:
    return next(iter(run_all(path, samples).values()))


def main(folder: Path, *, is_float_only: bool) -> None:
    for path in sorted(folder.glob("*.onnx")):
        with np.load(path.with_suffix(".npz")) as arrays:
            names = arrays.files
            count = len(arrays[names[0]])
            samples = [{name: arrays[name][i : i + 1] for name in names} for i in range(count)]
        if is_float_only:
            np.savez(path.with_suffix(".float.npz"), **run_all(path, samples))
            continue
        np.save(path.with_suffix(".float.npy"), run(path, samples))
        for way, (activation, per_channel) in WAYS.items():
            made = path.with_name(f"{path.stem}.{way}.onnx")
            quantize_static(
                path, made, Samples(samples), quant_format=QuantFormat.QDQ,
                per_channel=per_channel, activation_type=activation, weight_type=QuantType.QInt8,
                extra_options={"ActivationSymmetric": False},
            )  # fmt: skip
            np.save(made.with_suffix(".npy"), run(made, samples))


main(Path(sys.argv[1]), is_float_only=sys.argv[2:] == ["--float"])
