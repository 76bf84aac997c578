"""ONNX operators on images: convolutions and pools, two-dimensional or along one line.

Source: ONNX operator specifications, opsets 7 to 23.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from wherry_native.compiler.ir import Array, Shape, Window
from wherry_native.compiler.onnx_call import Call, as_text, result_view
from wherry_native.compiler.onnx_values import (
    ELEMENTS_MAX,
    UnsupportedError,
    Value,
    View,
    channels_last,
)
from wherry_native.program import Op


def _image(call: Call) -> tuple[str, bool]:
    """The first operand as N, H, W, C, and whether it had only one spatial axis."""
    view = call.view(0)
    if len(view.shape) == 3:
        view = View(view.tensor, view.index[:, :, None, :])
        return call.builder.arranged(view, channels_last(4)), True
    if len(view.shape) != 4:
        raise UnsupportedError(f"input has shape {list(view.shape)}, must have 1 or 2 image axes")
    return call.builder.arranged(view, channels_last(4)), False


def _from_image(call: Call, tensor: str, is_line: bool) -> View:
    view = result_view(call, tensor, channels_last(4))
    return View(tensor, view.index[:, :, 0, :]) if is_line else view


def _two(values: Sequence[int], fill: int, is_line: bool) -> tuple[int, int]:
    if len(values) != (1 if is_line else 2):
        raise UnsupportedError(f"{list(values)} does not fit the number of image axes")
    return (fill, values[0]) if is_line else (values[0], values[1])


def _window(call: Call, x: Shape, size: tuple[int, int], is_line: bool) -> Window:
    window, axes = _file_window(call, x, size, is_line)
    if not int(call.attributes.get("ceil_mode", 0)):
        return window
    return replace(window, pads=_ceil_pads(axes, window.pads))


def _file_window(
    call: Call, x: Shape, size: tuple[int, int], is_line: bool
) -> tuple[Window, list["Axis"]]:
    """The window with the padding that the file asks for, before ceil_mode adds to it."""
    ones = (1,) if is_line else (1, 1)
    stride = _two(call.integers("strides", ones), 1, is_line)
    dilation = _two(call.integers("dilations", ones), 1, is_line)
    if min(*size, *stride, *dilation) < 1:
        raise UnsupportedError(f"filter {size}, stride {stride}, dilation {dilation} must be >= 1")
    pads = call.integers("pads", (0, 0, 0, 0)[: 2 * len(ones)])
    if len(pads) != 2 * len(ones) or min(pads) < 0:
        raise UnsupportedError(f"pads {list(pads)} do not fit the image axes")
    if is_line:
        pads = (0, pads[0], 0, pads[1])
    axes = list(zip(x[1:3], size, stride, dilation, strict=True))
    auto = as_text(call.attributes.get("auto_pad", "NOTSET"))
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same_pads(axes, is_lower=auto == "SAME_LOWER")
    elif auto == "VALID":
        pads = (0, 0, 0, 0)
    return Window(size, stride, dilation, (pads[0], pads[1], pads[2], pads[3])), axes


SHIFT_MAX: Final = 1 << 15
"""Of strides and pads of a ConvTranspose: larger ones, which cancel out, are no model's."""

Axis = tuple[int, int, int, int]
"""Length, filter, stride, dilation."""


def _same_pads(axes: Sequence[Axis], *, is_lower: bool) -> tuple[int, ...]:
    before, after = [], []
    for length, size, stride, dilation in axes:
        count = -(-length // stride)
        total = max((count - 1) * stride + (size - 1) * dilation + 1 - length, 0)
        small, large = total // 2, total - total // 2
        before.append(large if is_lower else small)
        after.append(small if is_lower else large)
    return (*before, *after)


def _ceil_pads(axes: Sequence[Axis], pads: Sequence[int]) -> tuple[int, int, int, int]:
    """Padding behind that makes room for the last, partial window, unless it begins in padding."""
    after = []
    for i, (length, size, stride, dilation) in enumerate(axes):
        span = length + pads[i] + pads[i + 2] - ((size - 1) * dilation + 1)
        count = -(-span // stride) + 1
        if (count - 1) * stride >= length + pads[i]:
            count -= 1
        after.append(max(pads[i + 2], pads[i + 2] + (count - 1) * stride - span))
    return (pads[0], pads[1], after[0], after[1])


def _within_reach(call: Call, tensor: str, window: Window) -> tuple[str, Window]:
    """Zeros that no filter at the image's edge reaches come from a PAD: the engine wants every
    window to see an element of its input."""
    reach = [(k - 1) * d for k, d in zip(window.size, window.dilation, strict=True)] * 2
    far = [max(pad - most, 0) for pad, most in zip(window.pads, reach, strict=True)]
    if not any(far):
        return tensor, window
    top, left, bottom, right = (pad - more for pad, more in zip(window.pads, far, strict=True))
    return _with_zeros(call, tensor, far), replace(window, pads=(top, left, bottom, right))


def _with_zeros(call: Call, tensor: str, pads: Sequence[int]) -> str:
    top, left, bottom, right = pads
    around = ((0, 0), (top, bottom), (left, right), (0, 0))
    return call.builder.add_node(Op.PAD, f"{call.name}/pad", [tensor], pads=around)


def conv(call: Call) -> Value:
    weights = call.constant(1)
    tensor, is_line = _image(call)
    if weights.ndim != (3 if is_line else 4):
        raise UnsupportedError(f"weights have shape {list(weights.shape)}")
    weights = weights[:, :, None, :] if is_line else weights
    groups = int(call.attributes.get("group", 1))
    x = call.builder.tensors[tensor].shape
    is_depthwise = groups == x[3] and weights.shape[1] == 1 and groups > 1
    if weights.shape[1] * groups != x[3]:
        raise UnsupportedError(
            f"{groups} groups of {weights.shape[1]} channels do not make {x[3]} input channels"
        )
    axes = (1, 2, 3, 0) if is_depthwise else (0, 2, 3, 1)
    scales = call.weight_scales(1, 0, 3 if is_depthwise else 0)
    moved = weights.transpose(axes)
    window = _window(call, x, (weights.shape[2], weights.shape[3]), is_line)
    tensor, window = _within_reach(call, tensor, window)
    operands = [tensor, call.builder.add_constant(f"{call.name}/weights", moved, scales)]
    bias = call.optional(2)
    if bias is not None:
        operands.append(call.builder.add_constant(f"{call.name}/bias", bias.reshape(-1)))
    op = Op.DEPTHWISE_CONV_2D if is_depthwise else Op.CONV_2D
    output = call.builder.add_node(op, call.name, operands, window=window)
    return _from_image(call, output, is_line)


def conv_transpose(call: Call) -> Value:
    """Every input element adds its filter to the output, `stride` apart."""
    weights = call.constant(1)
    tensor, is_line = _image(call)
    if weights.ndim != (3 if is_line else 4):
        raise UnsupportedError(f"weights have shape {list(weights.shape)}")
    weights = weights[:, :, None, :] if is_line else weights
    x = call.builder.tensors[tensor].shape
    if int(call.attributes.get("group", 1)) != 1:
        raise UnsupportedError("groups are not supported")
    if weights.shape[0] != x[3]:
        raise UnsupportedError(f"weights of {weights.shape[0]} channels do not fit {x[3]}")
    operands = [
        tensor,
        call.builder.add_constant(
            f"{call.name}/weights", weights.transpose(1, 2, 3, 0), call.weight_scales(1, 1, 0)
        ),
    ]
    bias = call.optional(2)
    if bias is not None:
        operands.append(call.builder.add_constant(f"{call.name}/bias", bias.reshape(-1)))
    window = _scattering(call, x, (weights.shape[2], weights.shape[3]), is_line)
    output = call.builder.add_node(Op.TRANSPOSE_CONV, call.name, operands, window=window)
    return _from_image(call, output, is_line)


def _scattering(call: Call, x: Shape, size: tuple[int, int], is_line: bool) -> Window:
    """The window of a ConvTranspose: pads are what is cut off from the full reach; less than
    nothing behind adds elements that no filter reaches, which auto_pad never does."""
    ones, zeros = (1, 1)[: 2 - is_line], (0, 0)[: 2 - is_line]
    stride = _two(call.integers("strides", ones), 1, is_line)
    if _two(call.integers("dilations", ones), 1, is_line) != (1, 1):
        raise UnsupportedError("dilation is not supported")
    extra = _two(call.integers("output_padding", zeros), 0, is_line)
    pads = call.integers("pads", (*zeros, *zeros))
    auto = as_text(call.attributes.get("auto_pad", "NOTSET"))
    wanted = call.attributes.get("output_shape")
    before, after = [], []
    for i in range(2):
        reach = (x[i + 1] - 1) * stride[i] + size[i] + extra[i]
        if wanted is not None or auto.startswith("SAME"):
            same = min(x[i + 1] * stride[i], reach)
            length = same if wanted is None else _two(wanted[-len(ones) :], 1, is_line)[i]
            cut = max(reach - length, 0)
            before.append(cut // 2 if auto == "SAME_UPPER" else cut - cut // 2)
            after.append(reach - length - before[i] - extra[i])
        else:
            before.append(_two(pads[: len(ones)], 0, is_line)[i])
            after.append(_two(pads[len(ones) :], 0, is_line)[i] - extra[i])
    if min(*before, *extra) < 0 or min(stride) < 1 or max(*stride, *extra, *before) > SHIFT_MAX:
        raise UnsupportedError(
            f"strides {stride}, pads {before} and output_padding {extra} do not fit the image"
        )
    return Window(size, stride, (1, 1), (before[0], before[1], after[0], after[1]))


def resize(call: Call) -> Value:
    """Of the nearest elements; which they are is worked out here."""
    if as_text(call.attributes.get("mode", "nearest")) != "nearest":
        raise UnsupportedError(f"mode {as_text(call.attributes['mode'])} is not supported")
    if as_text(call.attributes.get("keep_aspect_ratio_policy", "stretch")) != "stretch":
        raise UnsupportedError("keeping the aspect ratio is not supported")
    tensor, is_line = _image(call)
    targets = _targets(call)
    if tuple(length for length, _ in targets[:2]) != call.view(0).shape[:2]:
        raise UnsupportedError("resizes more than the image axes")
    x = call.builder.tensors[tensor].shape
    image = [(1, np.float32(1))] * is_line + targets[2:]
    sources = [
        _sources(call, size, wanted, scale)
        for size, (wanted, scale) in zip(x[1:3], image, strict=True)
    ]
    operands = [
        call.builder.add_positions(f"{call.name}/{what}", positions)
        for what, positions in zip(("rows", "columns"), sources, strict=True)
    ]
    output = call.builder.add_node(Op.RESIZE_NEAREST, call.name, [tensor, *operands])
    return _from_image(call, output, is_line)


def _targets(call: Call) -> list[tuple[int, np.float32]]:
    """Per axis of the file the wanted length and the scale, float32 as ONNX Runtime has them."""
    shape = call.view(0).shape
    scales, sizes = call.either("scales", 1 if call.opset < 11 else 2), call.optional(3)
    axes = [int(axis) % len(shape) for axis in call.attributes.get("axes", range(len(shape)))]
    targets = [(length, np.float32(1)) for length in shape]
    given = sizes if sizes is not None and sizes.size else scales
    if given is None or given.size != len(axes):
        raise UnsupportedError("its scales or sizes must be constants in the file, one per axis")
    for axis, value in zip(axes, given.reshape(-1), strict=True):
        if given is sizes:
            targets[axis] = (int(value), np.float32(value) / np.float32(shape[axis]))
        else:
            scale = np.float32(value)
            targets[axis] = (int(np.floor(np.float32(shape[axis]) * scale)), scale)
    if not all(1 <= length <= ELEMENTS_MAX for length, _ in targets):
        raise UnsupportedError("an axis would have no elements, or too many")
    return targets


def _sources(call: Call, size: int, wanted: int, scale: np.float32) -> Array:
    """Which element each one of `wanted` comes from."""
    if scale == 1 and size == wanted:
        return np.arange(size)
    how = as_text(call.attributes.get("coordinate_transformation_mode", "half_pixel"))
    rounding = as_text(call.attributes.get("nearest_mode", "round_prefer_floor"))
    if call.opset < 11:  # as Upsample did it
        how, rounding = "asymmetric", "floor" if scale >= 1 else "ceil"
    half, at = np.float32(0.5), np.arange(wanted, dtype=np.float32)
    if how == "asymmetric":
        at = at / scale
    elif how == "tf_half_pixel_for_nn":
        at = (at + half) / scale
    elif how == "align_corners":
        at = at * np.float32(size - 1) / np.float32(wanted - 1) if wanted > 1 else at * 0
    elif how == "half_pixel" or (how == "pytorch_half_pixel" and wanted > 1):
        at = (at + half) / scale - half
    elif how == "pytorch_half_pixel":
        at = at * 0
    else:
        raise UnsupportedError(f"coordinate_transformation_mode {how} is not supported")
    if rounding not in _NEAREST:
        raise UnsupportedError(f"nearest_mode {rounding} is not supported")
    return np.clip(_NEAREST[rounding](at), 0, size - 1).astype(np.int64)


_NEAREST: Final[dict[str, Callable[[Array], Array]]] = {
    "round_prefer_floor": lambda at: np.ceil(at - np.float32(0.5)),
    "round_prefer_ceil": lambda at: np.floor(at + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}


def max_pool(call: Call) -> Value:
    return _pooled(call, Op.MAX_POOL_2D)


def average_pool(call: Call) -> Value:
    return _pooled(call, Op.AVERAGE_POOL_2D)


def _pooled(call: Call, op: Op) -> Value:
    tensor, is_line = _image(call)
    x = call.builder.tensors[tensor].shape
    size = _two(call.integers("kernel_shape", ()), 1, is_line)
    window = _window(call, x, size, is_line)
    if window.dilation != (1, 1):
        raise UnsupportedError("dilation of a pool is not supported")
    if op is Op.AVERAGE_POOL_2D and int(call.attributes.get("count_include_pad", 0)):
        own = _file_window(call, x, size, is_line)[0].pads
        tensor, window = _counted(call, tensor, window, own)
    output = call.builder.add_node(op, call.name, [tensor], window=window)
    return _from_image(call, output, is_line)


def _counted(call: Call, tensor: str, window: Window, own: Sequence[int]) -> tuple[str, Window]:
    """The file's own padding as a PAD, so that its zeros count in the average."""
    if not any(own):
        return tensor, window
    rest = (0, 0, window.pads[2] - own[2], window.pads[3] - own[3])
    return _with_zeros(call, tensor, own), replace(window, pads=rest)


def global_max_pool(call: Call) -> Value:
    tensor, is_line = _image(call)
    x = call.builder.tensors[tensor].shape
    window = Window((x[1], x[2]))
    output = call.builder.add_node(Op.MAX_POOL_2D, call.name, [tensor], window=window)
    return _from_image(call, output, is_line)
