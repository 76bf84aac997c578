"""Runs TFLite Micro's reference kernels; called by the interpreter of the oracles' environment.

usage: tflm_oracle.py FOLDER — for each NAME.tflite there, reads NAME.npz (arrays `sample_input`)
and writes NAME.out.npy, the outputs of its samples stacked, flat and one behind another. Prints
each name before it runs, so that an abort names its model.
"""

import sys
from pathlib import Path

import numpy as np
from tflite_micro import runtime


def main(folder: Path) -> None:
    for path in sorted(folder.glob("*.tflite")):
        print(path.stem, flush=True)
        interpreter = runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=1 << 20)
        outputs = []
        with np.load(path.with_suffix(".npz")) as arrays:
            wanted = range(int(arrays["outputs"]))
            samples = sorted({int(key.split("_")[0]) for key in arrays if key != "outputs"})
            for sample in samples:
                count = sum(key.startswith(f"{sample}_") for key in arrays)
                for index in range(count):
                    interpreter.set_input(arrays[f"{sample}_{index}"], index)
                interpreter.invoke()
                outputs.append(np.concatenate([interpreter.get_output(i).ravel() for i in wanted]))
        np.save(path.with_suffix(".out.npy"), np.stack(outputs))


main(Path(sys.argv[1]))
