"""ONNX operators element by element: sums, products, normalization, activations.

Source: ONNX operator specifications, opsets 7 to 23.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from wherry_native.compiler.ir import Array, Clamp, Quantization, Window
from wherry_native.compiler.onnx_call import Call, result_view
from wherry_native.compiler.onnx_values import (
    UnsupportedError,
    Value,
    View,
)
from wherry_native.program import Op


def add(call: Call) -> Value:
    return _elementwise(call, Op.ADD)


def subtract(call: Call) -> Value:
    if isinstance(call.inputs[0], View):
        return _elementwise(call, Op.SUB)
    negated = with_constant(call, Op.MUL, call.view(1), np.float32(-1.0), f"{call.name}/negated")
    return with_constant(call, Op.ADD, negated, call.constant(0), call.name)


def multiply(call: Call) -> Value:
    return _elementwise(call, Op.MUL)


def divide(call: Call) -> Value:
    if isinstance(call.inputs[1], View):
        is_computed = isinstance(call.inputs[0], View)
        return _elementwise(call, Op.DIV) if is_computed else _inverse(call)
    divisor = call.constant(1).astype(np.float64)
    if not divisor.all():
        raise UnsupportedError("divides by 0")
    return with_constant(call, Op.MUL, call.view(0), 1.0 / divisor, call.name)


def _inverse(call: Call) -> Value:
    """A constant over a computed value: its reciprocal by table, times the constant."""
    view = call.view(1)
    name = f"{call.name}/reciprocal"
    tensor = call.builder.add_node(Op.LOOKUP, name, [view.tensor], curve=(("RECIPROCAL", 0.0),))
    return with_constant(call, Op.MUL, View(tensor, view.index), call.constant(0), call.name)


def negate(call: Call) -> Value:
    return with_constant(call, Op.MUL, call.view(0), np.float32(-1.0), call.name)


def _elementwise(call: Call, op: Op) -> Value:
    a, b = call.inputs
    if isinstance(a, View) and isinstance(b, View):
        return _of_two(call, op, a, b)
    if isinstance(a, View):
        return with_constant(call, op, a, call.constant(1), call.name, call.prescribed(1))
    return with_constant(call, op, call.view(1), call.constant(0), call.name, call.prescribed(0))


def _of_two(call: Call, op: Op, a: View, b: View) -> Value:
    if np.array_equal(a.index, b.index):
        same = call.builder.tensors[a.tensor].shape
        operands = [a.tensor, call.builder.reshaped(b.tensor, same)]
        return View(call.builder.add_node(op, call.name, operands), a.index)
    rank = max(len(a.shape), len(b.shape))
    a, b = (View(v.tensor, v.index.reshape((1,) * (rank - len(v.shape)) + v.shape)) for v in (a, b))
    axes = call.builder.common_axes([a, b])
    operands = [call.builder.arranged(view, axes) for view in (a, b)]
    return result_view(call, call.builder.add_node(op, call.name, operands), axes)


def with_constant(
    call: Call, op: Op, view: View, data: Any, name: str, prescribed: Quantization | None = None
) -> View:
    """`view op constant`; the constant becomes one value, one per channel, or one per element."""
    if prescribed is not None and len(prescribed.scales) > 1:
        prescribed = None
    if _spreads(view, np.asarray(data)):
        return _spread(call, op, view, np.asarray(data), name)
    try:
        spread = np.broadcast_to(np.asarray(data), view.shape)
    except ValueError:
        raise UnsupportedError(
            f"constant of shape {list(np.shape(data))} does not broadcast to {list(view.shape)}"
        ) from None
    shape = call.builder.tensors[view.tensor].shape
    physical = np.empty(spread.size, np.float64)
    physical[view.index.reshape(-1)] = spread.reshape(-1)
    compact = _compact(physical.reshape(shape))
    operand = call.builder.add_constant(f"{name}/constant", compact, prescribed)
    return View(call.builder.add_node(op, name, [view.tensor, operand]), view.index)


def _spreads(view: View, data: Array) -> bool:
    """Whether the constant repeats a view along its last axis, which has one element."""
    if not view.shape or view.shape[-1] != 1 or not data.ndim or data.shape[-1] == 1:
        return False
    try:
        whole = np.broadcast_shapes(view.shape, data.shape)
    except ValueError:
        return False
    return whole[:-1] == view.shape[:-1]


def _spread(call: Call, op: Op, view: View, data: Array, name: str) -> View:
    """[…, n, 1] op a constant [n, k] gives [1, 1, 1, n·k] by a depthwise layer of multiplier k:
    each element has a factor and an offset of its own, exactly."""
    count, width = math.prod(view.shape), data.shape[-1]
    shape = (*view.shape[:-1], width)
    view = call.builder.in_file_order(view)
    spread = np.broadcast_to(data, shape).reshape(-1).astype(np.float64)
    factor = spread if op is Op.MUL else np.ones(spread.size)
    offset = {Op.MUL: 0.0 * spread, Op.ADD: spread, Op.SUB: -spread}[op]
    operands = [
        call.builder.reshaped(view.tensor, (1, 1, 1, count)),
        call.builder.add_constant(f"{name}/weights", factor.reshape(1, 1, 1, -1)),
        call.builder.add_constant(f"{name}/bias", offset),
    ]
    window = Window((1, 1))
    output = call.builder.add_node(Op.DEPTHWISE_CONV_2D, name, operands, window=window)
    return View(output, np.arange(spread.size, dtype=np.int32).reshape(shape))


def _compact(data: Array) -> Array:
    rows = data.reshape(-1, data.shape[-1]) if data.ndim else data.reshape(1, 1)
    if not (rows == rows[0]).all():
        return data
    return rows[0] if not (rows[0] == rows[0, 0]).all() else rows[0, :1]


def batch_normalization(call: Call) -> Value:
    scale, bias, mean, variance = (call.constant(i).astype(np.float64) for i in range(1, 5))
    epsilon = float(call.attributes.get("epsilon", 1e-5))
    if not all(v.shape == scale.shape for v in (bias, mean, variance)) or scale.ndim != 1:
        raise UnsupportedError("its four parameters must be vectors of one length")
    if (variance + epsilon <= 0).any():
        raise UnsupportedError("variance plus epsilon must be above 0")
    factor = scale / np.sqrt(variance + epsilon)
    view = call.view(0)
    column = (-1, *(1,) * (len(view.shape) - 2))
    scaled = with_constant(call, Op.MUL, view, factor.reshape(column), f"{call.name}/factor")
    return with_constant(call, Op.ADD, scaled, (bias - mean * factor).reshape(column), call.name)


def _unary(call: Call, op: Op, clamp: Clamp | None = None) -> Value:
    view = call.view(0)
    fields = {} if clamp is None else {"clamp": clamp}
    return View(call.builder.add_node(op, call.name, [view.tensor], **fields), view.index)


def relu(call: Call) -> Value:
    return _unary(call, Op.RELU, Clamp(0.0))


def clip(call: Call) -> Value:
    low, high = call.either("min", 1), call.either("max", 2)
    clamp = Clamp(
        -math.inf if low is None else float(low.reshape(-1)[0]),
        math.inf if high is None else float(high.reshape(-1)[0]),
    )
    if clamp.low > clamp.high:
        raise UnsupportedError(f"lower bound {clamp.low} is above upper bound {clamp.high}")
    return _unary(call, Op.RELU6 if clamp == Clamp(0.0, 6.0) else Op.RELU, clamp)


def prelu(call: Call) -> Value:
    """One slope is a table; several, one per channel or per element, are an operand of 8 bits."""
    view, slopes = call.view(0), call.constant(1)
    if slopes.size == 1:
        curve = (("LEAKY_RELU", float(slopes.reshape(-1)[0])),)
        output = call.builder.add_node(Op.LOOKUP, call.name, [view.tensor], curve=curve)
        return View(output, view.index)
    try:
        is_within = np.broadcast_shapes(view.shape, slopes.shape) == view.shape
    except ValueError:
        is_within = False
    if not is_within:
        raise UnsupportedError(
            f"slopes {list(slopes.shape)} do not broadcast to {list(view.shape)}"
        )
    return with_constant(call, Op.PRELU, view, slopes, call.name, call.prescribed(1))


def sigmoid(call: Call) -> Value:
    return _unary(call, Op.LOGISTIC)


def tanh(call: Call) -> Value:
    return _unary(call, Op.TANH)


def lookup(function: str) -> Callable[[Call], Value]:
    """A function of one element that the engine has as a table."""

    def build(call: Call) -> Value:
        view = call.view(0)
        alpha = float(call.attributes.get("alpha", 0.01)) if function == "LEAKY_RELU" else 0.0
        output = call.builder.add_node(
            Op.LOOKUP, call.name, [view.tensor], curve=((function, alpha),)
        )
        return View(output, view.index)

    return build
