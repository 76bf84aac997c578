"""What every ONNX operator is given: its operands and attributes, and the graph being built."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from wherry_native.compiler.ir import Array, Quantization, Shape
from wherry_native.compiler.onnx_values import (
    Builder,
    Codes,
    UnsupportedError,
    Value,
    View,
    view_of,
)

UNKNOWN_AXIS: Final = -1


@dataclass(frozen=True, slots=True)
class Call:
    """One ONNX node: its name, operands (None where absent), attributes and how many outputs it
    has. What the engine cannot
    do raises UnsupportedError."""

    builder: Builder
    opset: int
    name: str
    inputs: tuple[Value | None, ...]
    attributes: Mapping[str, Any]
    output_count: int = 1

    def view(self, index: int) -> View:
        value = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(value, View):
            raise UnsupportedError(f"operand {index} must be computed, is a constant or absent")
        return value

    def constant(self, index: int) -> Array:
        value = self.optional(index)
        if value is None:
            raise UnsupportedError(f"operand {index} is absent")
        return value

    def optional(self, index: int) -> Array | None:
        value = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(value, View):
            raise UnsupportedError(f"operand {index} must be a constant in the file")
        return value.real if isinstance(value, Codes) else value

    def prescribed(self, index: int) -> Quantization | None:
        """What the file says about the quantization of a constant operand."""
        value = self.inputs[index] if index < len(self.inputs) else None
        return value.quantization if isinstance(value, Codes) else None

    def weight_scales(self, index: int, axis: int, channel_axis: int) -> Quantization | None:
        """The prescribed quantization of weights whose output channels lie along `axis` in the
        file and along `channel_axis` in the program; of another axis nothing is known."""
        found = self.prescribed(index)
        if found is None or len(found.scales) == 1:
            return found
        return replace(found, axis=channel_axis if found.axis == axis else UNKNOWN_AXIS)

    def integers(self, name: str, default: Sequence[int]) -> tuple[int, ...]:
        return tuple(int(value) for value in self.attributes.get(name, default))

    def either(self, name: str, index: int) -> Array | None:
        """An attribute of older opsets that became operand `index`."""
        if name in self.attributes:
            return np.asarray(self.attributes[name])
        return self.optional(index)

    def axis(self, default: int, rank: int) -> int:
        axis = int(self.attributes.get("axis", default))
        if not -rank <= axis <= rank:
            raise UnsupportedError(f"axis {axis} does not fit rank {rank}")
        return axis + rank if axis < 0 else axis


def result_view(call: Call, tensor: str, axes: tuple[int, ...], shape: Shape | None = None) -> View:
    """The view of a new tensor that is transposed by `axes`; `shape` drops or adds unit axes."""
    view = view_of(tensor, call.builder.tensors[tensor].shape, axes)
    return view if shape is None else View(tensor, view.index.reshape(shape))


def as_text(value: Any) -> str:
    """A string attribute, which ONNX hands out as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)
