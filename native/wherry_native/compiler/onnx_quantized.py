"""ONNX's QuantizeLinear and DequantizeLinear (QDQ): what a file prescribes about its integers.

Rules, in order:
1. Behind a QuantizeLinear a tensor has the file's scale and zero point; where it already has
   others, a QUANTIZE rescales it. uint8 becomes int8: codes and zero points less 128.
2. A DequantizeLinear of a computed value changes nothing: it must say what the QuantizeLinear
   before it said.
3. A DequantizeLinear of a constant keeps the constant's codes, for the layer that reads them.

Source: ONNX operator specifications, opsets 10 to 23.
"""

from typing import Final

import numpy as np
from onnx import TensorProto

from wherry_native.compiler.ir import Array, Quantization
from wherry_native.compiler.onnx_call import Call
from wherry_native.compiler.onnx_values import Codes, UnsupportedError, Value, View
from wherry_native.program import Op

OFFSET: Final = {"int8": 0, "uint8": 128, "int32": 0}
"""What is taken off the codes of a type so that int8 or int32 holds them."""

_DECLARED: Final[dict[int, str]] = {TensorProto.INT8: "int8", TensorProto.UINT8: "uint8"}


def quantize_linear(call: Call) -> Value:
    view = call.view(0)
    wanted = _of_activation(call)
    found = call.builder.tensors[view.tensor].quantization
    if found == wanted:
        return view
    if found is None:
        call.builder.prescribe(view.tensor, wanted)
        return view
    rescaled = call.builder.add_node(Op.QUANTIZE, call.name, [view.tensor])
    call.builder.prescribe(rescaled, wanted)
    return View(rescaled, view.index)


def dequantize_linear(call: Call) -> Value:
    value = call.inputs[0]
    if isinstance(value, np.ndarray):
        return _constant(call, value)
    view = call.view(0)
    wanted = _of_activation(call)
    found = call.builder.tensors[view.tensor].quantization
    if found is None:  # an input of integers, or integers that were moved or pooled
        call.builder.prescribe(view.tensor, wanted)
    elif found != wanted:
        raise UnsupportedError(
            f"reads with scale {wanted.scale:.6g} and zero point {wanted.zero_point} what was "
            f"written with {found.scale:.6g} and {found.zero_point}"
        )
    return view


def _of_activation(call: Call) -> Quantization:
    scales, zeros, dtype = _parameters(call, "uint8")
    if scales.size != 1:
        raise UnsupportedError(
            f"{scales.size} scales for an activation, which can have one; only constants have more"
        )
    if dtype not in ("int8", "uint8"):
        raise UnsupportedError(f"activations of {dtype} are not supported, only int8 and uint8")
    return Quantization((float(scales[0]),), (int(zeros[0]) - OFFSET[dtype],))


def _constant(call: Call, data: Array) -> Codes:
    dtype = str(data.dtype)
    scales, zeros, _ = _parameters(call, dtype)
    if dtype not in OFFSET:
        raise UnsupportedError(f"constants of {dtype} are not supported, only {', '.join(OFFSET)}")
    axis = 0
    if scales.size > 1:
        axis = call.axis(1, data.ndim)
        if axis >= data.ndim or data.shape[axis] != scales.size:
            raise UnsupportedError(f"{scales.size} scales do not fit axis {axis} of {data.shape}")
    kept = np.dtype("int32" if dtype == "int32" else "int8")
    codes = (data.astype(np.int64) - OFFSET[dtype]).astype(kept)
    return Codes(
        codes,
        Quantization(
            tuple(float(scale) for scale in scales),
            tuple(int(zero) - OFFSET[dtype] for zero in zeros),
            axis,
        ),
    )


def _parameters(call: Call, dtype: str) -> tuple[Array, Array, str]:
    """Scales and zero points, equally many, and the type of the integers: that of the zero point,
    `dtype` where there is none."""
    if int(call.attributes.get("block_size", 0)):
        raise UnsupportedError("block_size is not supported: a scale per tensor or per channel is")
    scales = call.constant(1).astype(np.float32).reshape(-1)
    zeros = call.optional(2)
    if zeros is None:
        dtype = _DECLARED.get(int(call.attributes.get("output_dtype", 0)), dtype)
        zeros = np.zeros(scales.size, np.dtype(dtype))
    if not np.isfinite(scales).all() or scales.size == 0 or not (scales > 0).all():
        raise UnsupportedError("has a scale that is not above 0")
    if zeros.size != scales.size:
        raise UnsupportedError(f"has {scales.size} scales and {zeros.size} zero points")
    return scales, zeros.reshape(-1), str(zeros.dtype)
