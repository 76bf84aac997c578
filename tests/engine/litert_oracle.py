"""LiteRT's outputs (XNNPACK), one sample after another; run by the interpreter of .venv-oracles.

usage: litert_oracle.py FOLDER, with NAME.tflite and NAME.npy (samples); writes NAME.out.npy
"""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def outputs_of(model: Path, samples: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    x = interpreter.get_input_details()[0]["index"]
    y = interpreter.get_output_details()[0]["index"]
    outputs = []
    for sample in samples:
        interpreter.set_tensor(x, sample[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(y).ravel())
    return np.array(outputs)


for path in sorted(Path(sys.argv[1]).glob("*.tflite")):
    np.save(path.with_suffix(".out.npy"), outputs_of(path, np.load(path.with_suffix(".npy"))))
