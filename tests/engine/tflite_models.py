"""Writes small TFLite models of one operator with PyPI's `tflite` schema.

    data = one_operator("ADD", [a, b], y, {"FusedActivationFunction": 1})

Operand order and options are those of the TFLite schema; options are named as there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.compiler.tflite_files import Row, tflite_file


@dataclass(frozen=True)
class Operand:
    """A tensor. With `data` it is a constant; `scales` has one entry or one per channel."""

    name: str
    shape: tuple[int, ...]
    scales: tuple[float, ...] = ()
    zero_point: int = 0
    data: Any = None
    dtype: str = "int8"
    channel_axis: int = 0


def constant_int32(name: str, values: Any, scales: tuple[float, ...] = ()) -> Operand:
    array = np.asarray(values, np.int32)
    return Operand(name, array.shape, scales, data=array, dtype="int32")


def constant_int64(name: str, values: Any, scales: tuple[float, ...] = ()) -> Operand:
    array = np.asarray(values, np.int64)
    return Operand(name, array.shape, scales, data=array, dtype="int64")


def one_operator(
    operator: str, inputs: Sequence[Operand | None], output: Operand | Sequence[Operand],
    options: dict[str, Any],
) -> bytes:  # fmt: skip
    """The file's bytes. None stands for an absent optional operand."""
    outputs = [output] if isinstance(output, Operand) else list(output)
    operands = [o for o in inputs if o is not None] + outputs
    read = [-1 if o is None else operands.index(o) for o in inputs]
    written = [operands.index(o) for o in outputs]
    fed = [i for i, o in enumerate(operands) if o.data is None and i not in written]
    return tflite_file([_row(o) for o in operands], [(operator, read, written, options)], fed)


def _row(operand: Operand) -> Row:
    return Row(
        operand.name, operand.dtype, operand.shape, operand.scales, operand.zero_point,
        operand.data, operand.channel_axis,
    )  # fmt: skip
