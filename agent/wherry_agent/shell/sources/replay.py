"""A file of samples that the inference loop replays for ever.

`int8` files hold what the engine takes, sample after sample; they fit every version whose input
has the same length. `float32` files hold little-endian real units and are quantized for each
version that serves, so `bytes_for` is asked again after a swap; it answers the same object while
the quantization stays the same, which tells the caller to let the replay run on.
"""

import math
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from wherry_protocol.errors import ContractError
from wherry_protocol.manifest import DType, Tensor

from wherry_agent.config import SourceConfig
from wherry_agent.shell.inference_request import quantize

SAMPLES_BYTES_MAX: Final = 16 * 1024 * 1024
ELEMENT_BYTES: Final = {DType.INT8: 1, DType.INT16: 2, DType.INT32: 4}


@dataclass(slots=True)
class Samples:
    """The file's content; `period_us` is the time from one sample to the next."""

    path: str
    is_real: bool
    data: bytes
    period_us: int
    _quantized: tuple[tuple[Tensor, ...], bytes] | None = field(default=None, init=False)

    def bytes_for(self, inputs: Sequence[Tensor]) -> tuple[bytes, int]:
        """(all samples quantized, bytes per sample) for a model with these inputs.

        Raises ContractError where the file is no whole number of its samples.
        """
        element_counts = [math.prod(tensor.shape) for tensor in inputs]
        sample_size = sum(
            count * ELEMENT_BYTES[tensor.dtype]
            for count, tensor in zip(element_counts, inputs, strict=True)
        )
        file_size = sum(element_counts) * 4 if self.is_real else sample_size
        if not self.data or len(self.data) % file_size:
            raise ContractError(
                f"{self.path} has {len(self.data)} bytes, which is no whole number of samples "
                f"of {file_size} bytes, the model's input"
            )
        return (self._real(tuple(inputs)) if self.is_real else self.data), sample_size

    def _real(self, inputs: tuple[Tensor, ...]) -> bytes:
        if self._quantized is None or not _same(self._quantized[0], inputs):
            self._quantized = inputs, _quantized(self.data, inputs)
        return self._quantized[1]


def read_samples(config: SourceConfig) -> Samples:
    """The file of a `replay` source. Raises OSError, ContractError where it is too large."""
    size = config.path.stat().st_size
    if size > SAMPLES_BYTES_MAX:
        raise ContractError(f"{config.path} has {size} bytes, at most {SAMPLES_BYTES_MAX}")
    return Samples(
        path=str(config.path),
        is_real=config.format == "float32",
        data=config.path.read_bytes(),
        period_us=round(config.period_ms * 1000),
    )


def _same(before: tuple[Tensor, ...], now: tuple[Tensor, ...]) -> bool:
    def key(tensor: Tensor) -> tuple[object, ...]:
        return tensor.dtype, tensor.shape, tensor.scale, tensor.zero_point

    return [key(tensor) for tensor in before] == [key(tensor) for tensor in now]


def _quantized(data: bytes, inputs: tuple[Tensor, ...]) -> bytes:
    values = array("f", data)
    if sys.byteorder == "big":
        values.byteswap()
    out = bytearray()
    start = 0
    while start < len(values):
        for tensor in inputs:
            count = math.prod(tensor.shape)
            out += quantize(values[start : start + count], tensor)
            start += count
    return bytes(out)
