"""One small ONNX model for each way in which an operator is written; names say which."""

from collections.abc import Callable

import onnx

from tests.compiler.onnx_models import ModelWriter

Build = Callable[[], onnx.ModelProto]
IMAGE = (1, 4, 6, 5)
"""N, C, H, W."""


def split_by_outputs() -> onnx.ModelProto:
    w = ModelWriter()
    return w.model({"x": [1, 6, 4]}, w.parts("Split", 3, "x", axis=1))


def split_by_number() -> onnx.ModelProto:
    """The last part is smaller."""
    w = ModelWriter(opset=18)
    return w.model({"x": [1, 7, 4]}, w.parts("Split", 3, "x", axis=-2, num_outputs=3))


def split_of_channels() -> onnx.ModelProto:
    w = ModelWriter()
    x = w.node("Conv", "x", w.weights(6, 4, 1, 1))
    return w.model({"x": IMAGE}, w.parts("Split", 2, x, axis=1))


MOVES: dict[str, Build] = {
    "split by outputs": split_by_outputs,
    "split by number": split_by_number,
    "split of channels": split_of_channels,
}
"""These give their operand's very values."""
