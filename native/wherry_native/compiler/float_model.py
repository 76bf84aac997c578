"""A model file as the float model that it is, or stands for: what int8 answers are held against."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wherry_native.compiler.agreement import dequantized
from wherry_native.compiler.calibration import samples_of
from wherry_native.compiler.fold import folded
from wherry_native.compiler.int8_rules import without_shell
from wherry_native.compiler.ir import Array, Graph
from wherry_native.compiler.onnx_reader import read_onnx
from wherry_native.compiler.reference import run_float
from wherry_native.compiler.tflite_reader import read_tflite, says_tflite


@dataclass(frozen=True, slots=True)
class FloatModel:
    """Runs in numpy. Of an int8 file it is the same graph with its constants in real units."""

    graph: Graph

    def outputs(self, inputs: Array) -> Array:
        """The first output, one flat row per sample; `inputs` are real, first axis the sample, in
        the file's or the program's shape. Raises CompileError for another shape."""
        named: Mapping[str, Array] = {self.graph.inputs[0]: inputs}
        samples = samples_of(named, self.graph, "the dataset")
        first = self.graph.outputs[0]
        return np.stack([run_float(self.graph, sample)[first].reshape(-1) for sample in samples])


def read_float_model(path: Path) -> FloatModel:
    """Raises CompileError, or OSError when the file cannot be read."""
    data = path.read_bytes()
    if says_tflite(data, path):
        return FloatModel(dequantized(without_shell(read_tflite(data, path.stem))))
    return FloatModel(folded(read_onnx(data, path.stem, path.parent)))
