"""ONNX operators that are a matrix: Gemm, MatMul, and the linear models of ai.onnx.ml.

Source: ONNX operator specifications, opsets 7 to 23.
"""

import math
from typing import Final

import numpy as np

from wherry_native.compiler.ir import Array, Quantization
from wherry_native.compiler.onnx_call import Call, as_text, result_view
from wherry_native.compiler.onnx_elementwise import with_constant
from wherry_native.compiler.onnx_values import (
    ArrangementError,
    UnsupportedError,
    Value,
    View,
    row_order,
)
from wherry_native.program import Op


def gemm(call: Call) -> Value:
    if int(call.attributes.get("transA", 0)):
        raise UnsupportedError("transA is not supported")
    weights = call.constant(1).astype(np.float64) * float(call.attributes.get("alpha", 1.0))
    if weights.ndim != 2:
        raise UnsupportedError(f"weights have shape {list(weights.shape)}, rank must be 2")
    is_transposed = bool(int(call.attributes.get("transB", 0)))
    weights = weights if is_transposed else weights.T
    bias = call.optional(2)
    if bias is not None:
        bias = bias * float(call.attributes.get("beta", 1.0))
        if bias.size != 1 and (bias.size, bias.shape[-1]) != (weights.shape[0],) * 2:
            raise UnsupportedError(f"operand C has shape {list(bias.shape)}, must be one row")
        bias = np.broadcast_to(bias.reshape(-1), (weights.shape[0],))
    scales = call.weight_scales(1, 0 if is_transposed else 1, 0)
    is_scaled = float(call.attributes.get("alpha", 1.0)) != 1.0
    return _fully_connected(call, weights, bias, None if is_scaled else scales)


def matmul(call: Call) -> Value:
    weights = call.constant(1)
    if weights.ndim != 2:
        raise UnsupportedError(f"weights have shape {list(weights.shape)}, rank must be 2")
    return _fully_connected(call, weights.T, None, call.weight_scales(1, 1, 0))


def linear_regressor(call: Call) -> Value:
    """ai.onnx.ml: y = x * coefficients + intercepts."""
    if as_text(call.attributes.get("post_transform", "NONE")) != "NONE":
        raise UnsupportedError("post_transform is not supported")
    targets = int(call.attributes.get("targets", 1))
    weights = np.asarray(call.attributes["coefficients"], np.float64).reshape(targets, -1)
    bias = np.asarray(call.attributes.get("intercepts", (0.0,) * targets), np.float64)
    return _fully_connected(call, weights, bias)


def linear_classifier(call: Call) -> Value:
    """ai.onnx.ml: scores per class, through softmax, logistic or nothing."""
    weights = np.asarray(call.attributes["coefficients"], np.float64)
    bias = np.asarray(call.attributes.get("intercepts", ()), np.float64)
    labels = call.attributes.get("classlabels_ints") or call.attributes.get("classlabels_strings")
    if not labels or bias.size != len(labels):
        raise UnsupportedError("needs one row of coefficients and one intercept per class")
    scores = _fully_connected(call, weights.reshape(len(labels), -1), bias)
    transform = as_text(call.attributes.get("post_transform", "NONE"))
    if transform not in _TRANSFORMS:
        raise UnsupportedError(f"post_transform {transform} is not supported")
    op = _TRANSFORMS[transform]
    if op is None:
        return scores
    return View(call.builder.add_node(op, f"{call.name}/scores", [scores.tensor]), scores.index)


_TRANSFORMS: Final = {"NONE": None, "SOFTMAX": Op.SOFTMAX, "LOGISTIC": Op.LOGISTIC}


def normalizer(call: Call) -> Value:
    """ai.onnx.ml: dividing by the sum changes nothing behind a softmax, whose sum is 1."""
    view = call.view(0)
    writer = next((n for n in call.builder.nodes if n.output == view.tensor), None)
    norm = as_text(call.attributes.get("norm", "MAX"))
    if norm != "L1" or writer is None or writer.op is not Op.SOFTMAX:
        raise UnsupportedError(f"norm {norm} is supported as L1 behind a softmax only")
    return view


def scaler(call: Call) -> Value:
    """ai.onnx.ml: y = (x - offset) * scale, per feature (the last axis)."""
    offset = np.asarray(call.attributes.get("offset", (0.0,)), np.float64)
    scale = np.asarray(call.attributes.get("scale", (1.0,)), np.float64)
    moved = with_constant(call, Op.SUB, call.view(0), offset, f"{call.name}/offset")
    return with_constant(call, Op.MUL, moved, scale, call.name)


def _fully_connected(
    call: Call, weights: Array, bias: Array | None, scales: Quantization | None = None
) -> View:
    """`weights` are [out, in] in the file's order of inputs."""
    view = call.view(0)
    row_size = weights.shape[1]
    if not view.shape or view.shape[-1] != row_size:
        raise UnsupportedError(
            f"input has shape {list(view.shape)}, weights need {row_size} in the last axis"
        )
    try:
        order = row_order(view, row_size)
    except ArrangementError:
        view = call.builder.in_file_order(view)
        order = np.arange(row_size)
    arranged = np.empty_like(weights)
    arranged[:, order] = weights
    rows = math.prod(view.shape) // row_size
    operands = [
        call.builder.reshaped(view.tensor, (rows, row_size)),
        call.builder.add_constant(f"{call.name}/weights", arranged, scales),
    ]
    if bias is not None:
        operands.append(call.builder.add_constant(f"{call.name}/bias", bias))
    output = call.builder.add_node(Op.FULLY_CONNECTED, call.name, operands)
    return result_view(call, output, (0, 1), (*view.shape[:-1], weights.shape[0]))
