"""Programs of single layers with random weights, for measuring shapes. Inputs are states: they lie
in the arena, and no call copies them."""

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from wherry_native.program import (
    DType,
    Kind,
    Node,
    Op,
    ProgramDescription,
    Tensor,
    write_program,
)

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: `size` and `stride` hold for both axes; the output is as large as the input allows
    under SAME padding."""

    op: Op
    size: int
    channels: int
    outputs: int
    kernel: int = 1
    stride: int = 1

    @property
    def out_size(self) -> int:
        return -(-self.size // self.stride)

    @property
    def macs(self) -> int:
        if self.op is Op.FULLY_CONNECTED:
            return self.channels * self.outputs
        per_output = self.kernel**2 * (self.channels if self.op is Op.CONV_2D else 1)
        return self.out_size**2 * self.outputs * per_output

    def __str__(self) -> str:
        if self.op is Op.FULLY_CONNECTED:
            return f"dense {self.channels} to {self.outputs}"
        name = "conv" if self.op is Op.CONV_2D else "depthwise"
        return (
            f"{name} {self.kernel}x{self.kernel}/{self.stride} on {self.size}x{self.size}"
            f"x{self.channels} to {self.outputs}"
        )


def sweep() -> Iterator[Layer]:
    """Channels 1 to 512, kernels 1 to 7, strides, odd sizes, depthwise, large maps, dense."""
    for channels in (1, 3, 8, 16, 24, 33, 64, 128, 256, 512):
        size = 56 if channels <= 24 else 14 if channels <= 128 else 7
        for outputs in sorted({1, 4, channels, 2 * channels, 100}):
            yield Layer(Op.CONV_2D, size, channels, min(outputs, 512))
            yield Layer(Op.CONV_2D, size, channels, min(outputs, 512), 3)
    for kernel in (1, 2, 3, 5, 7):
        for stride in (1, 2, 3):
            yield Layer(Op.CONV_2D, 33, 12, 20, kernel, stride)
            yield Layer(Op.DEPTHWISE_CONV_2D, 33, 48, 48, kernel, stride)
    for channels in (1, 2, 3, 4, 8, 13, 32, 128, 512):
        yield Layer(Op.DEPTHWISE_CONV_2D, 112 if channels < 64 else 28, channels, channels, 3)
        yield Layer(Op.DEPTHWISE_CONV_2D, 56, channels, 4 * channels, 3, 2)
    yield Layer(Op.CONV_2D, 224, 3, 32, 3, 2)
    yield Layer(Op.CONV_2D, 112, 32, 32)
    yield Layer(Op.CONV_2D, 112, 16, 16, 3)
    for inputs, outputs in ((512, 512), (1000, 128), (2048, 1000), (4097, 33), (65536, 2)):
        yield Layer(Op.FULLY_CONNECTED, 1, inputs, outputs)


def _int32(name: str, values: list[int]) -> Tensor:
    data = struct.pack(f"<{len(values)}i", *values)
    return Tensor(name, DType.INT32, (len(values),), Kind.CONSTANT, data=data, piece="layer")


def _pads(layer: Layer) -> dict[str, int]:
    missing = (layer.out_size - 1) * layer.stride + layer.kernel - layer.size
    before = max(missing, 0) // 2
    return {
        "stride_h": layer.stride, "stride_w": layer.stride, "dilation_h": 1, "dilation_w": 1,
        "pad_top": before, "pad_left": before,
    }  # fmt: skip


def _shapes(layer: Layer) -> tuple[Shape, Shape, Shape]:
    """Of x, weights and y."""
    if layer.op is Op.FULLY_CONNECTED:
        return (1, layer.channels), (layer.outputs, layer.channels), (1, layer.outputs)
    x = (1, layer.size, layer.size, layer.channels)
    y = (1, layer.out_size, layer.out_size, layer.outputs)
    if layer.op is Op.DEPTHWISE_CONV_2D:
        return x, (1, layer.kernel, layer.kernel, layer.outputs), y
    return x, (layer.outputs, layer.kernel, layer.kernel, layer.channels), y


def program_of(layer: Layer) -> bytes:
    """An image with that layer; its one input and output are a byte that nobody reads."""
    source = random.Random(layer.macs)
    x, w, y = _shapes(layer)
    weights = Tensor("w", DType.INT8, w, Kind.CONSTANT)
    tensors = [
        Tensor("x", DType.INT8, x, Kind.STATE, -3, 0.1),
        replace(weights, data=source.randbytes(weights.size_bytes), piece="layer"),
        _int32("bias", [source.randrange(-999, 999) for _ in range(layer.outputs)]),
        _int32("m", [source.randrange(2**30, 2**31) for _ in range(layer.outputs)]),
        _int32("s", [-9] * layer.outputs),
        Tensor("y", DType.INT8, y, zero_point=5, scale=0.1),
        Tensor("in", DType.INT8, (1,), scale=0.1),
        Tensor("out", DType.INT8, (1,), scale=0.1),
    ]
    params = {"act_min": -128, "act_max": 127}
    if layer.op is not Op.FULLY_CONNECTED:
        params |= _pads(layer)
    nodes = (
        Node(layer.op, "layer", (0, 1, 2, 3, 4), 5, params),
        Node(Op.RESHAPE, "nothing", (6,), 7, {}),
    )
    offset = 0
    for at in (0, 5, 6, 7):
        tensors[at] = replace(tensors[at], arena_offset=offset)
        offset += -(-tensors[at].size_bytes // 16) * 16
    return write_program(
        ProgramDescription(str(layer), tuple(tensors), nodes, (6,), (7,), (0,), offset)
    )


def only_convolutions(description: ProgramDescription) -> bytes:
    """A program of another one's CONV_2D nodes, each from a state of its own."""
    tensors = list(description.tensors)
    nodes, states, offset = [], [], 0

    def placed(tensor: Tensor) -> int:
        nonlocal offset
        tensors.append(replace(tensor, arena_offset=offset))
        offset += -(-tensor.size_bytes // 16) * 16
        return len(tensors) - 1

    for node in description.nodes:
        if node.op is Op.CONV_2D:
            x = placed(replace(tensors[node.operands[0]], kind=Kind.STATE))
            y = placed(tensors[node.output])
            states.append(x)
            nodes.append(replace(node, operands=(x, *node.operands[1:]), output=y))
    one = Tensor("one", DType.INT8, (1,), scale=0.1)
    ends = placed(one), placed(replace(one, name="other"))
    nodes.append(Node(Op.RESHAPE, "nothing", (ends[0],), ends[1], {}))
    kept = sorted({at for node in nodes for at in (*node.operands, node.output)})
    to = {at: i for i, at in enumerate(kept)}
    return write_program(
        replace(
            description,
            tensors=tuple(tensors[at] for at in kept),
            nodes=tuple(
                replace(n, operands=tuple(to[at] for at in n.operands), output=to[n.output])
                for n in nodes
            ),
            inputs=(to[ends[0]],),
            outputs=(to[ends[1]],),
            states=tuple(to[at] for at in states),
            arena_bytes=offset,
        )
    )
