"""Calibration samples: what the model sees in the field, as the files that people have.

A .npy array, or a .npz with one array per input (a single array may have any name). The first
axis is the sample; the rest has the input's shape in the model file or in the program, or is flat
in the file's order. Values are in real units; int8 arrays for an int8 model are its codes.
"""

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from wherry_native.compiler.errors import CompileError
from wherry_native.compiler.ir import Array, Graph, Shape, Tensor
from wherry_native.compiler.reference import Floats, run_float
from wherry_native.compiler.requantize import level_range

Samples = list[dict[str, Floats]]

STEPS_MIN: Final = 8
"""A feature that varies by fewer int8 steps than this carries hardly any information."""


def read_samples(path: Path, graph: Graph) -> Samples:
    """One dict of inputs per sample, each in the program's shape. Raises CompileError, or OSError
    when the file cannot be read."""
    return samples_of(_loaded(path), graph, str(path))


def samples_of(loaded: Mapping[str, Array], graph: Graph, path: str) -> Samples:
    """The same from arrays; `path` is what they are called in an error."""
    arrays = _by_input(loaded, graph, path)
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) != 1 or min(counts.values()) == 0:
        raise CompileError(f"{path}: needs the same number of samples, at least 1, has {counts}")
    rows = {name: _in_program_shape(graph, name, array, path) for name, array in arrays.items()}
    count = next(iter(counts.values()))
    samples = [{name: rows[name][i] for name in graph.fed} for i in range(count)]
    return with_states(graph, samples) if graph.states else samples


def with_states(graph: Graph, samples: Samples) -> Samples:
    """The samples in their order, each with the state that the float graph has by then; it begins
    with zeros."""
    state = {name: np.zeros(graph.tensors[name].shape, np.float32) for name in graph.states}
    whole = []
    for sample in samples:
        whole.append(sample | state)
        values = run_float(graph, whole[-1])
        state = {name: values[after] for name, after in graph.states.items()}
    return whole


def coarse_inputs(graph: Graph, samples: Samples) -> list[str]:
    """A sentence per input of which some features drown in the one scale that int8 has."""
    notes = []
    for name in graph.fed:
        quantization = graph.tensors[name].quantization
        features = np.stack([sample[name].reshape(-1) for sample in samples]).astype(np.float64)
        if quantization is None:
            raise RuntimeError(f"input {name!r} is not quantized")
        steps = (features.max(axis=0) - features.min(axis=0)) / quantization.scale
        coarse = int(np.count_nonzero((steps > 0) & (steps < STEPS_MIN)))
        if coarse:
            notes.append(
                f"{coarse} of {steps.size} elements of input {name!r} vary by less than "
                f"{STEPS_MIN} steps of its scale {quantization.scale:.4g}; int8 has one scale per "
                "input, so bring features of different ranges to one range before the model"
            )
    return notes


def program_input(graph: Graph, sample: Mapping[str, Floats]) -> bytes:
    """The sample as the int8 program takes it: all inputs one after another."""
    return b"".join(_codes(graph.tensors[name], sample[name]) for name in graph.fed)


def _codes(tensor: Tensor, values: Floats) -> bytes:
    if tensor.quantization is None:
        raise RuntimeError(f"input {tensor.name!r} is not quantized")
    steps = np.round(values.astype(np.float64) / tensor.quantization.scale)
    low, high = level_range(tensor.dtype)
    levels = np.clip(steps + tensor.quantization.zero_point, low, high)
    return levels.astype(np.dtype(tensor.dtype).newbyteorder("<")).tobytes()


def _loaded(path: Path) -> dict[str, Array]:
    data = path.read_bytes()
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {path.stem: loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, MemoryError) as error:
        raise CompileError(f"{path} is no .npy or .npz file of plain arrays") from error


def _by_input(arrays: Mapping[str, Array], graph: Graph, path: str) -> dict[str, Array]:
    if len(graph.fed) == 1 and len(arrays) == 1:
        arrays = {graph.fed[0]: next(iter(arrays.values()))}
    missing = [name for name in graph.fed if name not in arrays]
    if missing:
        raise CompileError(f"{path} has arrays {sorted(arrays)}, lacks those of inputs {missing}")
    for name in graph.fed:
        if arrays[name].dtype.kind not in "fiub" or arrays[name].ndim == 0:
            raise CompileError(f"{path}: array of input {name!r} must be numbers, one row a sample")
    return {name: arrays[name] for name in graph.fed}


def _in_program_shape(graph: Graph, name: str, array: Array, path: str) -> Floats:
    """[samples, *program shape] in real units."""
    tensor = graph.tensors[name]
    axes = graph.source_axes.get(name, tuple(range(len(tensor.shape))))
    in_file = _file_shape(tensor.shape, axes)
    real = array.astype(np.float32)
    if tensor.quantization is not None and array.dtype.name in ("int8", "int16"):
        real = (real - tensor.quantization.zero_point) * np.float32(tensor.quantization.scale)
    sample = array.shape[1:]
    if sample in (*_without_batch(in_file), (math.prod(in_file),)):
        moved = real.reshape(-1, *in_file).transpose(0, *(axis + 1 for axis in axes))
        return np.ascontiguousarray(moved)
    if sample in _without_batch(tensor.shape):
        return real.reshape(-1, *tensor.shape)
    raise CompileError(
        f"{path}: samples of input {name!r} have shape {list(sample)}, must be "
        f"{list(_without_batch(in_file)[-1])}"
    )


def _without_batch(shape: Shape) -> list[Shape]:
    """The shape, and what it is without a first axis of one sample."""
    return [shape, shape[1:]] if len(shape) > 1 and shape[0] == 1 else [shape]


def _file_shape(shape: Shape, axes: tuple[int, ...]) -> Shape:
    """The shape in the file of a tensor that has been transposed by `axes`."""
    original = [0] * len(shape)
    for position, axis in enumerate(axes):
        original[axis] = shape[position]
    return tuple(original)
