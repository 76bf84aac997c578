"""A model file as the float model that it is, or stands for: what int8 answers are held against."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from wherry_native.compiler.agreement import dequantized
from wherry_native.compiler.calibration import samples_of
from wherry_native.compiler.errors import CompileError
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
        """The first output that somebody reads, one flat row per sample; `inputs` are real, first
        axis the sample, the rest as the program has it (channels last), in one row or not. A model
        with states goes on from sample to sample. Raises CompileError for another shape, and for
        several inputs."""
        graph = replace(self.graph, source_axes={})  # the file's own order is nobody's here
        if len(graph.fed) != 1:
            raise CompileError(
                f"{graph.name} has inputs {list(graph.fed)}, needs exactly one that is fed; memory "
                "is named as a state"
            )
        samples = samples_of({graph.fed[0]: inputs}, graph, "the dataset")
        first = graph.answers[0]
        return np.stack([run_float(graph, sample)[first].reshape(-1) for sample in samples])


def read_float_model(path: Path, states: Mapping[str, str] = MappingProxyType({})) -> FloatModel:
    """`states` as in compile_model. Raises CompileError, or OSError when the file cannot be
    read."""
    data = path.read_bytes()
    if says_tflite(data, path):
        if states:
            raise CompileError(
                f"{path.stem} is a TFLite file: states are read from ONNX files only"
            )
        return FloatModel(dequantized(without_shell(read_tflite(data, path.stem))))
    return FloatModel(folded(read_onnx(data, path.stem, path.parent, states)))
