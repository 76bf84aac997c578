"""A request's JSON and the quantized bytes that the engine takes, and back. Pure.

Rules:
1. `{"input": […]}` is in real units: q = round(x / scale) + zero_point, half away from zero,
   saturating, as TFLite's QUANTIZE. `{"input_q": […]}` is quantized already and must be in the
   type's range.
2. The values are one flat list of all elements in row-major order, or lists nested exactly as the
   tensor's shape (leading axes of 1 may be left out). A model with several inputs takes an object
   of lists by tensor name.
3. Only finite numbers; true, null, text and repeated keys are refused. Every refusal is one
   sentence that names the place, the limit and the value.

    >>> quantize([0.5, 9.9], Tensor(name="x", dtype=DType.INT8, shape=(2,), scale=0.05,
    ...                             zero_point=0)).hex()
    '0a7f'
"""

import json
import math
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from wherry_protocol.errors import Code, ContractError, DecodeError
from wherry_protocol.manifest import DType, Tensor
from wherry_protocol.names import MODEL

LIMITS: Final = {
    DType.INT8: (-128, 127),
    DType.INT16: (-32_768, 32_767),
    DType.INT32: (-(2**31), 2**31 - 1),
}
TYPE_CODES: Final = {DType.INT8: "b", DType.INT16: "h", DType.INT32: "i"}
REAL_MAX: Final = 3.4e38  # of float32, in which models are trained
KEYS: Final = ("model", "input", "input_q")


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What was asked: a model by name (None: the only one), values real or quantized."""

    model: str | None
    is_quantized: bool
    values: Any


def parse_request(body: bytes) -> InferenceRequest:
    """Raises DecodeError with one sentence."""
    try:
        raw = json.loads(body, object_pairs_hook=_without_twins, parse_constant=_no_constant)
    except RecursionError as error:
        raise DecodeError("the body is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise DecodeError(f"the body is not UTF-8 text (byte {error.start})") from error
    except ValueError as error:
        raise DecodeError(f"the body is not JSON: {error}") from error
    return _request(raw)


def input_bytes(request: InferenceRequest, inputs: Sequence[Tensor]) -> bytes:
    """All inputs one after another, as the engine takes them.

    Raises ContractError where shape or type does not fit the model.
    """
    named = _by_name(request, inputs)
    convert = _as_is if request.is_quantized else _from_real
    return b"".join(convert(_flat(named[tensor.name], tensor), tensor) for tensor in inputs)


def quantize(values: Sequence[float], tensor: Tensor) -> bytes:
    """Real values as the tensor's little-endian integers. Raises ContractError."""
    low, high = LIMITS[tensor.dtype]
    if tensor.scale <= 0.0:
        raise ContractError(f"tensor {tensor.name!r} has no scale, send input_q instead")
    quantized = (
        _nearest(value / tensor.scale, low - high, high - low) + tensor.zero_point
        for value in values
    )
    return _packed([min(max(q, low), high) for q in quantized], tensor)


def dequantize(data: bytes, tensor: Tensor) -> list[float]:
    """Real values of the tensor's bytes: (q - zero_point) * scale."""
    return [(q - tensor.zero_point) * tensor.scale for q in integers(data, tensor)]


def integers(data: bytes, tensor: Tensor) -> list[int]:
    """The tensor's little-endian integers."""
    values = array(TYPE_CODES[tensor.dtype], data)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()


def split_outputs(data: bytes, outputs: Sequence[Tensor]) -> list[bytes]:
    """All outputs one after another, as the engine gives them, cut into tensors."""
    parts = []
    start = 0
    for tensor in outputs:
        size = math.prod(tensor.shape) * array(TYPE_CODES[tensor.dtype]).itemsize
        parts.append(data[start : start + size])
        start += size
    return parts


def _request(raw: Any) -> InferenceRequest:
    if type(raw) is not dict:
        raise DecodeError('the body must be a JSON object such as {"input": [0.5, 1.0]}')
    unknown = [key for key in raw if key not in KEYS]
    if unknown:
        raise DecodeError(
            f"{unknown[0][:64]!r} is not a known key, known are {', '.join(KEYS)}",
            Code.UNKNOWN_FIELD,
        )
    if ("input" in raw) == ("input_q" in raw):
        raise DecodeError("exactly one of input (real units) and input_q (quantized) is needed")
    model = raw.get("model")
    if model is not None and (type(model) is not str or not MODEL.fullmatch(model)):
        raise DecodeError(f"model must be a model's name, matching {MODEL.pattern}")
    is_quantized = "input_q" in raw
    return InferenceRequest(model, is_quantized, raw["input_q" if is_quantized else "input"])


def _by_name(request: InferenceRequest, inputs: Sequence[Tensor]) -> dict[str, Any]:
    if type(request.values) is not dict:
        if len(inputs) != 1:
            names = ", ".join(tensor.name for tensor in inputs)
            raise ContractError(f"the model has {len(inputs)} inputs, name them: {names}")
        return {inputs[0].name: request.values}
    expected = {tensor.name for tensor in inputs}
    if set(request.values) != expected:
        wrong = sorted(expected.symmetric_difference(request.values))[0]
        raise ContractError(
            f"the inputs must be exactly {', '.join(sorted(expected))}; {wrong[:64]!r} differs"
        )
    return request.values


def _flat(values: Any, tensor: Tensor) -> list[Any]:
    """The elements in row-major order. Raises ContractError where the shape does not fit."""
    count = math.prod(tensor.shape)
    if type(values) is not list:
        raise ContractError(f"{tensor.name}: {_kind(values)} is no list of {count} numbers")
    if values and type(values[0]) is not list:
        _demand_count(values, count, tensor.name, tensor.shape)
        return values
    shape = tensor.shape
    while len(shape) > _depth(values) and shape[0] == 1:
        shape = shape[1:]
    return _unnested(values, shape, tensor.name, tensor.shape)


def _unnested(values: Any, shape: tuple[int, ...], where: str, whole: tuple[int, ...]) -> list[Any]:
    if not shape:
        return [values]
    if type(values) is not list:
        raise ContractError(f"{where}: {_kind(values)} is no list of {shape[0]}")
    _demand_count(values, shape[0], where, whole)
    flat: list[Any] = []
    for i, item in enumerate(values):
        flat += _unnested(item, shape[1:], f"{where}[{i}]", whole)
    return flat


def _demand_count(values: list[Any], count: int, where: str, shape: tuple[int, ...]) -> None:
    if len(values) != count:
        raise ContractError(
            f"{where}: {len(values)} elements, the model takes {count} (shape {list(shape)})"
        )


def _depth(values: Any) -> int:
    depth = 0
    while type(values) is list:
        depth += 1
        values = values[0] if values else None
    return depth


def _nearest(value: float, low: int, high: int) -> int:
    """Rounded half away from zero, and held within what can still matter."""
    if value >= high or value <= low:
        return high if value > 0 else low
    return math.floor(value + 0.5) if value >= 0 else -math.floor(0.5 - value)


def _from_real(values: Sequence[Any], tensor: Tensor) -> bytes:
    for i, value in enumerate(values):
        if type(value) not in (int, float) or not abs(value) <= REAL_MAX:
            raise ContractError(
                f"{tensor.name}[{i}] = {_shown(value)} is no number within +-{REAL_MAX:g}"
            )
    return quantize(values, tensor)


def _as_is(values: Sequence[Any], tensor: Tensor) -> bytes:
    low, high = LIMITS[tensor.dtype]
    for i, value in enumerate(values):
        if type(value) is not int or not low <= value <= high:
            raise ContractError(
                f"{tensor.name}[{i}] = {_shown(value)} is no {tensor.dtype.name.lower()} "
                f"in {low}..{high}"
            )
    return _packed(values, tensor)


def _packed(values: Sequence[int], tensor: Tensor) -> bytes:
    packed = array(TYPE_CODES[tensor.dtype], values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _kind(value: Any) -> str:
    names = {dict: "an object", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _shown(value: Any) -> str:
    return str(value)[:32] if type(value) in (int, float) else _kind(value)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no finite number")
