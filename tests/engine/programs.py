"""Small programs, built by hand: no compiler takes part in the tests of the engine itself."""

import random
import struct
from dataclasses import dataclass, field, replace

from wherry_native.program import (
    DType,
    Kind,
    Node,
    Op,
    ProgramDescription,
    Rounding,
    Tensor,
    read_program,
    write_program,
)

HALF = 1 << 30
ACT = {"act_min": -128, "act_max": 127}


@dataclass
class Builder:
    """Collects tensors and nodes; every arena tensor gets memory of its own."""

    source: random.Random = field(default_factory=lambda: random.Random(7))
    tensors: list[Tensor] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    arena_bytes: int = 0

    def activation(
        self, name: str, shape: tuple[int, ...], zero_point: int = 0, kind: Kind = Kind.ARENA,
        dtype: DType = DType.INT8,
    ) -> int:  # fmt: skip
        tensor = Tensor(name, dtype, shape, kind, zero_point, 0.125, arena_offset=self.arena_bytes)
        self.arena_bytes += -(-tensor.size_bytes // 16) * 16
        return self._add(tensor)

    def alias(self, name: str, shape: tuple[int, ...], of: int) -> int:
        """An arena tensor on the bytes of another one."""
        original = self.tensors[of]
        return self._add(
            Tensor(
                name,
                DType.INT8,
                shape,
                zero_point=original.zero_point,
                scale=0.125,
                arena_offset=original.arena_offset,
            )
        )

    def int8(self, name: str, shape: tuple[int, ...], piece: str) -> int:
        tensor = Tensor(name, DType.INT8, shape)
        data = self.source.randbytes(tensor.size_bytes)
        return self._add(Tensor(name, DType.INT8, shape, Kind.CONSTANT, data=data, piece=piece))

    def int32(self, name: str, values: list[int], piece: str) -> int:
        return self.numbers(name, DType.INT32, values, piece)

    def numbers(self, name: str, dtype: DType, values: list[int], piece: str) -> int:
        """A constant vector of any type."""
        code = {DType.INT8: "b", DType.INT16: "h", DType.INT32: "i", DType.INT64: "q"}[dtype]
        data = struct.pack(f"<{len(values)}{code}", *values)
        shape = (len(values),)
        return self._add(Tensor(name, dtype, shape, Kind.CONSTANT, data=data, piece=piece))

    def channels(self, name: str, count: int, shift_min: int = -9) -> tuple[int, int, int]:
        """Bias, multipliers and shifts (from shift_min to shift_min + 3)."""
        bias = [self.source.randrange(-500, 500) for _ in range(count)]
        multipliers = [self.source.randrange(HALF, 2 * HALF) for _ in range(count)]
        shifts = [self.source.randrange(shift_min, shift_min + 4) for _ in range(count)]
        return (
            self.int32(f"{name}/bias", bias, name),
            self.int32(f"{name}/multiplier", multipliers, name),
            self.int32(f"{name}/shift", shifts, name),
        )

    def node(
        self, op: Op, name: str, operands: tuple[int, ...], output: int,
        rounding: Rounding = Rounding.D, **params: int,
    ) -> int:  # fmt: skip
        self.nodes.append(Node(op, name, operands, output, params, rounding))
        return output

    def image(self, name: str, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> bytes:
        return write_program(self.description(name, inputs, outputs))

    def description(
        self, name: str, inputs: tuple[int, ...], outputs: tuple[int, ...]
    ) -> ProgramDescription:
        states = tuple(i for i, t in enumerate(self.tensors) if t.kind is Kind.STATE)
        return ProgramDescription(
            name,
            tuple(self.tensors),
            tuple(self.nodes),
            inputs,
            outputs,
            states,
            self.arena_bytes,
            macs=1,
        )

    def _add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1


def conv_params(stride: int = 1, dilation: int = 1, pad: int = 0) -> dict[str, int]:
    return {
        "stride_h": stride, "stride_w": stride, "dilation_h": dilation, "dilation_w": dilation,
        "pad_top": pad, "pad_left": pad, **ACT,
    }  # fmt: skip


def pool_params(size: int) -> dict[str, int]:
    return {
        "filter_h": size, "filter_w": size, "stride_h": size, "stride_w": size,
        "pad_top": 0, "pad_left": 0, **ACT,
    }  # fmt: skip


def sum_params() -> dict[str, int]:
    return {
        "left_shift": 20, "multiplier_a": HALF, "shift_a": 0, "multiplier_b": HALF, "shift_b": -1,
        "multiplier": HALF, "shift": -18, **ACT,
    }  # fmt: skip


def describe_fully_connected(inputs: int = 4, outputs: int = 3) -> ProgramDescription:
    """One layer: x[1, inputs] → y[1, outputs]."""
    b = Builder()
    x = b.activation("x", (1, inputs), zero_point=-1)
    w = b.int8("fc/weights", (outputs, inputs), "fc")
    y = b.activation("y", (1, outputs), zero_point=3)
    b.node(Op.FULLY_CONNECTED, "fc", (x, w, *b.channels("fc", outputs, shift_min=-6)), y, **ACT)
    return b.description("one layer", (x,), (y,))


def fully_connected(inputs: int = 4, outputs: int = 3) -> bytes:
    return write_program(describe_fully_connected(inputs, outputs))


def slow(side: int = 320) -> bytes:
    """One convolution of about side² · 9216 multiply-accumulates: 0.1 s for 320 on a fast core."""
    b = Builder()
    x = b.activation("x", (1, side, side, 16))
    w = b.int8("conv/weights", (64, 3, 3, 16), "conv")
    y = b.activation("y", (1, side, side, 64))
    b.node(
        Op.CONV_2D, "conv", (x, w, *b.channels("conv", 64)), y, **conv_params(pad=1)
    )  # fmt: skip
    return b.image("slow", (x,), (y,))


def identity(size: int = 16, zero_point: int = 0) -> bytes:
    """One RESHAPE in place: as little work as a program can be."""
    b = Builder()
    x = b.activation("x", (1, size), zero_point=zero_point)
    y = b.alias("y", (size,), x)
    b.node(Op.RESHAPE, "reshape", (x,), y)
    return b.image("identity", (x,), (y,))


def counter(size: int = 4) -> bytes:
    """y = state + x, and the state becomes y: the programs' memory from one run to the next."""
    b = Builder()
    x = b.activation("x", (size,))
    state = b.activation("state", (size,), kind=Kind.STATE)
    y = b.activation("y", (size,))
    b.node(
        Op.ADD, "add", (x, state), y,
        left_shift=20, multiplier_a=HALF, shift_a=0, multiplier_b=HALF, shift_b=0,
        multiplier=HALF, shift=-18, **ACT,
    )  # fmt: skip
    b.node(Op.RESHAPE, "keep", (y,), state)
    return b.image("counter", (x,), (y,))


def every_operator() -> bytes:
    """A network in which each operator of the ABI occurs, with a state and two inputs."""
    b = Builder()
    x = b.activation("x", (1, 4, 4, 2), zero_point=-3)
    bias = b.activation("offset", (1, 1, 1, 4), zero_point=5)
    padded = b.activation("padded", (1, 6, 6, 2), zero_point=-3)
    before = {f"before_{i}": int(i in (1, 2)) for i in range(5)}
    b.node(Op.PAD, "pad", (x,), padded, **before, value=-3)
    conv = b.activation("conv", (1, 4, 4, 4), zero_point=2)
    w = b.int8("conv/weights", (4, 3, 3, 2), "conv")
    b.node(Op.CONV_2D, "conv", (padded, w, *b.channels("conv", 4)), conv, **conv_params())
    deep = b.activation("depthwise", (1, 4, 4, 8), zero_point=2)
    w = b.int8("depthwise/weights", (1, 3, 3, 8), "depthwise")
    b.node(
        Op.DEPTHWISE_CONV_2D, "depthwise", (conv, w, *b.channels("depthwise", 8)), deep,
        **conv_params(dilation=2, pad=2),
    )  # fmt: skip
    for op in (Op.RELU, Op.RELU6, Op.QUANTIZE):
        name = op.name.lower()
        result = b.alias(name, (1, 4, 4, 8), deep)
        b.node(op, name, (deep,), result, multiplier=HALF, shift=1, **ACT)
        deep = len(b.tensors) - 1
    pooled = b.activation("maximum", (1, 2, 2, 8), zero_point=2)
    b.node(Op.MAX_POOL_2D, "maximum", (deep,), pooled, **pool_params(2))
    small = b.activation("average", (1, 2, 2, 4), zero_point=2)
    b.node(Op.AVERAGE_POOL_2D, "average", (conv,), small, **pool_params(2))
    tabled = small
    for op in (Op.LOGISTIC, Op.TANH):
        name = op.name.lower()
        table = b.int8(f"{name}/table", (256,), name)
        result = b.activation(name, (1, 2, 2, 4), zero_point=1)
        tabled = b.node(op, name, (tabled, table), result, multiplier=0, shift=0)
    shifted = b.activation("sum", (1, 2, 2, 4), zero_point=-7)
    b.node(Op.ADD, "sum", (tabled, bias), shifted, **sum_params())
    scaled = b.activation("product", (1, 2, 2, 4), zero_point=2)
    b.node(Op.MUL, "product", (shifted, bias), scaled, multiplier=HALF, shift=-5, **ACT)
    state = b.activation("state", (1, 2, 2, 4), zero_point=4, kind=Kind.STATE)
    moved = b.activation("difference", (1, 2, 2, 4), zero_point=2)
    b.node(Op.SUB, "difference", (scaled, state), moved, **sum_params())
    b.node(Op.RESHAPE, "remember", (moved,), state)
    joined = b.activation("joined", (1, 2, 2, 12), zero_point=2)
    b.node(Op.CONCATENATION, "joined", (pooled, moved), joined, axis=3)
    mean = b.activation("mean", (1, 12), zero_point=2)
    b.node(Op.MEAN, "mean", (joined,), mean, axis_mask=0b0110, multiplier=HALF, shift=-1)
    fc = b.activation("fc", (1, 5), zero_point=-2)
    w = b.int8("fc/weights", (5, 12), "fc")
    b.node(Op.FULLY_CONNECTED, "fc", (mean, w, *b.channels("fc", 5)), fc, **ACT)
    y = b.activation("softmax", (1, 5), zero_point=-128)
    b.node(Op.SOFTMAX, "softmax", (fc,), y, multiplier=HALF, left_shift=22, diff_min=-248)
    return b.image("every operator", (x, bias), (y, mean))


def scaled(image: bytes, **scales: tuple[float, int]) -> bytes:
    """The program with other (scale, zero point) of the tensors of these names."""
    program = read_program(image)
    tensors = tuple(
        replace(one, scale=scales[one.name][0], zero_point=scales[one.name][1])
        if one.name in scales
        else one
        for one in program.tensors
    )
    return write_program(replace(program, tensors=tensors))
