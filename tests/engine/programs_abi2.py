"""A small program of the operators that ABI 2 added, built by hand as those of programs.py are."""

from wherry_native.program import RANK_MAX, DType, Kind, Op, Tensor

from tests.engine.programs import ACT, HALF, Builder


def per_axis(name: str, *values: int) -> dict[str, int]:
    padded = (*values, *(0,) * (RANK_MAX - len(values)))
    return {f"{name}_{axis}": value for axis, value in enumerate(padded)}


def slices(*triples: tuple[int, int, int]) -> dict[str, int]:
    """Begin, extent and step of each axis."""
    begins, extents, steps = zip(*triples, strict=True)
    return {
        **per_axis("begin", *begins),
        **per_axis("extent", *extents),
        **per_axis("step", *steps),
    }


def indices(b: Builder, name: str, shape: tuple[int, ...]) -> int:
    """An int32 tensor in the arena."""
    tensor = Tensor(name, DType.INT32, shape, arena_offset=b.arena_bytes)
    b.arena_bytes += -(-tensor.size_bytes // 16) * 16
    b.tensors.append(tensor)
    return len(b.tensors) - 1


def every_operator_abi2(dtype: DType = DType.INT8) -> bytes:
    """Each of them once, with 8 or 16 bits; GATHER takes its indices from ARG_MAX."""
    b = Builder()
    zero = -3 if dtype is DType.INT8 else 0

    def value(name: str, *shape: int) -> int:
        return b.activation(name, shape, zero, Kind.ARENA, dtype)

    x = value("x", 1, 3, 2, 2)
    conv = value("conv", 1, 6, 5, 2)
    w = b.int8("conv/weights", (2, 3, 3, 2), "conv")
    b.node(
        Op.TRANSPOSE_CONV, "conv", (x, w, *b.channels("conv", 2)), conv,
        stride_h=2, stride_w=2, pad_top=1, pad_left=0, **ACT,
    )  # fmt: skip
    turned = value("turned", 1, 5, 2, 6)
    b.node(Op.TRANSPOSE, "turned", (conv,), turned, **per_axis("from", 0, 2, 3, 1))
    cut = value("cut", 3, 2, 2)
    b.node(Op.STRIDED_SLICE, "cut", (turned,), cut,
           **slices((0, 1, 1), (4, 3, -2), (0, 2, 1), (1, 2, 3)))  # fmt: skip
    slopes = {"multiplier": HALF, "shift": 1, "multiplier_alpha": HALF, "shift_alpha": -1}
    leaky = value("leaky", 3, 2, 2)
    b.node(Op.LEAKY_RELU, "leaky", (cut,), leaky, **slopes)
    alpha = b.int8("prelu/alpha", (2,), "prelu")
    prelu = value("prelu", 3, 2, 2)
    b.node(Op.PRELU, "prelu", (leaky, alpha), prelu, **{**slopes, "shift_alpha": -6})
    quotient = value("quotient", 3, 2, 2)
    b.node(Op.DIV, "quotient", (prelu, cut), quotient, multiplier=HALF, shift=6, **ACT)
    best = indices(b, "best", (2, 2))
    b.node(Op.ARG_MAX, "best", (quotient,), best, axis=0)
    taken = value("taken", 2, 2, 2, 2)
    b.node(Op.GATHER, "taken", (quotient, best), taken, axis=0)
    looked_up = taken
    if dtype is DType.INT8:
        looked_up = value("looked up", 2, 2, 2, 2)
        b.node(Op.LOOKUP, "lookup", (taken, b.int8("table", (256,), "table")), looked_up)
    rows, columns = b.int32("rows", [0, 0, 1], "resize"), b.int32("columns", [1, 0, 1, 1], "resize")
    y = value("resized", 2, 3, 4, 2)
    b.node(Op.RESIZE_NEAREST, "resized", (looked_up, rows, columns), y)
    return b.image("abi 2", (x,), (y, best))
