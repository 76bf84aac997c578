"""A small program of 16-bit activations, built by hand as those of programs.py are."""

from wherry_native.program import DType, Kind, Op, Rounding

from tests.engine.programs import HALF, Builder, conv_params, pool_params, sum_params

ACT_16 = {"act_min": -32768, "act_max": 32767}


class Builder16(Builder):
    """Activations have 16 bits here."""

    def wide(self, name: str, shape: tuple[int, ...], kind: Kind = Kind.ARENA) -> int:
        return self.activation(name, shape, 0, kind, DType.INT16)

    def table(self, name: str, values: list[int]) -> int:
        return self.numbers(name, DType.INT16, values, name)

    def wide_channels(self, name: str, count: int) -> tuple[int, int, int]:
        """A 64-bit bias, multipliers and shifts."""
        _, multipliers, shifts = self.channels(f"{name}/narrow", count)
        biases = [self.source.randrange(-(2**46), 2**46) for _ in range(count)]
        return self.numbers(f"{name}/bias", DType.INT64, biases, name), multipliers, shifts


def every_operator_16() -> bytes:
    """A network in which each operator that takes 16-bit activations occurs, with a state."""
    b = Builder16()
    x = b.activation("x", (1, 3, 3, 2), zero_point=-3)
    tensor = b.wide("wider", (1, 3, 3, 2))
    b.node(Op.QUANTIZE, "wider", (x,), tensor, multiplier=HALF, shift=7, **ACT_16)
    padded = b.wide("padded", (1, 4, 4, 2))
    before = {f"before_{i}": int(i in (1, 2)) for i in range(5)}
    b.node(Op.PAD, "pad", (tensor,), padded, **before, value=-300)
    conv = b.wide("conv", (1, 4, 4, 2))
    w = b.int8("conv/weights", (2, 3, 3, 2), "conv")
    b.node(
        Op.CONV_2D, "conv", (padded, w, *b.wide_channels("conv", 2)), conv, Rounding.W,
        **{**conv_params(pad=1), **ACT_16},
    )  # fmt: skip
    deep = b.wide("depthwise", (1, 4, 4, 4))
    w = b.int8("depthwise/weights", (1, 2, 2, 4), "depthwise")
    b.node(
        Op.DEPTHWISE_CONV_2D, "depthwise", (conv, w, *b.wide_channels("depthwise", 4)), deep,
        Rounding.W, **{**conv_params(dilation=2, pad=1), **ACT_16},
    )  # fmt: skip
    largest, middle = b.wide("maximum", (1, 2, 2, 4)), b.wide("average", (1, 2, 2, 4))
    b.node(Op.MAX_POOL_2D, "maximum", (deep,), largest, **{**pool_params(2), **ACT_16})
    b.node(Op.AVERAGE_POOL_2D, "average", (deep,), middle, **{**pool_params(2), **ACT_16})
    sigmoid = b.table("sigmoid", [min(i * 400, 32767) for i in range(256)])
    for op, name in ((Op.LOGISTIC, "logistic"), (Op.TANH, "tanh")):
        operand, middle = middle, b.wide(name, (1, 2, 2, 4))
        b.node(op, name, (operand, sigmoid), middle, multiplier=24576, shift=4)
    exponentials = b.table("exponentials", [i * 60 for i in range(513)])
    b.node(Op.LOOKUP, "lookup", (middle, exponentials), b.wide("lookup", (1, 2, 2, 4)))
    state = b.wide("state", (1, 2, 2, 4), Kind.STATE)
    wide_sum = {**sum_params(), "left_shift": 15, **ACT_16}
    for op, name, other in ((Op.ADD, "sum", largest), (Op.SUB, "difference", state)):
        b.node(op, name, (b.nodes[-1].output, other), b.wide(name, (1, 2, 2, 4)), **wide_sum)
    moved = b.nodes[-1].output
    b.node(Op.RESHAPE, "remember", (moved,), state)
    scaled = b.wide("product", (1, 2, 2, 4))
    b.node(Op.MUL, "product", (moved, largest), scaled, multiplier=HALF, shift=-12, **ACT_16)
    joined = b.wide("joined", (1, 2, 2, 8))
    b.node(Op.CONCATENATION, "joined", (scaled, moved), joined, axis=3)
    mean = b.wide("mean", (1, 8))
    b.node(Op.MEAN, "mean", (joined,), mean, axis_mask=0b0110, multiplier=HALF, shift=-1)
    fc = b.wide("fc", (1, 3))
    w = b.int8("fc/weights", (3, 8), "fc")
    b.node(Op.FULLY_CONNECTED, "fc", (mean, w, *b.wide_channels("fc", 3)), fc, Rounding.W, **ACT_16)
    reciprocals = b.table("reciprocals", [32767 - i * 30 for i in range(513)])
    y = b.wide("softmax", (1, 3))
    b.node(
        Op.SOFTMAX, "softmax", (fc, exponentials, reciprocals), y,
        multiplier=HALF, left_shift=3, diff_min=0,
    )  # fmt: skip
    narrow = b.activation("narrower", (1, 3), zero_point=4)
    b.node(Op.QUANTIZE, "narrower", (y,), narrow, multiplier=HALF, shift=-7,
           act_min=-128, act_max=127)  # fmt: skip
    return b.image("16 bits", (x,), (y, narrow))
