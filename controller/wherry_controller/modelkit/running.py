"""Run a bundle's program on arrays: int8 in, int8 out, or real units in, real units out."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from wherry_native.engine import TensorInfo
from wherry_protocol.bundle import Bundle, program_image
from wherry_protocol.errors import ContractError

from wherry_controller.modelkit.packaging import load_program

Array = npt.NDArray[Any]
DTYPES: Final[dict[str, np.dtype[Any]]] = {
    name: np.dtype(name) for name in ("int8", "int16", "int32")
}


def run_bundle(bundle: Bundle, inputs: Array) -> Array:
    """Outputs [n, …] for inputs [n, …], first axis the sample.

    An integer array of the input's type holds steps and gives steps; a float array holds real
    units and gives real units. Positions (ARG_MAX), which have no scale, are what they are. Raises
    ContractError for another shape or type, and for a model with several inputs.
    """
    program = load_program(program_image(bundle))
    if len(program.inputs) != 1 or len(program.outputs) != 1:
        raise ContractError(
            f"the model has {len(program.inputs)} inputs and {len(program.outputs)} outputs, "
            "`run` takes models with one of each"
        )
    samples = steps(inputs, program.inputs[0])
    output = program.outputs[0]
    rows = [program.run(row.tobytes()) for row in samples]
    found = np.frombuffer(b"".join(rows), DTYPES[output.dtype])
    found = found.reshape(len(samples), *sample_shape(output))
    if inputs.dtype.kind == "f" and output.scale:
        return (found.astype(np.float32) - output.zero_point) * np.float32(output.scale)
    return found


def sample_shape(tensor: TensorInfo) -> tuple[int, ...]:
    """The shape of one sample: without a leading batch axis of 1."""
    return tensor.shape[1:] if len(tensor.shape) > 1 and tensor.shape[0] == 1 else tensor.shape


def _advice(found: tuple[int, ...], sample: tuple[int, ...]) -> str:
    """What to do about a shape that is nearly right."""
    if found == sample:
        return ": give several samples, or X[None] for one"
    if len(sample) != 3:
        return ""
    height, width, channels = sample
    if found[1:] == (channels, height, width):
        return " (channels last): give X.transpose(0, 2, 3, 1)"
    if found[1:] == (width, channels, height):  # a program in the file's order: channels, rows, …
        return " (the file's order): give X.transpose(0, 3, 1, 2)"
    return " (channels last)"


def steps(inputs: Array, tensor: TensorInfo) -> Array:
    """[n, …] of the tensor's integer type."""
    shape = sample_shape(tensor)
    if inputs.ndim == 0 or inputs.shape[1:] not in (shape, tensor.shape, (int(np.prod(shape)),)):
        raise ContractError(
            f"inputs have shape {list(inputs.shape)}, must be [n, {', '.join(map(str, shape))}]"
            + _advice(inputs.shape, shape)
        )
    if inputs.dtype == DTYPES[tensor.dtype]:
        return inputs
    if inputs.dtype.kind != "f":
        raise ContractError(
            f"inputs are {inputs.dtype}, must be {tensor.dtype} (steps) or float (real units)"
        )
    limit = 1 << (8 * DTYPES[tensor.dtype].itemsize - 1)
    if not np.isfinite(inputs).all():
        raise ContractError("inputs hold a value that is not finite")
    rounded = np.rint(inputs.astype(np.float64) / tensor.scale) + tensor.zero_point
    clipped: Array = np.clip(rounded, -limit, limit - 1).astype(DTYPES[tensor.dtype])
    return clipped
