"""ONNX operators on images: convolutions and pools, two-dimensional or along one line.

Source: ONNX operator specifications, opsets 7 to 23.
"""

from collections.abc import Sequence

from wherry_native.compiler.ir import Shape, Window
from wherry_native.compiler.onnx_call import Call, as_text, result_view
from wherry_native.compiler.onnx_values import UnsupportedError, Value, View, channels_last
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
    if int(call.attributes.get("ceil_mode", 0)):
        pads = _ceil_pads(axes, pads)
    return Window(size, stride, dilation, (pads[0], pads[1], pads[2], pads[3]))


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


def _ceil_pads(axes: Sequence[Axis], pads: Sequence[int]) -> tuple[int, ...]:
    """Padding behind that makes room for the last, partial window, unless it begins in padding."""
    after = []
    for i, (length, size, stride, dilation) in enumerate(axes):
        span = length + pads[i] + pads[i + 2] - ((size - 1) * dilation + 1)
        count = -(-span // stride) + 1
        if (count - 1) * stride >= length + pads[i]:
            count -= 1
        after.append(max(pads[i + 2], pads[i + 2] + (count - 1) * stride - span))
    return (pads[0], pads[1], *after)


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
    operands = [tensor, call.builder.add_constant(f"{call.name}/weights", moved, scales)]
    bias = call.optional(2)
    if bias is not None:
        operands.append(call.builder.add_constant(f"{call.name}/bias", bias.reshape(-1)))
    window = _window(call, x, (weights.shape[2], weights.shape[3]), is_line)
    op = Op.DEPTHWISE_CONV_2D if is_depthwise else Op.CONV_2D
    output = call.builder.add_node(op, call.name, operands, window=window)
    return _from_image(call, output, is_line)


def max_pool(call: Call) -> Value:
    return _pooled(call, Op.MAX_POOL_2D)


def average_pool(call: Call) -> Value:
    return _pooled(call, Op.AVERAGE_POOL_2D)


def _pooled(call: Call, op: Op) -> Value:
    tensor, is_line = _image(call)
    x = call.builder.tensors[tensor].shape
    window = _window(call, x, _two(call.integers("kernel_shape", ()), 1, is_line), is_line)
    if window.dilation != (1, 1):
        raise UnsupportedError("dilation of a pool is not supported")
    if op is Op.AVERAGE_POOL_2D and int(call.attributes.get("count_include_pad", 0)):
        tensor, window = _padded_image(call, tensor, window, is_line)
    output = call.builder.add_node(op, call.name, [tensor], window=window)
    return _from_image(call, output, is_line)


def _padded_image(call: Call, tensor: str, window: Window, is_line: bool) -> tuple[str, Window]:
    """The file's own padding as a PAD, so that its zeros count in the average."""
    pads = call.integers("pads", (0, 0) if is_line else (0, 0, 0, 0))
    top, left, bottom, right = (0, pads[0], 0, pads[1]) if is_line else pads
    if not any((top, left, bottom, right)):
        return tensor, window
    padded = call.builder.add_node(
        Op.PAD, f"{call.name}/pad", [tensor], pads=((0, 0), (top, bottom), (left, right), (0, 0))
    )
    rest = (0, 0, max(window.pads[2] - bottom, 0), max(window.pads[3] - right, 0))
    return padded, Window(window.size, window.stride, window.dilation, rest)


def global_max_pool(call: Call) -> Value:
    tensor, is_line = _image(call)
    x = call.builder.tensors[tensor].shape
    window = Window((x[1], x[2]))
    output = call.builder.add_node(Op.MAX_POOL_2D, call.name, [tensor], window=window)
    return _from_image(call, output, is_line)
